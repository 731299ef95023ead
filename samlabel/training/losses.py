"""What the segmenter is trained to do well.

Focal and dice loss, the best of three masks for an ambiguous prompt, and a regression of
each mask's IoU (Segment Anything, appendix A).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def mask_losses(logits: Tensor, target: Tensor, near: Tensor) -> tuple[Tensor, Tensor]:
    """Loss (N, C) of each mask and its true IoU (N, C).

    `logits` (N, C, s, s); `target` (N, s, s) in [0, 1]; `near` (N, s, s) is 1 around the object: a
    small object would not be heard in a mean over the whole map.
    """
    wanted = target[:, None].expand_as(logits)
    cross = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    p = logits.sigmoid()
    focal = cross * ((wanted - p).abs() ** 1.0)  # gamma 1: soft targets at the edges are not outliers
    region = near[:, None]
    local = (cross * region).sum((2, 3)) / region.sum((2, 3)).clamp(min=1)
    dice = 1 - (2 * (p * wanted).sum((2, 3)) + 1) / (p.sum((2, 3)) + wanted.sum((2, 3)) + 1)
    with torch.no_grad():
        inside, truth = logits > 0, wanted > 0.5
        iou = (inside & truth).sum((2, 3)) / (inside | truth).sum((2, 3)).clamp(min=1)
    return local + 5 * focal.mean((2, 3)) + dice, iou


def iou_loss(predicted: Tensor, true: Tensor) -> Tensor:
    """How far predicted IoU is from the truth: nearly the absolute error, which is what the model card prints."""
    return F.smooth_l1_loss(predicted, true, beta=0.05)


def around(boxes: Tensor, side: int, *, stride: int, margin: float = 0.15) -> Tensor:
    """(N, side, side) maps that are 1 inside the boxes (input pixels) grown by `margin` of their size."""
    centre = torch.arange(side, device=boxes.device) * stride + stride / 2
    grow = (boxes[:, 2:] - boxes[:, :2]) * margin + 2 * stride
    low, high = boxes[:, :2] - grow, boxes[:, 2:] + grow
    x = (centre >= low[:, :1]) & (centre <= high[:, :1])  # (N, side)
    y = (centre >= low[:, 1:]) & (centre <= high[:, 1:])
    return (y[:, :, None] & x[:, None, :]).float()
