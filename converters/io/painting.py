"""Masks painted over each other into one picture of numbers, a few rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from samlabel.geometry import mask_blocks
from samlabel.types import Mask, Size

from .png import STRIP, Rows, Writer

Painted = tuple[tuple[int, Mask], ...]  # numbers and their masks, from the back to the front
Line = NDArray[Any]
Rectangle = tuple[int, int, int, int, int]  # left, top, right, bottom, number


@dataclass(frozen=True)
class Painting:
    """A picture of masks, each with its number."""

    masks: Painted
    size: Size

    def strips(self, dtype: Any) -> Iterator[Rows]:
        """The picture, a few rows (h, W) at a time."""
        for rows, rectangles in self.rectangles():
            yield _canvas((rows, self.size[1]), rectangles, dtype)

    def rectangles(self) -> Iterator[tuple[int, list[Rectangle]]]:
        """Strip by strip its rows and what is painted there: neighboring columns of one stretch are a rectangle."""
        height, width = self.size
        rows = max(1, min(height, STRIP // width))
        every = _rectangles(self.masks)
        for low in range(0, height, rows):
            high = min(low + rows, height)
            left, top, right, bottom, number = every[:, (every[1] < high) & (every[3] > low)]
            top, bottom = np.maximum(top, low) - low, np.minimum(bottom, high) - low
            yield high - low, list(zip(*_joined(left, top, right, bottom, number).tolist(), strict=True))

    def visible(self) -> dict[int, int]:
        """How many pixels of each number are seen."""
        return _visible(self.masks, self.size)


def painted(masks: Sequence[tuple[int, Mask]], size: Size) -> Painting:
    """Smaller masks over larger ones."""
    return Painting(tuple(sorted(masks, key=lambda item: -item[1].area)), (int(size[0]), int(size[1])))


def save(
    picture: Painting, out: IO[bytes], *, bits: int, palette: bytes = b"", table: NDArray[np.uint8] | None = None
) -> None:
    """Write a picture as PNG, each number replaced by its entry in `table` where there is one."""
    writer = Writer(out, picture.size, bits=bits, palette=palette)
    for strip in picture.strips(np.uint16 if bits == 16 else np.uint8):
        writer.rows(strip if table is None else table[strip])
    writer.close()


@lru_cache(maxsize=2)  # a record's losses, its measure and its pictures ask for the same
def _visible(masks: Painted, size: Size) -> dict[int, int]:
    most = max((number for number, _ in masks), default=0)
    counts = np.zeros(most + 1, dtype=np.int64)
    for rows, rectangles in Painting(masks, size).rectangles():
        if rectangles and rectangles[-1][:4] == (0, 0, size[1], rows):  # painted last, over all of the strip
            counts[rectangles[-1][4]] += rows * size[1]
        elif rectangles:
            canvas = _canvas((rows, size[1]), rectangles, np.uint16 if most > 255 else np.uint8)
            counts += np.bincount(canvas.ravel(), minlength=most + 1)
    return {number: int(counts[number]) for number, _ in masks}


def _canvas(size: Size, rectangles: Sequence[Rectangle], dtype: Any) -> Rows:
    canvas = np.zeros(size, dtype=dtype)
    for left, top, right, bottom, number in rectangles:
        canvas[top:bottom, left:right] = number
    return canvas


def _rectangles(masks: Painted) -> NDArray[np.int32]:
    """Left, top, right, bottom and number of all that is painted, in that order; of equal masks only the front one."""
    front = {mask.counts: number for number, mask in masks}
    found = [np.zeros((5, 0), dtype=np.int32)]
    for number, mask in masks:
        if front[mask.counts] == number:
            left, top, right, bottom = mask_blocks(mask)
            found.append(_joined(left, top, right, bottom, np.full(len(left), number)).astype(np.int32))
    return np.concatenate(found, axis=1)


def _joined(left: Line, top: Line, right: Line, bottom: Line, number: Line) -> Line:
    """Rectangles (5, N) of those that follow one another side by side with one top, bottom and number."""
    alike = left[1:] == right[:-1]
    for side in (top, bottom, number):
        alike &= side[1:] == side[:-1]
    begins = np.flatnonzero(np.append(True, ~alike))[: len(left)]
    ends = np.append(begins[1:], len(left))[: len(begins)] - 1
    return np.stack((left[begins], top[begins], right[ends], bottom[begins], number[begins]))
