"""Rows of YOLO label files: an object to text, and a row's points to the mask they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import ceil, log10

import numpy as np

from converters.fields.simplify import Budget
from samlabel.geometry import PolygonMask, join_contours, polygons_to_mask, simplify_to
from samlabel.types import Box, Mask, Size

TRACED = 1 / 16  # inset that the contour is traced with, before its corners are moved to these fractions of a pixel:
LOW, SEAM, HIGH = 0.375, 0.421875, 0.46875  # left and top corners, seams to holes, right and bottom corners

# Why there: ultralytics cuts coordinates down to whole pixels, others round them. Below .5 both find the pixel itself,
# and OpenCV's fillPoly paints the pixels on the outline too, so the mask comes back exactly at the image's own size.
# Near the middle, a resized image loses and gains about as much at every edge. The two fractions tell a reader which
# way the pixel's edge lies. Measured on 3,198 masks of photos: see tests/converters/test_yolo_photos.py.


SHORT, LONG = 6, 9  # digits of the shares of points that are written as they came
MARKS = np.array((LOW, SEAM, 1 - SEAM, HIGH))


def mask_row(contours: list[np.ndarray], index: int, size: Size, budget: Budget) -> str:
    """The row of an object whose parts have these contours, traced with the inset TRACED."""
    height, width = size
    points = join_contours(contours)
    if budget.is_set:
        points = simplify_to(points, max_points=budget.max_points, tolerance=budget.tolerance)
    pixel = np.floor(points)
    part = points - pixel
    mark = np.select([part < 0.25, part < 0.55, part < 0.75], [0, 1, 2], 3)
    at = (4 * pixel + mark).astype(np.int64)
    places = decimals(size)
    words = [""] * at.size
    for axis, side in enumerate((width, height)):
        words[axis::2] = map(_marked(side, places).__getitem__, at[:, axis].tolist())
    return f"{index} " + " ".join(words)


class _Marked(dict[int, str]):
    """The text of every marked place along a side, 4 * pixel + number of the mark, made when it is first asked for."""

    def __init__(self, side: int, places: int) -> None:
        self._side, self._places = side, places

    def __missing__(self, at: int) -> str:
        pixel, mark = divmod(at, 4)
        text = self[at] = f"{(pixel + (LOW, SEAM, 1 - SEAM, HIGH)[mark]) / self._side:.{self._places}f}"
        return text


@lru_cache(maxsize=32)
def _marked(side: int, places: int) -> _Marked:
    return _Marked(side, places)


def polygon_rows(masks: Sequence[PolygonMask], indices: Sequence[int], size: Size) -> list[str | None]:
    """Rows of objects of one polygon each with their points as they are; None where that would change the mask.

    A row is given only where `restore` of its numbers leads pycocotools to the very same pixels. All points of an
    image are turned into text at once.
    """
    points = np.frombuffer(b"".join([mask.packed[0] for mask in masks])).reshape(-1, 2)
    lengths = np.array([len(mask.packed[0]) // 16 for mask in masks])
    starts = np.cumsum(lengths) - lengths
    inside = np.array([mask.extent for mask in masks])
    good = (inside[:, :2] >= 0).all(axis=1) & (inside[:, 2:] <= size[::-1]).all(axis=1)
    if not good.all():
        points = np.clip(points, 0, size[::-1])
    shares = np.empty(points.shape)
    for axis, side in enumerate((size[1], size[0])):  # numpy is slow along an axis of two
        np.multiply(points[:, axis], 10**SHORT / side, out=shares[:, axis])
    shares = np.rint(shares)
    firsts = points[starts]
    # Hundredths of a pixel come back as they were while half a millionth of the image is far below half of one.
    if max(size) > LARGEST or not (np.rint(points * 100) / 100 == points).all():
        kept, rounded = _kept(points, shares, size)
        good &= np.logical_and.reduceat(kept.ravel(), 2 * starts)
        firsts = rounded[starts]
    good &= np.abs((firsts % 1)[..., None] - MARKS).min(axis=-1).max(axis=-1) > 0.011  # or it looks like a traced row
    text = _words(shares.ravel()).tobytes().decode("ascii")
    wide = 2 * (SHORT + 3)
    return [
        f"{index}{text[start * wide : (start + length) * wide]}" if fine else _long_row(mask, index, size)
        for index, mask, start, length, fine in zip(
            indices, masks, starts.tolist(), lengths.tolist(), good.tolist(), strict=True
        )
    ]


LARGEST = 4000  # pixels a side


def _kept(points: np.ndarray, shares: np.ndarray, size: Size) -> tuple[np.ndarray, np.ndarray]:
    """Of each coordinate whether its share in millionths leads to the same pixels, and what `restore` makes of that."""
    height, width = size
    back = shares * (width / 10**SHORT, height / 10**SHORT)
    rounded = np.rint(back * 100) / 100
    # What pycocotools makes of a coordinate is fifths of a pixel.
    kept = np.floor(5 * rounded + 0.5) == np.floor(5 * points + 0.5)
    kept &= np.abs(back - rounded) <= 0.55 * 10.0**-SHORT * max(size)
    return kept, rounded


_WORD = np.dtype([("space", "S1"), ("digits", "<u8")])  # " " and the eight bytes of "0.123456"
_UPPER = np.array([f"{n // 1000}.{n % 1000:03d}".encode() for n in range(1001)], dtype="S8").view("<u8")
_LOWER = np.array([b"\0" * 5 + f"{n:03d}".encode() for n in range(1000)], dtype="S8").view("<u8")


def _words(shares: np.ndarray) -> np.ndarray:
    """ " 0.123456" of each of N millionths, nine bytes of ASCII."""
    whole = shares.astype(np.uint32)
    upper = whole // np.uint32(1000)
    words = np.empty(len(whole), dtype=_WORD)
    words["space"] = b" "
    words["digits"] = _UPPER.take(upper) | _LOWER.take(whole - upper * np.uint32(1000))
    return words


def plain_row(points: np.ndarray, index: int, size: Size) -> str:
    """The row of points (K, 2) in pixels, drawn to the image's border where they leave it."""
    height, width = size
    values = (np.clip(points, 0, (width, height)) / (width, height)).ravel().tolist()
    return f"{index} " + " ".join([f"%.{LONG}f"] * len(values)) % tuple(values)


def _long_row(mask: PolygonMask, index: int, size: Size) -> str | None:
    """The row with nine digits, for points of more than two decimals and large images."""
    height, width = size
    x0, y0, x1, y1 = mask.extent
    if x0 < 0 or y0 < 0 or x1 > width or y1 > height:  # ultralytics refuses what lies outside
        return None
    points = mask.polygons[0]
    values = (points / (width, height)).ravel().tolist()
    row = " ".join([f"%.{LONG}f"] * len(values)) % tuple(values)
    back = restore(np.array(row.split(), dtype=np.float64).reshape(-1, 2), size)
    same = np.array_equal(np.floor(5 * back + 0.5), np.floor(5 * points + 0.5))
    return f"{index} {row}" if same else None


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
    pixels: np.ndarray = points * (width, height)
    whole = np.floor(pixels)
    gaps = np.abs((pixels - whole)[..., None] - MARKS)
    if gaps.min(axis=-1).max() > 0.01:
        return unrounded(pixels, size)
    edges: np.ndarray = whole + np.array([0, 0.5, 0.5, 1])[gaps.argmin(axis=-1)]
    return edges


def unrounded(pixels: np.ndarray, size: Size) -> np.ndarray:
    """Coordinates as they were before they were normalised, where they had two decimals (or four, in long rows).

    Six digits of a share of 640 pixels are 0.0003 pixels off at most; pycocotools rounds to fifths of a pixel, so
    that the least error can move a corner that lies on a tie.
    """
    for places, digits in ((2, SHORT), (4, LONG)):
        rounded = np.round(pixels, places)
        if np.abs(pixels - rounded).max() <= 0.6 * 10.0**-digits * max(size):
            return rounded
    return pixels
