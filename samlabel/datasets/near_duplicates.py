"""Objects of an image that are nearly one, found in time that does not grow with the square of their number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from ..types import Annotation

PAIRS_MAX = 2**28  # boxes of one image that are compared with each other
MASKS_MAX = 100_000  # masks that are


class TooManyPairs(Exception):
    """More objects overlap than can be compared; what was found by then stands."""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """An object that overlaps an earlier one; both by their place in the image, from 0."""

    second: int
    first: int
    overlap: float
    same_category: bool


def duplicates(objects: Sequence[Annotation], iou: float) -> Iterator[Duplicate]:
    """Each object that overlaps an earlier one by `iou` or more, once for its own category and once for others.

    Masks decide where both have one, else boxes; one that equals an earlier object is compared no further. Raises
    TooManyPairs where so many objects overlap that it would take minutes to compare them all.
    """
    copies = _Copies(objects, iou)
    yield from copies.equal()
    yield from copies.near()


class _Copies:
    def __init__(self, objects: Sequence[Annotation], iou: float) -> None:
        self._objects, self._iou = objects, iou
        self._found = np.zeros(
            (2, len(objects)), dtype=bool
        )  # whether an object was found, in the same category or not
        self._kept: list[int] = []  # of equal objects only the first goes on
        self._areas: dict[int, int] = {}

    def equal(self) -> Iterator[Duplicate]:
        """Objects whose boxes and masks are those of an earlier one."""
        earlier: dict[Any, dict[int, int]] = {}  # what two equal objects share -> category -> its first object
        for place, one in enumerate(self._objects):
            known = earlier.setdefault((one.box, None if one.mask is None else one.mask.counts), {})
            if not _is_empty(one):
                others = islice((category for category in known if category != one.category_id), 1)
                for category in ([one.category_id] if one.category_id in known else []) + list(others):
                    same = category == one.category_id
                    self._found[int(same), place] = True
                    yield Duplicate(place, known[category], 1.0, same)
                if one.category_id not in known:
                    self._kept.append(place)
            known.setdefault(one.category_id, place)

    def near(self) -> Iterator[Duplicate]:
        """Objects that overlap without being equal, from left to right."""
        objects = self._objects
        boxes = np.array([objects[place].box for place in self._kept], dtype=np.float64).reshape(-1, 4)
        order = np.argsort(boxes[:, 0], kind="stable")
        boxes, places = boxes[order], np.array(self._kept, dtype=np.int64)[order]
        categories = np.array([objects[place].category_id for place in places.tolist()], dtype=np.int64)
        masked = np.array([objects[place].mask is not None for place in places.tolist()], dtype=bool)
        sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
        areas = sides[:, 0] * sides[:, 1]
        stops = np.searchsorted(boxes[:, 0], boxes[:, 2])  # behind them all begin to the right of this one
        pairs = masks = 0
        for at, stop in enumerate(stops.tolist()):
            if stop <= at + 1:
                continue
            rest = slice(at + 1, stop)
            pairs += stop - at
            if pairs > PAIRS_MAX:
                raise TooManyPairs
            same = categories[rest] == categories[at]
            second = np.maximum(places[rest], places[at])
            across = np.minimum(boxes[rest, 2], boxes[at, 2]) - boxes[rest, 0]
            down = np.minimum(boxes[rest, 3], boxes[at, 3]) - np.maximum(boxes[rest, 1], boxes[at, 1])
            common = np.maximum(across, 0) * np.maximum(down, 0)
            both = masked[rest] & masked[at]
            # Only boxes that overlap so far can have masks that do.
            least = np.where(both, self._iou / 4, self._iou)
            close = common >= least * np.maximum(areas[rest] + areas[at] - common, np.finfo(float).tiny)
            close &= ~self._found[same.astype(np.int64), second]
            for offset in np.flatnonzero(close).tolist():
                other = at + 1 + offset
                one, two = objects[places[at]], objects[places[other]]
                if both[offset]:
                    masks += 1
                    if masks > MASKS_MAX:
                        raise TooManyPairs
                    overlap = self._mask_iou(int(places[at]), int(places[other]))
                else:
                    overlap = float(common[offset] / (areas[other] + areas[at] - common[offset]))
                if overlap >= self._iou:
                    low, high = sorted((int(places[at]), int(places[other])))
                    if not self._found[int(same[offset]), high]:
                        self._found[int(same[offset]), high] = True
                        yield Duplicate(high, low, overlap, one.category_id == two.category_id)

    def _mask_iou(self, one: int, other: int) -> float:
        """Of two masks; 0 where their areas alone say that it is below the threshold."""
        small, large = sorted((self._area(one), self._area(other)))
        masks = self._objects[one].mask, self._objects[other].mask
        assert masks[0] is not None and masks[1] is not None
        return masks[0].iou(masks[1]) if small >= self._iou * large else 0.0

    def _area(self, place: int) -> int:
        if place not in self._areas:
            mask = self._objects[place].mask
            assert mask is not None
            self._areas[place] = mask.area
        return self._areas[place]


def _is_empty(one: Annotation) -> bool:
    """Whether nothing overlaps it: no two objects are one for being empty both."""
    x0, y0, x1, y1 = one.box
    return x1 <= x0 or y1 <= y0 or (one.mask is not None and not one.mask.area)
