"""Run lengths, boxes, areas and stability of masks at the image's own size, straight from low-res logits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from . import rle
from .bilinear import Frame
from .edge_crossings import EdgeCrossings, edge_crossings
from .rle import RleMask


def masks_from_logits(
    logits: np.ndarray, frame: Frame, *, threshold: float, stability_offset: float | None = None
) -> Iterator[RleMask]:
    """One mask for each of (N, h, w) float32 `logits`, cut at `threshold`, in order.

    `frame` is where the image lies in the square that the logits are of. With `stability_offset` each mask has its
    stability score: the IoU of the masks at `threshold + stability_offset` and `threshold - stability_offset`.
    """
    thresholds = [threshold]
    if stability_offset is not None:
        thresholds += [threshold + stability_offset, threshold - stability_offset]
    pixels = frame.size[0] * frame.size[1]
    for found, *others in edge_crossings(logits, frame, thresholds):
        # The stricter mask lies inside the looser, so their IoU is the ratio of their areas.
        stability = _areas(others[0]) / np.maximum(_areas(others[1]), 1) if others else None
        keys = found.changes.mask * (pixels + 1) + found.changes.position
        keys.sort()
        keys = rle.without_pairs(keys)
        first = np.arange(found.count + 1) * (pixels + 1)
        marks = np.searchsorted(keys, first)
        for i in range(found.count):
            changes = keys[marks[i] : marks[i + 1]] - first[i]
            starts, ends = changes[0::2], changes[1::2]
            yield RleMask(
                size=frame.size,
                runs=rle.from_changes(changes, pixels),
                area=int(ends.sum() - starts.sum()),
                box=rle.box_of_spans(starts, ends, frame.size),
                stability_score=None if stability is None else float(stability[i]),
            )


def _areas(found: EdgeCrossings) -> np.ndarray:
    """(count,) float64: pixels inside each mask."""
    mask, position, sign = found.changes
    return -np.bincount(mask, weights=sign * position.astype(np.float64), minlength=found.count)
