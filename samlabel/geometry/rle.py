"""Work on run lengths alone, in memory that follows the runs and never the pixels that they stand for.

`runs` are int64 run lengths column by column, background first; `changes` are the sorted pixel positions where a mask
begins and ends, as pycocotools counts them: x * height + y.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]

RUNS_MAX = 2**22  # of one mask; tracing an outline takes 220 bytes a run, so that 0.9 GB is the most it takes
_BITS = np.arange(0, 65, 5)  # before each letter of a packed number


def runs_of(changes: IntArray, pixels: int) -> IntArray:
    """Run lengths from sorted changes, of which those at the same place cancel out two by two."""
    changes = without_pairs(changes)
    changes = changes[: np.searchsorted(changes, pixels)]
    runs: IntArray = np.diff(np.concatenate(([0], changes, [pixels])))
    return runs


def without_pairs(values: IntArray) -> IntArray:
    """Sorted `values` without those that stand in it an even number of times."""
    if len(values) < 2:
        return values
    differ = values[1:] != values[:-1]
    if differ.all():
        return values
    first = np.flatnonzero(np.concatenate(([True], differ)))
    times: IntArray = np.diff(first, append=len(values))
    odd: IntArray = values[first[times % 2 == 1]]
    return odd


def spans(runs: IntArray) -> tuple[IntArray, IntArray]:
    """First pixels of the runs inside, and the pixels after their last."""
    ends = np.cumsum(runs)
    return ends[: len(runs) // 2 * 2 : 2], ends[1::2]


def segments(runs: IntArray, height: int) -> tuple[IntArray, IntArray, IntArray]:
    """Column, top and bottom (exclusive) of every vertical stretch inside: runs cut at the borders of columns."""
    starts, ends = spans(runs)
    starts, ends = starts[ends > starts], ends[ends > starts]
    first, last = starts // height, (ends - 1) // height
    pieces = last - first + 1
    column = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces - first, pieces)
    top = np.maximum(np.repeat(starts, pieces) - column * height, 0)
    bottom = np.minimum(np.repeat(ends, pieces) - column * height, height)
    return column, top, bottom


def blocks(runs: IntArray, height: int) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """Left, top, right and bottom (exclusive) of rectangles that cover the mask, three a run at most.

    A run that goes on through several columns is its first column, all that it fills from top to bottom, and its last:
    what comes of it does not grow with the image.
    """
    starts, ends = spans(runs)
    starts, ends = starts[ends > starts], ends[ends > starts]
    first, last = starts // height, (ends - 1) // height
    one = first == last
    none = np.zeros(len(first), dtype=np.int64)
    tops = starts - first * height
    left = np.stack((first, first + 1, last), axis=1)
    right = np.stack((first + 1, last, np.where(one, last, last + 1)), axis=1)
    top = np.stack((tops, none, none), axis=1)
    bottom = np.stack((np.where(one, ends - first * height, height), none + height, ends - last * height), axis=1)
    there = right > left
    return left[there], top[there], right[there], bottom[there]


def transposed(runs: IntArray, size: tuple[int, int]) -> IntArray:
    """Run lengths row by row of a mask of `size` (height, width) whose `runs` go column by column, background first.

    Row by row to column by column, the sides change places: `transposed(rows, (width, height))`. Raises ValueError
    where more than RUNS_MAX runs would come of it.
    """
    height, width = size
    left, top, right, bottom = blocks(runs, height)
    # Rows where one column differs from the one before: the edges of what begins and of what has ended there.
    base = np.stack((left, left, right, right)) * (height + 1)
    both = without_pairs(np.sort((base + np.stack((top, bottom, top, bottom))).ravel()))
    x, y = both // (height + 1), both % (height + 1)
    first, last, x = y[0::2], y[1::2], x[0::2]
    many = last - first
    total = int(many.sum())
    if total > RUNS_MAX:
        raise ValueError(f"a mask of {total + 1} runs when taken row by row; expected at most {RUNS_MAX}")
    rows = np.arange(total) - np.repeat(np.cumsum(many) - many - first, many)
    return runs_of(np.sort(rows * width + np.repeat(x, many)), height * width)


def placed(runs: IntArray, size: tuple[int, int], corner: tuple[int, int], whole: tuple[int, int]) -> IntArray:
    """Runs in an image of size `whole` of a mask of a part of it, of `size`, whose first pixel is `corner` (x, y)."""
    if size == whole:
        return runs
    column, top, bottom = segments(runs, size[0])
    base = (column + corner[0]) * whole[0] + corner[1]
    return runs_of(np.stack((base + top, base + bottom), axis=1).ravel(), whole[0] * whole[1])


def union(masks: Sequence[IntArray], pixels: int) -> IntArray:
    """The runs of the pixels of any of these masks; ValueError where they are more than RUNS_MAX together."""
    total = sum(map(len, masks))
    if total > 2 * RUNS_MAX:
        raise ValueError(f"masks of {total} runs together; at most {2 * RUNS_MAX} are joined")
    pairs = [spans(runs) for runs in masks]
    starts = np.concatenate([first for first, _ in pairs])
    ends = np.concatenate([last for _, last in pairs])
    order = np.argsort(np.concatenate((starts, ends)), kind="stable")  # starts before ends, so that neighbors join
    depth = np.cumsum(np.where(order < len(starts), 1, -1))
    opens = np.flatnonzero((depth == 1) & (order < len(starts)))
    closes = np.flatnonzero(depth == 0)
    places = np.concatenate((starts, ends))[order]
    return runs_of(np.stack((places[opens], places[closes]), axis=1).ravel(), pixels)


def intersection(one: IntArray, other: IntArray) -> int:
    """Number of pixels inside both masks."""
    places = np.union1d(np.cumsum(one), np.cumsum(other))
    lengths = np.diff(places, prepend=0)
    inside = [np.searchsorted(np.cumsum(runs), places - 1, side="right") % 2 == 1 for runs in (one, other)]
    return int(lengths[inside[0] & inside[1]].sum())


def box_of(runs: IntArray, height: int) -> tuple[float, float, float, float]:
    """The tight half-open box x0 y0 x1 y1; zeros when the mask is empty."""
    left, top, right, bottom = blocks(runs, height)
    if not len(left):
        return (0.0, 0.0, 0.0, 0.0)
    return (float(left.min()), float(top.min()), float(right.max()), float(bottom.max()))


def cut(runs: IntArray, height: int, box: tuple[int, int, int, int]) -> IntArray:
    """The runs of a box x0 y0 x1 y1 inside an image of this height, as of an image of its own."""
    x0, y0, x1, y1 = box
    starts, ends = spans(runs)
    tall = y1 - y0
    some = slice(int(np.searchsorted(ends, x0 * height, side="right")), int(np.searchsorted(starts, x1 * height)))
    starts, ends = np.maximum(starts[some], x0 * height), np.minimum(ends[some], x1 * height)
    # The place of a pixel of the image among those of the box, column by column, those above and below cut off.
    low, high = (
        places // height * tall + np.clip(places % height - y0, 0, tall) - x0 * tall for places in (starts, ends)
    )
    return runs_of(np.stack((low, high), axis=1).ravel(), tall * (x1 - x0))


def window(runs: IntArray, height: int, box: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    """The pixels (h, w) of a box x0 y0 x1 y1 inside the image; memory is that of the box."""
    x0, y0, x1, y1 = box
    inside = cut(runs, height, box)
    return np.repeat(np.arange(len(inside)) % 2 == 1, inside).reshape(x1 - x0, y1 - y0).T


def pack(runs: IntArray) -> bytes:
    """COCO's compressed form: from the fourth on less the one before the last, five bits a letter, lowest first.

    A letter is 48 + five bits + 32 if more follow; the highest bit of the last one is the sign.
    """
    values = runs.astype(np.int64)
    values[3:] -= runs[1:-2]
    magnitude = np.where(values < 0, ~values, values)
    most = int(magnitude.max()).bit_length() // 5 + 1
    more = np.stack([magnitude >= 1 << int(bits) - 1 for bits in _BITS[1 : most + 1]], axis=1)
    letters = np.empty(more.shape, dtype=np.uint8)
    for place in range(most):
        letters[:, place] = (values >> _BITS[place]) & 31
        letters[:, place] += 48
    letters += 32 * more.view(np.uint8)
    used = np.ones(letters.shape, dtype=bool)
    used[:, 1:] = more[:, :-1]
    return letters[used].tobytes()
