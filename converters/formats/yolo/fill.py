"""What ultralytics' loader makes of a row of a label file.

Its steps, from https://github.com/ultralytics/ultralytics (data/dataset.py, utils/ops.py, data/utils.py): points
resampled to 1000, or one more than there are; cut down to whole pixels; filled by OpenCV, outline included. In an
image with an object of more than 1000 points it resamples the others to as many, which hardly matters.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil, floor

import numpy as np

from samlabel.geometry import PolygonMask, mask_window, outlines_to_counts
from samlabel.types import Mask, Size

MOST = 2**26  # pixels around an object that are filled to be measured


def as_ultralytics_fills(row: str, size: Size) -> Mask:
    """The mask that ultralytics' loader makes of a row at the image's own size."""
    height, width = size
    part, (x, y) = _filled(row, size)
    whole = np.zeros((height, width), dtype=np.uint8, order="F")
    whole[y : y + part.shape[0], x : x + part.shape[1]] = part
    return Mask.from_pixels(whole)


def iou_in_ultralytics(mask: Mask, row: str) -> float | None:
    """IoU of `mask` with what ultralytics' loader makes of its row, worked out around the object alone.

    None, not measured, for an object whose box has more than MOST pixels.
    """
    height, width = mask.size
    if height * width > MOST:
        left, top, right, bottom = mask.box
        if (right - left) * (bottom - top) > MOST:
            return None
    part, (x, y) = _filled(row, mask.size)
    low_x, low_y, high_x, high_y = mask.extent if isinstance(mask, PolygonMask) else mask.box
    x0, y0 = max(0, min(x, floor(low_x) - 1)), max(0, min(y, floor(low_y) - 1))
    x1 = min(width, max(x + part.shape[1], ceil(high_x) + 1))
    y1 = min(height, max(y + part.shape[0], ceil(high_y) + 1))
    if isinstance(mask, PolygonMask):
        # Rounding undoes what the shift does to the last bits, which decide where pycocotools puts a tie.
        rings = [np.round(points - (x0, y0), 9) for points in mask.polygons]
        around = (y1 - y0, x1 - x0)
        truth = Mask(around, outlines_to_counts(rings, around)).to_pixels()
    else:
        truth = mask_window(mask, (x0, y0, x1, y1))
    filled = np.zeros((y1 - y0, x1 - x0), dtype=bool)
    filled[y - y0 : y - y0 + part.shape[0], x - x0 : x - x0 + part.shape[1]] = part
    common = np.count_nonzero(filled & truth)
    union = np.count_nonzero(part) + np.count_nonzero(truth) - common
    return common / union if union else 1.0


def _filled(row: str, size: Size) -> tuple[np.ndarray, tuple[int, int]]:
    """The pixels that ultralytics fills for a row, cut out around them, and the left top corner (x, y) of that."""
    import cv2

    height, width = size
    points = np.fromstring(row.partition(" ")[2], sep=" ").astype(np.float32).reshape(-1, 2).T
    points = _resampled(points, max(1000, points.shape[1] + 1 if points.shape[1] > 1000 else 0))
    pixels = (points * np.array(((width,), (height,)), dtype=np.float32)).astype(np.int32)
    x0, y0 = (min(max(int(low), 0), side - 1) for low, side in zip(pixels.min(axis=1), (width, height), strict=True))
    x1, y1 = (min(max(int(high), 0), side - 1) for high, side in zip(pixels.max(axis=1), (width, height), strict=True))
    part = np.zeros((y1 - y0 + 1, x1 - x0 + 1), dtype=np.uint8)
    cv2.fillPoly(part, [np.ascontiguousarray(pixels.T)], color=1, offset=(-x0, -y0))
    return part, (x0, y0)


def _resampled(points: np.ndarray, count: int) -> np.ndarray:
    """Of points (2, K) along a closed outline `count`, the corners among them where there are fewer than that."""
    if points.shape[1] == count:
        return points
    closed = np.concatenate((points, points[:, :1]), axis=1).astype(np.float64)
    corner, way = _places(closed.shape[1], count)
    steps = closed[:, 1:] - closed[:, :-1]
    placed: np.ndarray = steps.take(corner, axis=1) * way + closed.take(corner, axis=1)
    return placed.astype(np.float32)


@lru_cache(maxsize=256)
def _places(corners: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each of `count` points the corner that it follows, and how far it is on the way to the next."""
    fewer = corners < count
    at = np.linspace(0, corners - 1, count - corners if fewer else count)
    if fewer:
        every = np.arange(corners)
        at = np.insert(at, np.searchsorted(at, every), every)
    corner = np.minimum(at.astype(np.intp), corners - 2)
    return corner, at - corner
