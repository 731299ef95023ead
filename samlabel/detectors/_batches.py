"""Batches whose composition cannot change what is found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..objects import Objects
from ..protocols import Image


def same_size(images: Sequence[Image], *, together: bool) -> Iterator[list[int]]:
    """Indices of `images` in groups of one size; groups of one unless `together`.

    Detectors pad a mixed batch to its largest image, so an image's boxes would depend on its neighbours and a
    resumed run could end differently. A CPU gains nothing from batches, so there each image goes alone.
    """
    groups: dict[tuple[int, int] | int, list[int]] = {}
    for index, image in enumerate(images):
        groups.setdefault(image.size if together else index, []).append(index)
    yield from groups.values()


def inside(boxes: np.ndarray, scores: np.ndarray, ids: np.ndarray, size: tuple[int, int]) -> Objects:
    """Objects with boxes clipped to an image of `size`; those that lie outside it or hold no area are left out."""
    height, width = size
    boxes = np.asarray(boxes, dtype=np.float32).reshape(-1, 4)
    boxes = np.clip(boxes, 0, np.array([width, height, width, height], dtype=np.float32))
    keep = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]) & np.isfinite(boxes).all(axis=1)
    ids, scores = np.asarray(ids).reshape(-1), np.asarray(scores, dtype=np.float32).reshape(-1)
    return Objects(boxes=boxes[keep], category_ids=ids[keep], scores=scores[keep])
