"""Rows of YOLO label files: an object to text, and a row's points to the mask they stand for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, floor, log10

import numpy as np

from samlabel.geometry import PolygonMask, join_contours, polygons_to_mask, simplify_to
from samlabel.types import Box, Mask, Size

from ._budget import Budget

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
    points = pixel + np.select([part < 0.25, part < 0.55, part < 0.75], [LOW, SEAM, 1 - SEAM], HIGH)
    values = (points / (width, height)).ravel().tolist()
    return f"{index} " + " ".join([f"%.{decimals(size)}f"] * len(values)) % tuple(values)


def polygon_rows(masks: Sequence[PolygonMask], indices: Sequence[int], size: Size) -> list[str | None]:
    """Rows of objects of one polygon each with their points as they are; None where that would change the mask.

    A row is given only where `restore` of its numbers leads pycocotools to the very same pixels. All points of an
    image are turned into text at once: looked up where they have two decimals, as most do, else worked out.
    """
    points = np.frombuffer(b"".join([mask.packed[0] for mask in masks])).reshape(-1, 2)
    lengths = np.array([len(mask.packed[0]) // 16 for mask in masks])
    starts = np.cumsum(lengths) - lengths
    inside = np.array([mask.extent for mask in masks])
    good = (inside[:, :2] >= 0).all(axis=1) & (inside[:, 2:] <= size[::-1]).all(axis=1)
    if not good.all():
        points = np.clip(points, 0, size[::-1])
    shares, kept, rounded = _looked_up(points, size) or _worked_out(points, size)
    if not kept.all():
        good &= np.logical_and.reduceat(kept.ravel(), 2 * starts)
    first = np.abs((rounded[starts] % 1)[..., None] - MARKS).min(axis=-1).max(axis=-1)
    good &= first > 0.011  # or it may be taken for a row that was traced
    text = shares.tobytes().decode("ascii")
    wide = 2 * (SHORT + 3)
    return [
        f"{index}{text[start * wide : (start + length) * wide]}" if fine else _long_row(mask, index, size)
        for index, mask, start, length, fine in zip(
            indices, masks, starts.tolist(), lengths.tolist(), good.tolist()
        )
    ]


Told = tuple[np.ndarray, np.ndarray, np.ndarray]  # of each coordinate: text " 0.123456"; whether it is kept; `restore`d


def _worked_out(points: np.ndarray, size: Size) -> Told:
    """What becomes of points (K, 2) inside an image of `size`."""
    height, width = size
    shares = np.rint(points * (10**SHORT / width, 10**SHORT / height))
    back = shares * (width / 10**SHORT, height / 10**SHORT)
    rounded = np.rint(back * 100) / 100
    # What pycocotools makes of a coordinate is fifths of a pixel.
    kept = np.floor(5 * rounded + 0.5) == np.floor(5 * points + 0.5)
    kept &= np.abs(back - rounded) <= 0.55 * 10.0**-SHORT * max(size)
    return _digits(shares.astype(np.uint32).ravel()), kept, rounded


_PAIR = np.dtype([("space", "u1"), ("digits", "<u8")])  # " " and the eight bytes of "0.123456"


@dataclass(frozen=True)
class _Table:
    """`_worked_out` of every hundredth of a pixel, first those across an image, then those down it."""

    down: int  # where those down the image begin
    digits: np.ndarray
    kept: np.ndarray
    rounded: np.ndarray


_TABLES: dict[Size, _Table] = {}
_SEEN: Counter[Size] = Counter()  # points of images of a size that has no table yet
LARGEST = 1 << 18  # entries of a table, 4 MB: images of 2600 pixels, both sides together
MOST = 8  # tables


def _looked_up(points: np.ndarray, size: Size) -> Told | None:
    """`_worked_out`, from a table; None where points have more than two decimals or a table does not pay."""
    table = _TABLES.get(size)
    if table is None:
        _SEEN[size] += len(points)
        entries = 100 * sum(size)
        if entries > LARGEST or _SEEN[size] < entries:
            return None
        table = _make_table(size)
    hundreds = np.rint(points * 100)
    if not (hundreds / 100 == points).all():
        return None
    at = hundreds.astype(np.intp)
    at[:, 1] += table.down
    text = np.empty(at.shape, dtype=_PAIR)
    text["space"], text["digits"] = ord(" "), table.digits[at]
    return text, table.kept[at], table.rounded[at]


def _make_table(size: Size) -> _Table:
    if len(_TABLES) >= MOST:
        _TABLES.clear()
        _SEEN.clear()
    height, width = size
    count = 100 * max(size) + 1
    line = np.arange(count) / 100
    text, kept, rounded = _worked_out(np.stack((np.minimum(line, width), np.minimum(line, height)), axis=1), size)
    part = [(slice(100 * width + 1), 0), (slice(100 * height + 1), 1)]
    digits = np.ascontiguousarray(text.reshape(count, 2, SHORT + 3)[..., 1:]).view("<u8")[..., 0]
    across = [np.concatenate([values[where] for where in part]) for values in (digits, kept, rounded)]
    _TABLES[size] = table = _Table(100 * width + 1, *across)
    return table


def _digits(shares: np.ndarray) -> np.ndarray:
    """" 0.123456" of each millionth, (N, 9) ASCII."""
    out = np.empty((len(shares), SHORT + 3), dtype=np.uint8)
    lead = shares // np.uint32(1_000_000)
    rest = shares - lead * np.uint32(1_000_000)
    upper = rest // np.uint32(1000)
    lower = rest - upper * np.uint32(1000)
    out[:, 0], out[:, 1], out[:, 2] = ord(" "), lead + ord("0"), ord(".")
    out[:, 3:6], out[:, 6:9] = _THREE.take(upper, axis=0), _THREE.take(lower, axis=0)
    return out


_THREE = np.array([list(f"{n:03d}".encode()) for n in range(1000)], dtype=np.uint8)


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


def as_ultralytics_fills(row: str, size: Size) -> Mask:
    """The mask that ultralytics' loader makes of a row at the image's own size.

    Its steps, from https://github.com/ultralytics/ultralytics (data/dataset.py, utils/ops.py, data/utils.py): points
    resampled to 1000, or one more than there are; cut down to whole pixels; filled by OpenCV, outline included. In
    an image with an object of more than 1000 points it resamples the others to as many, which hardly matters.
    """
    height, width = size
    part, (x, y) = _filled(row, size)
    whole = np.zeros((height, width), dtype=np.uint8, order="F")
    whole[y : y + part.shape[0], x : x + part.shape[1]] = part
    return Mask.from_pixels(whole)


def iou_in_ultralytics(mask: Mask, row: str) -> float:
    """IoU of `mask` with what ultralytics' loader makes of its row, worked out around the object alone."""
    height, width = mask.size
    part, (x, y) = _filled(row, mask.size)
    low_x, low_y, high_x, high_y = mask.extent if isinstance(mask, PolygonMask) else mask.box
    x0, y0 = max(0, min(x, floor(low_x) - 1)), max(0, min(y, floor(low_y) - 1))
    x1 = min(width, max(x + part.shape[1], ceil(high_x) + 1))
    y1 = min(height, max(y + part.shape[0], ceil(high_y) + 1))
    if isinstance(mask, PolygonMask):
        from pycocotools import mask as coco

        # Rounding undoes what the shift does to the last bits, which decide where pycocotools puts a tie.
        rings = [np.round(points - (x0, y0), 9).ravel() for points in mask.polygons]
        rles = coco.frPyObjects(rings, y1 - y0, x1 - x0)
        truth = coco.decode(coco.merge(rles) if len(rles) > 1 else rles[0])
    else:
        truth = mask.to_pixels()[y0:y1, x0:x1]
    filled = np.zeros((y1 - y0, x1 - x0), dtype=bool)
    filled[y - y0 : y - y0 + part.shape[0], x - x0 : x - x0 + part.shape[1]] = part
    common = np.count_nonzero(filled & truth.view(bool))
    union = np.count_nonzero(part) + np.count_nonzero(truth) - common
    return common / union if union else 1.0


def _filled(row: str, size: Size) -> tuple[np.ndarray, tuple[int, int]]:
    """The pixels that ultralytics fills for a row, cut out around them, and the left top corner (x, y) of that."""
    import cv2

    height, width = size
    points = np.fromstring(row.partition(" ")[2], sep=" ").astype(np.float32).reshape(-1, 2).T
    points = _resampled(points, max(1000, points.shape[1] + 1 if points.shape[1] > 1000 else 0))
    pixels = (points * np.array(((width,), (height,)), dtype=np.float32)).astype(np.int32)
    x0, y0 = (min(max(int(low), 0), side - 1) for low, side in zip(pixels.min(axis=1), (width, height)))
    x1, y1 = (min(max(int(high), 0), side - 1) for high, side in zip(pixels.max(axis=1), (width, height)))
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
    return (steps.take(corner, axis=1) * way + closed.take(corner, axis=1)).astype(np.float32)


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
    gaps = np.abs((pixels - whole)[..., None] - MARKS)
    if gaps.min(axis=-1).max() > 0.01:
        return unrounded(pixels, size)
    return whole + np.array([0, 0.5, 0.5, 1])[gaps.argmin(axis=-1)]


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
