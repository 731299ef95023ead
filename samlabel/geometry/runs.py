"""COCO run-length encoding, read and checked without decoding pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ..types import Mask, Size

PIXELS_MAX = 2**31 - 1  # pycocotools counts pixels in 32 bits


def mask_runs(mask: Mask) -> np.ndarray:
    """The run lengths of `mask` as int64, column by column, background first.

    Raises ValueError when the counts are not COCO's text, or do not cover the mask's size exactly. Nothing is
    allocated beyond a few numbers a run, whatever size the header claims.
    """
    data = np.frombuffer(mask.counts, dtype=np.uint8).astype(np.int64) - 48
    if len(data) == 0 or data.min() < 0 or data.max() > 63:
        raise ValueError("RLE counts are not COCO's compressed text")
    last = np.flatnonzero((data & 32) == 0)  # a number ends at the byte without the continuation bit
    if len(last) == 0 or last[-1] != len(data) - 1:
        raise ValueError("RLE counts end in the middle of a number")
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
    try:
        runs = np.asarray(counts)
    except ValueError:
        runs = np.zeros(0, dtype=object)
    if runs.ndim != 1 or runs.dtype.kind not in "iu":
        raise ValueError("RLE counts are not a list of whole numbers")
    _check_runs(runs.astype(np.int64), size)
    return _encode(runs.astype(np.int64), (int(size[0]), int(size[1])))


def _encode(runs: np.ndarray, size: Size) -> Mask:
    """The mask of checked runs in the one canonical form: no run of 0 pixels but the first.

    pycocotools takes such runs up as they come, and then its merge and IoU go wrong on them.
    """
    from pycocotools import mask as coco

    from ..types import Mask

    changes, times = np.unique(np.cumsum(runs), return_counts=True)
    pixels = size[0] * size[1]
    changes = changes[(times % 2 == 1) & (changes < pixels)]
    counts = np.diff(np.concatenate(([0], changes, [pixels]))).tolist()
    return Mask(size, coco.frPyObjects({"size": list(size), "counts": counts}, *size)["counts"])


def check_size(size: Size) -> None:
    height, width = size
    if height <= 0 or width <= 0:
        raise ValueError(f"size {list(size)} is not [height, width], both above 0")
    if height * width > PIXELS_MAX:
        raise ValueError(f"size {list(size)} has more than {PIXELS_MAX} pixels")


def _check_runs(runs: np.ndarray, size: Size) -> None:
    pixels = size[0] * size[1]
    if len(runs) and runs.min() < 0:
        raise ValueError("RLE counts hold a negative run")
    if (len(runs) and runs.max() > pixels) or int(runs.sum()) != pixels:
        total = sum(int(run) for run in runs)  # whole numbers of Python, since the sum may not fit 64 bits
        raise ValueError(f"RLE counts cover {total} pixels; size {list(size)} has {pixels}")


def innermost_point(mask: Mask) -> tuple[float, float]:
    """The centre (x, y) of the pixel inside `mask` that is farthest, in city blocks, from every pixel outside it.

    The image's border counts as outside; of several the first in reading order. ValueError for an empty mask.
    """
    if not mask.area:
        raise ValueError("an empty mask has no innermost point")
    x0, y0, x1, y1 = (int(v) for v in mask.box)
    inside = np.pad(mask.to_pixels()[y0:y1, x0:x1], 1)
    distance = np.where(inside, np.int32(sum(inside.shape)), np.int32(0))  # farther than any is
    for axis in (0, 1):
        steps = np.expand_dims(np.arange(inside.shape[axis], dtype=np.int32), 1 - axis)
        for flip in (slice(None), slice(None, None, -1)):
            view = np.swapaxes(np.swapaxes(distance, 0, axis)[flip], 0, axis)
            view[...] = np.minimum.accumulate(view - steps, axis=axis) + steps
    y, x = np.unravel_index(int(np.argmax(distance)), distance.shape)
    return (x0 + int(x) - 0.5, y0 + int(y) - 0.5)
