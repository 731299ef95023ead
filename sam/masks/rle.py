"""Masks as run lengths: column by column, background first, as COCO counts them.

https://github.com/cocodataset/cocoapi/blob/master/common/maskApi.h
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

_BITS = np.arange(0, 65, 5)  # before each letter of a packed number


@dataclass(frozen=True, eq=False)
class RleMask:
    """A mask of an image of `size` (height, width), measured while its runs were made."""

    size: tuple[int, int]
    runs: np.ndarray  # int64 run lengths, background first
    area: int  # pixels inside
    box: tuple[int, int, int, int]  # tight and half-open, x0 y0 x1 y1; zeros when the mask is empty
    stability_score: float | None = None  # IoU of the masks at a higher and at a lower threshold, when asked for

    @property
    def counts(self) -> bytes:
        """The runs in COCO's compressed form, the very bytes of pycocotools."""
        return pack(self.runs)


def to_runs(mask: np.ndarray) -> np.ndarray:
    """Run lengths, int64, of an (H, W) boolean mask; the first run is background and may be 0."""
    flat = mask.T.reshape(-1)
    return from_changes(np.flatnonzero(np.diff(flat, prepend=False)), flat.size)


def from_changes(changes: np.ndarray, pixels: int) -> np.ndarray:
    """Run lengths from the sorted positions where a mask of so many `pixels` begins and ends."""
    edges = np.empty(len(changes) + 2, dtype=np.int64)
    edges[0], edges[1:-1], edges[-1] = 0, changes, pixels
    runs: np.ndarray = edges[1:] - edges[:-1]
    return runs[:-1] if len(changes) and changes[-1] == pixels else runs


def without_pairs(changes: np.ndarray) -> np.ndarray:
    """Sorted `changes` without those that cancel out: what stands in it an even number of times goes."""
    differ = changes[1:] != changes[:-1]
    if differ.all():
        return changes
    first = np.flatnonzero(np.concatenate([[True], differ]))
    times = np.diff(first, append=len(changes))
    left: np.ndarray = changes[first[times % 2 == 1]]
    return left


def to_pixels(runs: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The (H, W) boolean mask of `runs`."""
    inside = np.arange(len(runs)) % 2 == 1
    return np.repeat(inside, runs).reshape(size[1], size[0]).T


def spans(runs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First pixels of the runs inside, and the pixels after their last."""
    ends = np.cumsum(runs)
    return ends[: len(runs) // 2 * 2 : 2], ends[1::2]


def area(runs: np.ndarray) -> int:
    """Number of pixels inside."""
    return int(runs[1::2].sum())


def box(runs: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The tight half-open box x0 y0 x1 y1; zeros when the mask is empty."""
    starts, ends = spans(runs)
    return box_of_spans(starts, ends, size)


def box_of_spans(starts: np.ndarray, ends: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """`box` from the first pixels of the runs inside and the pixels after their last."""
    if not len(starts):
        return 0, 0, 0, 0
    height = size[0]
    first, last = starts // height, (ends - 1) // height
    if (first != last).any():  # a run from the foot of one column into the next
        return int(first[0]), 0, int(last[-1]) + 1, height
    column = first * height
    return int(first[0]), int((starts - column).min()), int(last[-1]) + 1, int((ends - column).max())


def on_border(runs: np.ndarray, size: tuple[int, int]) -> int:
    """Number of pixels inside that lie along the image's edge."""
    height, width = size
    if min(size) <= 2:
        return area(runs)
    starts, ends = spans(runs)
    top = -(-ends // height) + -starts // height
    bottom = ends // height - starts // height
    total = int(top.sum() + bottom.sum())
    for column in (0, width - 1):  # their corners are counted
        first, last = column * height + 1, column * height + height - 1
        total += int(np.maximum(np.minimum(ends, last) - np.maximum(starts, first), 0).sum())
    return total


def placed(runs: np.ndarray, size: tuple[int, int], corner: tuple[int, int], whole: tuple[int, int]) -> np.ndarray:
    """Runs in an image of size `whole` of a mask of a part of it, of `size`, whose first pixel is `corner` (x, y)."""
    if size == whole:
        return runs
    starts, ends = spans(runs)
    first, last = starts // size[0], (ends - 1) // size[0]
    pieces = last - first + 1  # one a column
    column = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces - first, pieces)
    top = np.maximum(np.repeat(starts, pieces) - column * size[0], 0)
    bottom = np.minimum(np.repeat(ends, pieces) - column * size[0], size[0])
    changes = np.stack([top, bottom], axis=1) + ((column + corner[0]) * whole[0] + corner[1])[:, None]
    return from_changes(without_pairs(changes.reshape(-1)), whole[0] * whole[1])


def uncompressed(runs: np.ndarray, size: tuple[int, int]) -> dict[str, Any]:
    """`{"size": [h, w], "counts": [...]}`, numbers as a list."""
    return {"size": list(size), "counts": runs.tolist()}


def compressed(runs: np.ndarray, size: tuple[int, int]) -> dict[str, Any]:
    """`{"size": [h, w], "counts": "..."}`, numbers packed into text, ready for JSON."""
    return {"size": list(size), "counts": pack(runs).decode("ascii")}


def pack(runs: np.ndarray) -> bytes:
    """Run lengths as text: from the fourth on less the one before the last, five bits a letter, lowest first.

    A letter is 48 + five bits + 32 if more follow; the highest bit of the last one is the sign.
    """
    values = runs.astype(np.int64)
    values[3:] -= runs[1:-2]
    magnitude = np.where(values < 0, ~values, values)
    more = magnitude[:, None] >= 1 << _BITS[1:] - 1  # a number of b bits and its sign take b // 5 + 1 letters
    more = more[:, : int(more.sum(axis=1).max()) + 1]
    letters = ((values[:, None] >> _BITS[: more.shape[1]]) & 31) + 48 + 32 * more
    used = np.ones(letters.shape, dtype=bool)
    used[:, 1:] = more[:, :-1]
    return letters[used].astype(np.uint8).tobytes()
