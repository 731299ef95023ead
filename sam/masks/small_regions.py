"""Remove small holes and islands from low-res logits: the noise of a small model."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def remove_small_regions(logits: Tensor, min_fraction: float, *, threshold: float = 0.0) -> Tensor:
    """`logits` (..., h, w), mirrored at `threshold` where a region of the mask is less than
    `min_fraction` of its area.

    Regions are islands (8-connected) and holes that do not reach the border (4-connected); holes are filled first.
    The largest island always stays.
    """
    inside = (logits > threshold).flatten(0, -3).cpu().numpy()
    turned = _small(~inside, inside.sum((1, 2)) * min_fraction, islands=False)
    inside ^= turned
    turned ^= _small(inside, inside.sum((1, 2)) * min_fraction, islands=True)
    if not turned.any():
        return logits
    where = torch.from_numpy(turned).view(logits.shape).to(logits.device)
    return torch.where(where, 2 * threshold - logits, logits)


def _small(maps: np.ndarray, least: np.ndarray, *, islands: bool) -> np.ndarray:
    """Islands or holes of fewer than `least` (M,) cells in boolean `maps` (M, h, w) that are True in them."""
    count, height, width = maps.shape
    padded = np.zeros((count, height + 1, width + 2), np.int8)  # so that no run goes on in the next row or map
    padded[:, :height, :width] = maps
    stride, flat = width + 2, padded.reshape(-1)
    edges = np.flatnonzero(np.diff(flat, prepend=np.int8(0)))
    starts, ends = edges[0::2], edges[1::2]
    if not len(starts):
        return np.zeros_like(maps)
    region = _joined(starts, ends, stride, reach=int(islands))
    owner = starts // (stride * (height + 1))
    area = np.bincount(region, weights=ends - starts)[region]
    small = area < least[owner]
    if islands:
        largest = np.zeros(count)
        np.maximum.at(largest, owner, area)
        small &= area < largest[owner]
    else:
        row = starts // stride % (height + 1)
        at_border = (row == 0) | (row == height - 1) | (starts % stride == 0) | (ends % stride == width)
        small &= np.bincount(region, weights=at_border)[region] == 0
    marks = np.zeros(len(flat), np.int8)
    marks[starts[small]], marks[ends[small]] = 1, -1
    return np.cumsum(marks, dtype=np.int8).reshape(padded.shape)[:, :height, :width].astype(bool)


def _joined(starts: np.ndarray, ends: np.ndarray, stride: int, *, reach: int) -> np.ndarray:
    """The number of the first run of each run's region; runs touch those of the next row, at most `reach` aside."""
    first = np.searchsorted(ends, starts + stride - reach, side="right")
    touching = np.maximum(np.searchsorted(starts, ends + stride + reach, side="left") - first, 0)
    upper = np.repeat(np.arange(len(starts)), touching)
    lower = np.arange(len(upper)) + np.repeat(first - np.cumsum(touching) + touching, touching)
    region = np.arange(len(starts))
    while True:
        least = np.minimum(region[upper], region[lower])
        before = region.copy()
        np.minimum.at(region, before[upper], least)
        np.minimum.at(region, before[lower], least)
        while (region[region] != region).any():
            region = region[region]
        if np.array_equal(region, before):
            return region
