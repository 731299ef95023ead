"""What decides whether a generated mask is kept: its stability, its box, and where that box lies."""

from __future__ import annotations

import torch
from torch import Tensor

from .crops import CropBox

EDGE_TOLERANCE = 20.0  # pixels between a box and the edge of its crop that still count as touching


def stability_score(logits: Tensor, threshold: float, offset: float) -> Tensor:
    """(...) IoU of each of (..., H, W) masks cut at `threshold + offset` and at `threshold - offset`.

    A mask that is empty at both has score 0.
    """
    inner = (logits > threshold + offset).flatten(-2).sum(-1)
    outer = (logits > threshold - offset).flatten(-2).sum(-1)
    return inner / outer.clamp(min=1)


def inclusive_boxes(masks: Tensor) -> Tensor:
    """(M, 4) int64: first column, first row, last column, last row of (M, H, W) masks; zeros when empty.

    This is the box that Segment Anything compares and suppresses by; it is one pixel narrower and
    lower than the half-open box of the same mask.
    """
    count, height, width = masks.shape
    if count == 0:
        return torch.zeros(0, 4, dtype=torch.int64, device=masks.device)
    rows, columns = masks.any(2).byte(), masks.any(1).byte()
    x0, y0 = columns.argmax(1), rows.argmax(1)
    x1, y1 = width - 1 - columns.flip(1).argmax(1), height - 1 - rows.flip(1).argmax(1)
    return torch.stack([x0, y0, x1, y1], dim=1) * rows.any(1, keepdim=True)


def near_crop_edge(boxes: Tensor, crop_box: CropBox, size: tuple[int, int]) -> Tensor:
    """(M,) bool: boxes, in pixels of the crop, that touch an edge of the crop that is not the image's.

    What such a box holds is probably cut off; another crop shows it whole.
    """
    x0, y0, _, _ = crop_box
    placed = boxes.float() + boxes.new_tensor([x0, y0, x0, y0]).float()
    crop = placed.new_tensor(crop_box)
    image = placed.new_tensor([0, 0, size[1], size[0]])
    touches_crop = (placed - crop).abs() <= EDGE_TOLERANCE
    touches_image = (placed - image).abs() <= EDGE_TOLERANCE
    return (touches_crop & ~touches_image).any(1)
