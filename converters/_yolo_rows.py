"""Rows of YOLO label files: an object to text, and a row's points to the mask they stand for."""

from __future__ import annotations

from math import ceil, log10

import numpy as np

from samlabel.geometry import join_contours, polygons_to_mask
from samlabel.types import Box, Mask, Size

TRACED = 1 / 16  # inset that the contour is traced with, before its corners are moved to these fractions of a pixel:
LOW, SEAM, HIGH = 0.375, 0.421875, 0.46875  # left and top corners, seams to holes, right and bottom corners

# Why there: ultralytics cuts coordinates down to whole pixels, others round them. Below .5 both find the pixel itself,
# and OpenCV's fillPoly paints the pixels on the outline too, so the mask comes back exactly at the image's own size.
# Near the middle, a resized image loses and gains about as much at every edge. The two fractions tell a reader which
# way the pixel's edge lies. Measured on 3,198 masks of photos: see tests/converters/test_yolo_photos.py.


def mask_row(contours: list[np.ndarray], index: int, size: Size) -> str:
    """The row of an object whose parts have these contours, traced with the inset TRACED."""
    height, width = size
    points = join_contours(contours)
    pixel = np.floor(points)
    part = points - pixel
    points = pixel + np.select([part < 0.25, part < 0.55, part < 0.75], [LOW, SEAM, 1 - SEAM], HIGH)
    values = (points / (width, height)).ravel().tolist()
    return f"{index} " + " ".join([f"%.{decimals(size)}f"] * len(values)) % tuple(values)


def decimals(size: Size) -> int:
    """Digits after the point that keep a normalised coordinate within 0.004 pixels."""
    return max(5, ceil(log10(max(size) / 0.008)))


def box_row(box: Box, index: int, size: Size) -> str:
    """The row of a box: class, centre and size, with digits enough to come back within 1e-4 pixels."""
    height, width = size
    x0, y0, x1, y1 = box
    values = ((x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height)
    return f"{index} " + " ".join(f"{value:.10f}" for value in values)


def box_row_as_polygon(row: str, size: Size) -> str:
    """A box row as the four corners of its box."""
    index, *values = row.split()
    cx, cy, width, height = (float(v) for v in values)
    x0, x1, y0, y1 = cx - width / 2, cx + width / 2, cy - height / 2, cy + height / 2
    corners = (x0, y0, x1, y0, x1, y1, x0, y1)
    return f"{index} " + " ".join(f"{value:.{decimals(size)}f}" for value in corners)


def read_polygon(values: list[float], size: Size) -> Mask:
    """The mask of a row's points: exact for a row of ours, pycocotools' rule at their true place for any other."""
    return polygons_to_mask([restore(np.asarray(values).reshape(-1, 2), size).ravel()], size)


def restore(points: np.ndarray, size: Size) -> np.ndarray:
    """Normalised points (K, 2) in pixels; those of a row that `write` made, back on the edges of their pixels."""
    height, width = size
    pixels = points * (width, height)
    whole = np.floor(pixels)
    gaps = np.abs((pixels - whole)[..., None] - (LOW, SEAM, 1 - SEAM, HIGH))
    if gaps.min(axis=-1).max() > 0.01:
        return pixels
    return whole + np.array([0, 0.5, 0.5, 1])[gaps.argmin(axis=-1)]
