"""Shapes of annotation tools: polygons, rectangles, ellipses and pasted bitmaps, to masks and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import cos, isfinite, radians, sin
from typing import Any

import numpy as np

from converters.lenient import broken
from samlabel.errors import FormatError, UsageError, shown
from samlabel.geometry import count_parts_and_holes, mask_union, polygons_to_mask
from samlabel.types import ImageRecord, Mask, Size

JOINED = 2**24  # bytes of runs of the shapes of one object
CHOICES = ("auto", "polygon", "mask")
OTHER = "other_shapes"  # key of ImageRecord.extra: shapes that are no objects (points, lines), as they were


def others_of(extra: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The shapes that are no objects; nothing where the key holds something else, as files of others may."""
    found = extra.get(OTHER)
    return [shape for shape in found if isinstance(shape, dict)] if isinstance(found, list) else []


def divided(
    extra: dict[str, Any], written: Callable[[Mapping[str, Any]], bool]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The shapes in `extra` that are no objects and `written` holds for, taken out; and what of them stays there."""
    others = others_of(extra)
    chosen = [shape for shape in others if written(shape)]
    if not chosen:
        return [], {}
    rest = [shape for shape in others if not written(shape)]
    del extra[OTHER]
    return chosen, {OTHER: rest} if rest else {}


def kept_aside(others: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], dict[str, int]]:
    """Shapes that became no objects, as `extra` and as `left_out` of their record."""
    return ({OTHER: list(others)}, {"shape-lost": len(others)}) if others else ({}, {})


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
    with bad_mask(where):
        return polygons_to_mask(polygons, size)


def union(masks: Iterable[Mask], where: str) -> Mask:
    """The pixels of any of `masks`, all of one size; no more of them are made than can be joined."""
    found: list[Mask] = []
    total = 0
    with bad_mask(where):
        for mask in masks:
            found.append(mask)
            total += len(mask.counts)
            if total > JOINED:
                raise ValueError(f"a group of {len(found)} shapes of {total} bytes of runs; expected at most {JOINED}")
        return mask_union(found)


@contextmanager
def bad_mask(where: str) -> Iterator[None]:
    """A ValueError of the geometry becomes a FormatError at `where`."""
    try:
        yield
    except ValueError as error:
        raise broken("bad-mask", f"{where}: {error}") from error


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


def tight_box(mask: Mask) -> tuple[int, int, int, int]:
    """The box x0 y0 x1 y1 of `mask` in whole pixels; that of the first pixel when the mask is empty."""
    x0, y0, x1, y1 = (int(v) for v in mask.box)
    return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else (0, 0, 1, 1)


@contextmanager
def writing(record: ImageRecord, format: str) -> Iterator[None]:
    """A ValueError of a mask that the format would write in too many runs becomes a UsageError that names the image."""
    try:
        yield
    except ValueError as error:
        raise UsageError(f"{record.path}: {error}; {format} would not hold it, choose another format") from error


def number_in(value: Any, where: str, what: str) -> float:
    """A finite number, or text of one; FormatError otherwise."""
    try:
        number = float("" if isinstance(value, bool) else value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if not isfinite(number) or abs(number) >= 1e15:
        raise FormatError(f"{where}: {what} is {shown(value)}, wanted a finite number")
    return number


def ordered_box(x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
    """A box from two opposite corners in any order, as people drag them."""
    return (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
