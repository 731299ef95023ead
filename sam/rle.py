"""Masks as run lengths: column by column, background first, as COCO counts them.

https://github.com/cocodataset/cocoapi/blob/master/common/maskApi.h
"""

from __future__ import annotations

from typing import Any

import numpy as np


def to_runs(mask: np.ndarray) -> np.ndarray:
    """Run lengths, int64, of an (H, W) boolean mask; the first run is background and may be 0."""
    flat = mask.T.reshape(-1)
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(np.concatenate([[0], changes, [flat.size]]))
    return np.concatenate([[0], runs]) if flat[0] else runs


def to_pixels(runs: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The (H, W) boolean mask of `runs`."""
    inside = np.arange(len(runs)) % 2 == 1
    return np.repeat(inside, runs).reshape(size[1], size[0]).T


def area(runs: np.ndarray) -> int:
    """Number of pixels inside."""
    return int(runs[1::2].sum())


def uncompressed(runs: np.ndarray, size: tuple[int, int]) -> dict[str, Any]:
    """`{"size": [h, w], "counts": [...]}`, numbers as a list."""
    return {"size": list(size), "counts": runs.tolist()}


def compressed(runs: np.ndarray, size: tuple[int, int]) -> dict[str, Any]:
    """`{"size": [h, w], "counts": "..."}`, numbers packed into text, ready for JSON."""
    from pycocotools import mask as coco

    rle = coco.frPyObjects(uncompressed(runs, size), *size)
    return {"size": list(size), "counts": rle["counts"].decode("ascii")}
