"""Polygons to runs by pycocotools' rule, at a cost that is known before it is paid."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..types import GIANT
from . import rle

if TYPE_CHECKING:
    from ..types import Size

Points = NDArray[np.float64]  # (K, 2) of x, y

CROSSINGS_MAX = rle.RUNS_MAX  # columns that the edges of one object cross inside its image: each may begin a run
STEPS = 2**22  # fifths of a pixel along an outline that pycocotools walks in one go; it takes 24 bytes for each
_CHUNK = 2**20


def outlines_to_counts(rings: Sequence[Points], size: Size, *, span: float = inf) -> bytes:
    """COCO's compressed counts of the union of closed outlines; ValueError where they cross too many columns.

    `span` is a number that no outline is wider or higher than, where the caller knows one: most need no closer look.

    Outlines of an ordinary length go to pycocotools, long ones and large images are worked out column by column, with
    the same result: it walks in fifths of a pixel wherever the outline leads, also outside the image.
    """
    height, width = size
    if height * width < GIANT and all(_is_short(ring, span) for ring in rings):
        from pycocotools import mask as coco

        found = coco.frPyObjects([ring.ravel() for ring in rings], height, width)
        if len(found) == 1:
            return bytes(found[0]["counts"])
        if height * width <= 8 * STEPS:  # merging takes four bytes a pixel
            return bytes(coco.merge(found)["counts"])
    check_crossings(rings, size)
    runs = [rle.runs_of(_changes(ring, size), height * width) for ring in rings]
    return rle.pack(rle.union(runs, height * width) if len(runs) > 1 else runs[0])


def is_ordinary(points: int, size: Size, span: float) -> bool:
    """Whether pycocotools may walk along an outline of so many points that is no wider or higher than `span`."""
    return 10 * points * (span + 1) < STEPS and size[0] * size[1] < GIANT


def ordinary_to_counts(values: NDArray[np.float64], size: Size) -> bytes:
    """COCO's compressed counts of one such outline, x0 y0 x1 y1 ... in pixels."""
    from pycocotools import mask as coco

    return bytes(coco.frPyObjects([values], *size)[0]["counts"])


def _is_short(ring: Points, span: float) -> bool:
    """Whether pycocotools may walk along it."""
    if 10 * len(ring) * (span + 1) < STEPS:
        return True
    steps = np.abs(np.diff(ring, axis=0, append=ring[:1])).max(axis=1)
    return 5 * float(steps.sum()) + len(ring) < STEPS


def check_crossings(rings: Sequence[Points], size: Size) -> None:
    """ValueError where the edges of these outlines together cross more than CROSSINGS_MAX columns of the image."""
    if sum(len(ring) for ring in rings) * size[1] <= CROSSINGS_MAX:
        return
    found = sum(count_crossings(ring, size) for ring in rings)
    if found > CROSSINGS_MAX:
        raise ValueError(
            f"polygons whose edges cross {found} columns of pixels in a {size[1]}x{size[0]} image; "
            f"expected at most {CROSSINGS_MAX}"
        )


def count_crossings(ring: Points, size: Size) -> int:
    """How many columns of the image the edges of a closed outline cross, each edge for itself."""
    first, last = _columns(_fifths(ring)[:, 0], size[1])
    return int(np.maximum(last - first + 1, 0).sum())


def _fifths(ring: Points) -> NDArray[np.int64]:
    """Points in fifths of a pixel, cut down as C does it."""
    return np.trunc(5.0 * ring + 0.5).astype(np.int64)


def _columns(x: NDArray[np.int64], width: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first and the last column of the image that each edge crosses, between the fifths 2 and 3 of the column."""
    after = np.roll(x, -1)
    low, high = np.minimum(x, after), np.maximum(x, after)
    return np.maximum(-((2 - low) // 5), 0), np.minimum((high - 3) // 5, width - 1)


def _changes(ring: Points, size: Size) -> NDArray[np.int64]:
    """Sorted positions that the outline toggles: x * height + y, a column at a time."""
    height, width = size
    points = _fifths(ring)
    ends = np.roll(points, -1, axis=0)
    first, last = _columns(points[:, 0], width)
    many = np.maximum(last - first + 1, 0)
    done = np.cumsum(many)
    found = []
    start = 0
    while start < len(many):
        before = int(done[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(done, before + _CHUNK, side="right")))
        some = slice(start, stop)
        edge = np.repeat(np.arange(start, stop), many[some])
        column = np.arange(len(edge)) - np.repeat(done[some] - many[some] - before - first[some], many[some])
        found.append(column * height + _rows(points[edge], ends[edge], column, height))
        start = stop
    changes = np.concatenate(found)
    changes.sort()
    return changes


def _rows(
    start: NDArray[np.int64], end: NDArray[np.int64], column: NDArray[np.int64], height: int
) -> NDArray[np.int64]:
    """The row from which on each edge toggles its column.

    pycocotools walks the longer side of an edge in whole fifths, always from the lower end, and rounds the other; a
    column is toggled where x steps from its fifth 2 to its fifth 3, at the lower of the two y.
    """
    (xs, ys), (xe, ye) = start.T, end.T
    across, down = np.abs(xe - xs), np.abs(ye - ys)
    flat = across >= down
    flip = np.where(flat, xs > xe, ys > ye)
    xs, xe = np.where(flip, xe, xs), np.where(flip, xs, xe)
    ys, ye = np.where(flip, ye, ys), np.where(flip, ys, ye)
    target = 5 * column + 2
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.where(flat, (ye - ys) / across, (xe - xs) / down)
        step = np.where(flat, target - xs, np.floor((target + 0.5 - xs) / slope)).astype(np.int64)
    y_before, y_after = (np.trunc(ys + slope * t + 0.5).astype(np.int64) for t in (step, step + 1))
    steep = ~flat
    if steep.any():
        xs, slope, target, t = xs[steep], slope[steep], target[steep], step[steep]
        rising = slope > 0

        def is_past(t: NDArray[np.int64]) -> NDArray[np.bool_]:
            """Whether x has made the step at t."""
            past: NDArray[np.bool_] = (np.trunc(xs + slope * t + 0.5) > target) == rising
            return past

        # The division may be off by the last bit: t is the last step before x has changed sides.
        t = np.where(is_past(t), t - 1, t)
        t = np.where(is_past(t + 1), t, t + 1)
        y_before[steep] = ys[steep] + t
        y_after[steep] = y_before[steep] + 1
    lower = (np.minimum(y_before, y_after) + 0.5) / 5 - 0.5
    rows: NDArray[np.int64] = np.ceil(np.clip(lower, 0, height)).astype(np.int64)
    return rows
