"""Shapes of annotation tools: polygons, rectangles, ellipses and pasted bitmaps, to masks and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import cos, isfinite, radians, sin
from typing import Any

import numpy as np

from samlabel.errors import FormatError, UsageError
from samlabel.geometry import count_parts_and_holes, polygons_to_mask
from samlabel.types import Mask, Size

from ._lenient import broken

BITMAP_MAX = 1 << 28  # pixels of an image whose masks are decoded to pixels; 16384 by 16384
CHOICES = ("auto", "polygon", "mask")
OTHER = "other_shapes"  # key of ImageRecord.extra: shapes that are no objects (points, lines), as they were


def others_of(extra: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The shapes that are no objects; nothing where the key holds something else, as files of others may."""
    found = extra.get(OTHER)
    return [shape for shape in found if isinstance(shape, dict)] if isinstance(found, list) else []


def check_choice(shapes: str) -> None:
    if shapes not in CHOICES:
        raise UsageError(f"unknown choice of shapes {shapes!r}; known: {', '.join(CHOICES)}")


def as_polygon(mask: Mask, shapes: str) -> bool:
    """Whether `mask` is written as polygons; "auto" takes them for a single part without a hole."""
    if shapes == "auto":
        return count_parts_and_holes(mask) == (1, 0)
    return shapes == "polygon" and mask.area > 0


def mask_of(polygons: Sequence[Sequence[float]], size: Size, where: str) -> Mask:
    """The union of flat polygons; FormatError when one is none."""
    try:
        return polygons_to_mask(polygons, size)
    except ValueError as error:
        raise broken("bad-mask", f"{where}: {error}") from error


def union(masks: Sequence[Mask]) -> Mask:
    """The pixels of any of `masks`, all of one size."""
    from pycocotools import mask as coco

    if len(masks) == 1:
        return masks[0]
    return Mask(masks[0].size, coco.merge([mask.to_rle() for mask in masks])["counts"])


def ellipse(cx: float, cy: float, rx: float, ry: float, *, degrees: float = 0.0) -> list[float]:
    """A flat polygon of 128 points, turned clockwise on the screen by `degrees` about its centre."""
    angle = np.linspace(0, 2 * np.pi, 128, endpoint=False)
    return _turned(rx * np.cos(angle), ry * np.sin(angle), cx, cy, degrees)


def rectangle(
    x0: float, y0: float, x1: float, y1: float, *, degrees: float = 0.0, about: str = "centre"
) -> list[float]:
    """A flat polygon of four points, turned clockwise on the screen about its "centre" or its "corner" x0, y0."""
    px, py = (x0, y0) if about == "corner" else ((x0 + x1) / 2, (y0 + y1) / 2)
    return _turned(np.array([x0, x1, x1, x0]) - px, np.array([y0, y0, y1, y1]) - py, px, py, degrees)


def _turned(dx: np.ndarray, dy: np.ndarray, px: float, py: float, degrees: float) -> list[float]:
    turn = radians(degrees)
    x = px + dx * cos(turn) - dy * sin(turn)
    y = py + dx * sin(turn) + dy * cos(turn)
    return np.stack((x, y), axis=1).ravel().tolist()


def cut_out(mask: Mask) -> tuple[int, int, np.ndarray]:
    """x and y of the tight box of `mask`, and its pixels there; one background pixel when the mask is empty."""
    x0, y0, x1, y1 = (int(v) for v in mask.box)
    if x1 <= x0 or y1 <= y0:
        return 0, 0, np.zeros((1, 1), dtype=bool)
    return x0, y0, mask.to_pixels()[y0:y1, x0:x1]


def pasted(pixels: np.ndarray, x: int, y: int, size: Size, where: str) -> Mask:
    """The mask of (H, W) `pixels` whose first one lies at x, y; FormatError when they reach beyond the image."""
    height, width = pixels.shape
    if x < 0 or y < 0 or x + width > size[1] or y + height > size[0]:
        raise broken(
            "bad-mask", f"{where}: a mask of {width}x{height} at {x}, {y} leaves the {size[1]}x{size[0]} image"
        )
    check_bitmap(size, where)
    canvas = np.zeros(size, dtype=bool)
    canvas[y : y + height, x : x + width] = pixels
    return Mask.from_pixels(canvas)


def check_bitmap(size: Size, where: str) -> None:
    """FormatError for a bitmap larger than any photo: a few bytes of runs can claim gigabytes of pixels."""
    if size[0] * size[1] > BITMAP_MAX:
        raise broken("bad-mask", f"{where}: a bitmap of {size[1]}x{size[0]} pixels; at most {BITMAP_MAX} are read")


def row_runs(pixels: np.ndarray) -> list[int]:
    """Run lengths of (H, W) `pixels` row by row, background first (so the first may be 0)."""
    flat = pixels.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(np.concatenate(([0], changes, [flat.size]))).tolist()
    return [0, *runs] if flat[0] else runs


def from_row_runs(runs: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pixels (H, W) of run lengths row by row, background first; ValueError when they do not cover them exactly."""
    if (runs.size and (runs.min() < 0 or runs.max() > height * width)) or int(runs.sum()) != height * width:
        raise ValueError(f"runs cover {sum(int(r) for r in runs)} pixels; {width}x{height} has {height * width}")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)


def number_in(value: Any, where: str, what: str) -> float:
    """A finite number, or text of one; FormatError otherwise."""
    try:
        number = float("" if isinstance(value, bool) else value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if not isfinite(number) or abs(number) >= 1e15:
        raise FormatError(f"{where}: {what} is {value!r:.40}, wanted a finite number")
    return number


def ordered_box(x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
    """A box from two opposite corners in any order, as people drag them."""
    return (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
