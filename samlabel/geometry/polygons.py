"""Polygons to masks by pycocotools' rule, masks to polygons that give the same mask back."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from .contours import join_parts, sew_parts
from .outline import trace
from .raster import outlines_to_counts
from .rle import pack
from .runs import check_size

if TYPE_CHECKING:
    from ..types import Mask, Size

REACH = 10  # a polygon that leaves its image by more than ten of its sides can only be a mistake


def polygons_to_mask(polygons: Sequence[Sequence[float] | np.ndarray], size: Size) -> Mask:
    """The union of flat `x0 y0 x1 y1 ...` polygons by pycocotools' rule; an empty mask for no polygon.

    Raises ValueError for fewer than three points, an odd count, a number that is not finite, a point so far outside
    the image (ten times its longest side) that it can only be a mistake, or edges that cross more columns of the image
    than any object's (CROSSINGS_MAX).
    """
    from ..types import Mask

    check_size(size)
    height, width = int(size[0]), int(size[1])
    if not len(polygons):
        return Mask((height, width), pack(np.array([height * width])))
    reach = REACH * max(height, width) + 1000
    rings = []
    span = 0.0
    for number, polygon in enumerate(polygons):
        try:
            ring = np.asarray(polygon, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            raise ValueError(f"polygon {number} is not a list of numbers") from None
        if ring.ndim != 1 or len(ring) < 6 or len(ring) % 2:
            raise ValueError(f"polygon {number} has {ring.size} numbers; wanted x y pairs, three points or more")
        if not np.isfinite(ring).all():
            raise ValueError(f"polygon {number} holds a number that is not finite")
        farthest = float(np.abs(ring).max())
        if farthest > reach:
            raise ValueError(f"polygon {number} reaches {farthest:g}, far outside a {width}x{height} image")
        span = max(span, 2 * farthest)
        rings.append(ring.reshape(-1, 2))
    return Mask((height, width), outlines_to_counts(rings, (height, width), span=span))


def count_parts_and_holes(mask: Mask) -> tuple[int, int]:
    """How many 8-connected parts and how many holes `mask` has."""
    rings = trace(mask)
    holes = sum(rings.hole)
    return len(rings.hole) - holes, holes


def mask_to_polygons(mask: Mask, *, tolerance: float = 0.0) -> list[list[float]]:
    """Flat closed pixel-edge polygons, one a part, its holes joined to the outer ring by zero-width seams.

    pycocotools rasterises them to this very mask, bit for bit, while `tolerance` is 0; a tolerance in pixels lets
    corners go that lie closer than that to the simplified outline. No polygon for an empty mask.
    """
    polygons = sew_parts(trace(mask), inset=0.0)
    if tolerance > 0:
        polygons = [simplify(points, tolerance) for points in polygons]
    return [[int(v) if v == int(v) else v for v in points.ravel().tolist()] for points in polygons]


def mask_to_contours(mask: Mask, *, inset: float) -> list[np.ndarray]:
    """One closed contour (K, 2) of x, y a part, holes joined by zero-width seams through the middle of pixels.

    Every corner lies `inset` pixels inside its pixel, so that a reader that cuts coordinates down to whole pixels
    and paints the boundary (OpenCV's fillPoly) fills the part's own pixels. An inset below 0.1 is snapped away by
    pycocotools, which then gives the mask back bit for bit.
    """
    return sew_parts(trace(mask), inset=inset)


def join_contours(contours: list[np.ndarray]) -> np.ndarray:
    """All contours as one (K, 2), joined by zero-width seams between their nearest corners; (0, 2) for none."""
    return join_parts(contours)


def simplify(points: np.ndarray, tolerance: float) -> np.ndarray:
    """The closed outline (K, 2) without corners closer than `tolerance` pixels to the rest (Douglas-Peucker).

    Points that occur twice, as the ends of seams do, stay, so that seams stay exact.
    """
    if len(points) <= 4:
        return points
    closed = np.concatenate((points, points[:1]))
    keep = np.append(_fixed(points), True)
    anchors = np.flatnonzero(keep).tolist()
    stack = list(pairwise(anchors))
    while stack:
        first, last = stack.pop()
        if last - first < 2:
            continue
        chord = closed[last] - closed[first]
        inner = closed[first + 1 : last] - closed[first]
        length = float(np.hypot(*chord))
        if length == 0:
            distance = np.hypot(inner[:, 0], inner[:, 1])
        else:
            distance = np.abs(inner[:, 0] * chord[1] - inner[:, 1] * chord[0]) / length
        middle = int(np.argmax(distance))
        if distance[middle] > tolerance:
            middle += first + 1
            keep[middle] = True
            stack += [(first, middle), (middle, last)]
    kept = points[keep[:-1]]
    return kept if len(kept) >= 3 else points


def _fixed(points: np.ndarray) -> np.ndarray:
    """Which corners no tolerance takes away: ends of seams, the first, and the one farthest from it."""
    _, index, counts = np.unique(points, axis=0, return_inverse=True, return_counts=True)
    fixed = counts[index.reshape(-1)] > 1
    fixed[[0, int(np.argmax(((points - points[0]) ** 2).sum(axis=1)))]] = True
    return fixed


def simplify_to(points: np.ndarray, *, max_points: int | None, tolerance: float) -> np.ndarray:
    """The closed outline (K, 2) simplified by `tolerance`, and further while it has more than `max_points` corners.

    Seams keep their corners. Where these are more than half of `max_points` they do not count, for what is left would
    be too few to give the outline any shape: it is over the budget then.
    """
    found = simplify(points, tolerance) if tolerance > 0 else points
    if max_points is None or len(found) <= max_points:
        return found
    fixed = int(_fixed(points).sum())
    if 2 * fixed > max_points:
        max_points += fixed
        if len(found) <= max_points:
            return found
    low, high = tolerance, max(0.5, 2 * tolerance)
    best = simplify(points, high)
    while len(best) > max_points and high < 1e5:
        low, high = high, high * 2
        best = simplify(points, high)
    for _ in range(8):  # the smallest tolerance that fits, to a part in 256
        middle = (low + high) / 2
        tried = simplify(points, middle)
        if len(tried) <= max_points:
            high, best = middle, tried
        else:
            low = middle
    return best
