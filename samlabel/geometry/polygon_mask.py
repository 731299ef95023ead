"""Masks that keep the polygons they were read as, so that polygons can travel from file to file untouched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..types import Box, Mask, Size
from .polygons import REACH
from .raster import CROSSINGS_MAX, check_crossings, count_crossings, is_ordinary, ordinary_to_counts, outlines_to_counts


class PolygonMask(Mask):
    """A mask given as polygons; its runs are made when first asked for, by pycocotools' rule.

    It equals the `Mask` of the same pixels. `extent` is the box around the points, which costs no pixels; `packed`
    holds each polygon's points as the bytes of float64 x y pairs, for work on many at once.
    """

    __slots__ = ("_counts", "extent", "packed")

    extent: Box
    packed: tuple[bytes, ...]
    _counts: bytes | None

    def __init__(self, packed: tuple[bytes, ...], size: Size, extent: Box) -> None:
        put = object.__setattr__
        put(self, "size", size)
        put(self, "packed", packed)
        put(self, "extent", extent)
        put(self, "_counts", None)

    @property
    def polygons(self) -> list[np.ndarray]:
        """Each polygon's points as given, (K, 2) of x, y in pixels."""
        return [np.frombuffer(points).reshape(-1, 2) for points in self.packed]

    @property
    def counts(self) -> bytes:
        if self._counts is None:
            x0, y0, x1, y1 = self.extent
            span = max(x1 - x0, y1 - y0)
            if len(self.packed) == 1 and is_ordinary(len(self.packed[0]) // 16, self.size, span):
                counts = ordinary_to_counts(np.frombuffer(self.packed[0]), self.size)  # as most are
            else:
                counts = outlines_to_counts(self.polygons, self.size, span=span)
            object.__setattr__(self, "_counts", counts)
        assert self._counts is not None
        return self._counts

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mask):
            return NotImplemented
        return tuple(self.size) == tuple(other.size) and self.counts == other.counts

    def __hash__(self) -> int:
        return hash((self.size, self.counts))

    def __repr__(self) -> str:
        return f"PolygonMask({len(self.packed)} polygons, size={self.size})"

    def __reduce__(self) -> tuple[Any, ...]:
        return PolygonMask, (self.packed, self.size, self.extent)

    def __copy__(self) -> PolygonMask:
        return self

    def __deepcopy__(self, _: Any) -> PolygonMask:
        return self


def polygon_masks(packed: Sequence[Sequence[bytes]], size: Size) -> list[PolygonMask] | None:
    """Masks of many objects' polygons at once; None when any breaks a rule, so that the slow reader can say which.

    The rules are those of `polygons_to_mask`: x y pairs, three points or more, finite, not far outside the image, and
    not across more of it than any object.
    """
    flat = [points for polygons in packed for points in polygons]
    lengths = np.array([len(points) for points in flat], dtype=np.int64)
    if not flat or not all(packed) or lengths.min() < 48 or (lengths % 16).any():
        return None
    points = np.frombuffer(b"".join(flat)).reshape(-1, 2)
    counts = lengths // 16
    if len(flat) > len(packed):
        first = np.cumsum([0, *map(len, packed[:-1])])
        counts = np.add.reduceat(counts, first)
    starts = np.cumsum(counts) - counts
    low, high = np.minimum.reduceat(points, starts), np.maximum.reduceat(points, starts)
    reach = REACH * max(size) + 1000
    if not (low.min() >= -reach and high.max() <= reach):  # NaN is within nothing
        return None
    extents = np.concatenate((low, high), axis=1).tolist()
    masks = [
        PolygonMask(tuple(polygons), size, tuple(extent)) for polygons, extent in zip(packed, extents, strict=True)
    ]
    if counts.max() * size[1] > CROSSINGS_MAX:
        try:
            for mask in masks:
                check_crossings(mask.polygons, size)
        except ValueError:
            return None
    return masks


def runs_at_most(mask: Mask, *, exactly: bool = False) -> int:
    """A number that the runs of `mask`, cut at the borders of columns, do not exceed; more work gives a closer one.

    Tracing an outline walks through each column: one run down 46,340 columns costs as much as a polygon across them.
    """
    if not isinstance(mask, PolygonMask):
        box = mask.box if exactly else (0, 0, mask.size[1], 0)
        return len(mask.counts) + int(box[2] - box[0])  # a letter a run or more
    if exactly:
        return sum(count_crossings(ring, mask.size) for ring in mask.polygons)
    return sum(map(len, mask.packed)) // 16 * int(mask.extent[2] - mask.extent[0] + 2)


def is_sewn(mask: PolygonMask) -> bool:
    """Whether one polygon of `mask` passes a point twice, as a seam to a hole does."""
    for points in mask.polygons:
        keys = [tuple(p) for p in points.tolist()]
        closed = keys[1:] if keys[0] == keys[-1] else keys
        if len(set(closed)) < len(closed):
            return True
    return False


def any_sewn(masks: Sequence[PolygonMask]) -> list[bool]:
    """`is_sewn` of each, quickly where none is."""
    if not masks:
        return []
    points = np.frombuffer(b"".join([p for mask in masks for p in mask.packed])).reshape(-1, 2)
    keys = np.sort(points @ np.array([1.0, 1.2345678901234567]))  # equal points give equal keys; the rest is checked
    if not (keys[1:] == keys[:-1]).any():
        return [False] * len(masks)
    return [is_sewn(mask) for mask in masks]
