"""COCO run-length encoding, read and checked without decoding pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from . import rle

if TYPE_CHECKING:
    from ..types import Mask, Size

PIXELS_MAX = 2**31 - 1  # pycocotools counts pixels in 32 bits
SIDE_MAX = 2**20  # pixels of a side: a run through many columns is worked on column by column
_FEW = 500  # runs that pycocotools packs faster than numpy, whose calls have a price each
SAMPLES = 2**20  # pixels of a box that are looked at for its innermost point


def mask_runs(mask: Mask) -> np.ndarray:
    """The run lengths of `mask` as int64, column by column, background first.

    Raises ValueError when the counts are not COCO's text, or do not cover the mask's size exactly. Nothing is
    allocated beyond a few numbers a run, whatever size the header claims.
    """
    letters = np.frombuffer(mask.counts, dtype=np.uint8) - np.uint8(48)
    if len(letters) == 0 or letters.max() > 63:
        raise ValueError("RLE counts are not COCO's compressed text")
    last = np.flatnonzero((letters & 32) == 0)  # a number ends at the byte without the continuation bit
    if len(last) == 0 or last[-1] != len(letters) - 1:
        raise ValueError("RLE counts end in the middle of a number")
    check_count(len(last))
    data = letters.astype(np.int64)
    first = np.concatenate(([0], last[:-1] + 1))
    lengths = last - first + 1
    if lengths.max() > 7:
        raise ValueError("RLE counts hold a number of more than 32 bits")
    place = np.arange(len(data)) - np.repeat(first, lengths)
    runs = np.add.reduceat((data & 31) << (5 * place), first)
    runs -= np.where(data[last] & 16, np.int64(1) << (5 * lengths), 0)
    # From the fourth number on, each is a difference to the one two before it.
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    _check_runs(runs, mask.size)
    return runs


def mask_from_counts(counts: str | bytes, size: Size) -> Mask:
    """The mask of COCO compressed RLE counts, checked to cover `size` exactly; ValueError when they do not."""
    from ..types import Mask

    check_size(size)
    try:
        data = counts.encode("ascii") if isinstance(counts, str) else bytes(counts)
    except UnicodeEncodeError:
        raise ValueError("RLE counts are not COCO's compressed text") from None
    mask = Mask((int(size[0]), int(size[1])), data)
    runs = mask_runs(mask)
    return mask if (runs[1:] > 0).all() else _encode(runs, mask.size)


def mask_from_uncompressed(counts: Sequence[int], size: Size) -> Mask:
    """The mask of COCO uncompressed RLE: run lengths column by column, background first; ValueError when wrong."""
    check_size(size)
    check_count(len(counts))
    try:
        runs = np.asarray(counts)
    except ValueError:
        runs = np.zeros(0, dtype=object)
    if runs.ndim == 1 and runs.dtype.kind == "f" and (np.abs(runs) < 2**53).all() and (runs == np.floor(runs)).all():
        runs = runs.astype(np.int64)  # whole numbers that a tool wrote with a point
    if runs.ndim != 1 or runs.dtype.kind not in "iu":
        raise ValueError("RLE counts are not a list of whole numbers")
    _check_runs(runs.astype(np.int64), size)
    return _encode(runs.astype(np.int64), (int(size[0]), int(size[1])))


def _encode(runs: np.ndarray, size: Size) -> Mask:
    """The mask of checked runs in the one canonical form: no run of 0 pixels but the first.

    pycocotools takes such runs up as they come, and then its merge and IoU go wrong on them.
    """
    return mask_from_changes(np.cumsum(runs), size)


def mask_from_changes(changes: np.ndarray, size: Size) -> Mask:
    """The mask that begins and ends at these sorted positions x * height + y; two at one place cancel out."""
    from pycocotools import mask as coco

    from ..types import GIANT, Mask

    size = (int(size[0]), int(size[1]))
    runs = rle.runs_of(changes, size[0] * size[1])
    check_count(len(runs))
    if len(runs) < _FEW and size[0] * size[1] < GIANT:
        return Mask(size, coco.frPyObjects({"size": list(size), "counts": runs.tolist()}, *size)["counts"])
    return Mask(size, rle.pack(runs))


def check_count(runs: int) -> None:
    """ValueError for more runs than any command may take."""
    if runs > rle.RUNS_MAX:
        raise ValueError(f"RLE counts of {runs} runs; expected at most {rle.RUNS_MAX}")


def check_size(size: Size) -> None:
    height, width = size
    if height <= 0 or width <= 0:
        raise ValueError(f"size {list(size)} is not [height, width], both above 0")
    if height * width > PIXELS_MAX:
        raise ValueError(f"size {list(size)} has more than {PIXELS_MAX} pixels")
    if max(height, width) > SIDE_MAX:
        raise ValueError(f"size {list(size)} has a side of more than {SIDE_MAX} pixels")


def _check_runs(runs: np.ndarray, size: Size) -> None:
    pixels = size[0] * size[1]
    if len(runs) and runs.min() < 0:
        raise ValueError("RLE counts hold a negative run")
    if (len(runs) and runs.max() > pixels) or int(runs.sum()) != pixels:
        total = sum(runs.tolist())  # whole numbers of Python, since the sum may not fit 64 bits
        raise ValueError(f"RLE counts cover {total} pixels; size {list(size)} has {pixels}")


def mask_rows(mask: Mask, box: tuple[int, int, int, int] | None = None) -> np.ndarray:
    """Run lengths row by row, background first, of `mask` or of a box x0 y0 x1 y1 of it; ValueError where too many."""
    runs, (height, width) = mask_runs(mask), mask.size
    if box is None:
        return rle.transposed(runs, (height, width))
    x0, y0, x1, y1 = box
    return rle.transposed(rle.cut(runs, height, box), (y1 - y0, x1 - x0))


def mask_from_rows(runs: np.ndarray, size: Size, *, corner: tuple[int, int] = (0, 0), whole: Size) -> Mask:
    """The mask in an image of size `whole` of run lengths that go row by row through a part of it.

    The part is of `size` (height, width), its first pixel is `corner` (x, y). ValueError where the runs do not cover it
    exactly, where it leaves the image, or where more runs than RUNS_MAX come of it.
    """
    height, width = size
    check_size(whole)
    check_count(len(runs))
    _check_runs(runs, size)
    return paste(rle.transposed(runs, (width, height)), size, corner, whole)


def paste(runs: np.ndarray, size: Size, corner: tuple[int, int], whole: Size) -> Mask:
    """The mask in an image of size `whole` of the runs, column by column, of a part of it; ValueError outside it."""
    (height, width), (x, y) = size, corner
    if x < 0 or y < 0 or x + width > whole[1] or y + height > whole[0]:
        raise ValueError(f"a mask of {width}x{height} at {x}, {y} leaves the {whole[1]}x{whole[0]} image")
    return _encode(rle.placed(runs, (height, width), corner, whole), whole)


def mask_blocks(mask: Mask) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Left, top, right and bottom (exclusive) of rectangles that cover `mask`, three a run at most, left to right."""
    return rle.blocks(mask_runs(mask), mask.size[0])


def cropped(mask: Mask, box: tuple[int, int, int, int]) -> Mask:
    """The mask of a box x0 y0 x1 y1 inside the image of `mask`, as of an image of its own."""
    x0, y0, x1, y1 = box
    return _encode(rle.cut(mask_runs(mask), mask.size[0], box), (y1 - y0, x1 - x0))


def mask_window(mask: Mask, box: tuple[int, int, int, int]) -> np.ndarray:
    """The pixels (h, w), boolean, of a box x0 y0 x1 y1 inside the image of `mask`; memory is that of the box."""
    return rle.window(mask_runs(mask), mask.size[0], box)


def mask_box(mask: Mask) -> tuple[float, float, float, float]:
    """The tight half-open box x0 y0 x1 y1, worked out from the runs; zeros when the mask is empty."""
    return rle.box_of(mask_runs(mask), mask.size[0])


def mask_union(masks: Sequence[Mask]) -> Mask:
    """The pixels of any of `masks`, all of one size; ValueError where they have too many runs together."""
    size = masks[0].size
    if len(masks) == 1:
        return masks[0]
    return _encode(rle.union([mask_runs(mask) for mask in masks], size[0] * size[1]), size)


def mask_iou(one: Mask, other: Mask) -> float:
    """Intersection over union of two masks of one size, from their runs; 0 for two empty masks."""
    runs = mask_runs(one), mask_runs(other)
    both = rle.intersection(*runs)
    either = int(runs[0][1::2].sum() + runs[1][1::2].sum()) - both
    return both / either if either else 0.0


def innermost_point(mask: Mask) -> tuple[float, float]:
    """The center (x, y) of the pixel inside `mask` that is farthest, in city blocks, from every pixel outside it.

    The image's border counts as outside; of several the first in reading order. Of a box of more than SAMPLES pixels
    only every second, third, ... row and column is looked at. ValueError for an empty mask.
    """
    if not mask.area:
        raise ValueError("an empty mask has no innermost point")
    x0, y0, x1, y1 = (int(v) for v in mask.box)
    every = 1 + math.isqrt((x1 - x0) * (y1 - y0) // SAMPLES)
    if every > 1:
        return _innermost_of_samples(mask, every)
    y, x = _deepest(rle.window(mask_runs(mask), mask.size[0], (x0, y0, x1, y1)))
    return (x0 + x + 0.5, y0 + y + 0.5)


def _innermost_of_samples(mask: Mask, every: int) -> tuple[float, float]:
    height = mask.size[0]
    runs = mask_runs(mask)
    x0, y0, x1, y1 = (int(v) for v in mask.box)
    starts, ends = rle.spans(runs)
    longest = int(np.argmax(ends - starts))
    x, y = divmod(int(starts[longest] + ends[longest] - 1) // 2, height)  # its middle is inside, and among the samples
    columns, rows = (
        np.arange(x - (x - x0) // every * every, x1, every),
        np.arange(y - (y - y0) // every * every, y1, every),
    )
    places = columns[:, None] * height + rows
    inside = (np.searchsorted(np.cumsum(runs), places, side="right") % 2 == 1).T
    row, column = _deepest(inside)
    return (float(columns[column]) + 0.5, float(rows[row]) + 0.5)


def _deepest(pixels: np.ndarray) -> tuple[int, int]:
    """Row and column of the pixel farthest from all that are False, those around `pixels` included."""
    inside = np.pad(pixels, 1)
    distance = np.where(inside, np.int32(sum(inside.shape)), np.int32(0))  # farther than any is
    for axis in (0, 1):
        steps = np.expand_dims(np.arange(inside.shape[axis], dtype=np.int32), 1 - axis)
        for flip in (slice(None), slice(None, None, -1)):
            view = np.swapaxes(np.swapaxes(distance, 0, axis)[flip], 0, axis)
            view[...] = np.minimum.accumulate(view - steps, axis=axis) + steps
    y, x = np.unravel_index(int(np.argmax(distance)), distance.shape)
    return int(y) - 1, int(x) - 1
