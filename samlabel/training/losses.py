"""What the nano models are trained to do well.

Masks: focal and dice loss, the best of three masks for an ambiguous prompt, and a regression of
each mask's IoU (Segment Anything, appendix A). Boxes: task-aligned assignment
(https://arxiv.org/abs/2108.07755), quality focal loss and generalised IoU.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_iou, generalized_box_iou_loss


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


def within(boxes: Tensor, points: Tensor) -> Tensor:
    """(M, N): which of the (N, 2) points lie in each of the (M, 4) boxes."""
    return torch.cat([points[None] - boxes[:, None, :2], boxes[:, None, 2:] - points[None]], -1).amin(-1) > 0


@torch.no_grad()
def assign(
    logits: Tensor, boxes: Tensor, centres: Tensor, truth: Tensor, classes: Tensor, *, most: int = 10
) -> tuple[Tensor, Tensor]:
    """For each cell the index of its object or -1, and the quality (IoU scaled) it should announce.

    `logits` (N, C), `boxes` (N, 4), `centres` (N, 2); `truth` (M, 4), `classes` (M,).
    """
    count = len(truth)
    owner = torch.full((len(boxes),), -1, dtype=torch.long, device=boxes.device)
    quality = boxes.new_zeros(len(boxes))
    if not count:
        return owner, quality
    inside = within(truth, centres)
    # A thin or tiny object may hold no cell's centre: it takes the cell nearest to its middle.
    lost = ~inside.any(1)
    if lost.any():
        middle = (truth[lost, :2] + truth[lost, 2:]) / 2
        nearest = torch.cdist(middle, centres).argmin(1)
        inside[lost.nonzero()[:, 0], nearest] = True
    overlap = box_iou(truth, boxes)  # (M, N)
    score = logits.sigmoid()[:, classes].T  # (M, N)
    metric = (score.clamp(min=1e-4) ** 0.5 * overlap.clamp(min=1e-4) ** 4) * inside
    top = metric.topk(min(most, len(boxes)), dim=1)
    chosen = torch.zeros_like(metric).scatter_(1, top.indices, 1.0).bool() & inside
    held = torch.where(chosen, overlap + 1e-6, overlap.new_zeros(()))
    best, who = held.max(0)
    taken = best > 0
    owner[taken] = who[taken]
    cells = taken.nonzero()[:, 0]
    mine = metric[owner[cells], cells]
    peak = metric.new_zeros(count).scatter_reduce_(0, owner[cells], mine, "amax").clamp(min=1e-9)
    reach = overlap.new_zeros(count).scatter_reduce_(0, owner[cells], overlap[owner[cells], cells], "amax")
    quality[cells] = mine / peak[owner[cells]] * reach[owner[cells]]
    return owner, quality


def box_losses(
    logits: Tensor, boxes: Tensor, centres: Tensor, truths: list[Tensor], classes: list[Tensor], known: Tensor
) -> Tensor:
    """The mean over images of quality focal loss of the classes plus 2 times generalised IoU loss.

    Each image weighs the same however many objects it shows: a wall of windows must not drown the one
    person of another photo. `known` (B, C): the classes whose absence an image vouches for. Elsewhere,
    and in boxes of a class below 0, an unassigned cell says nothing about a class.
    """
    total = logits.new_zeros(())
    for b, (all_boxes, all_kinds) in enumerate(zip(truths, classes, strict=True)):
        truth, kind = all_boxes[all_kinds >= 0], all_kinds[all_kinds >= 0]
        owner, quality = assign(logits[b], boxes[b], centres, truth, kind)
        mine = owner >= 0
        target = torch.zeros_like(logits[b])
        target[mine, kind[owner[mine]]] = quality[mine]
        heard = known[b].expand_as(target).clone()
        heard[within(all_boxes[all_kinds < 0], centres).any(0)] = False
        heard[mine] = True
        p = logits[b].sigmoid()
        cross = F.binary_cross_entropy_with_logits(logits[b], target, reduction="none")
        loss = (cross * (target - p).abs() ** 1.5 * heard).sum()
        if mine.any():
            fit = generalized_box_iou_loss(boxes[b][mine], truth[owner[mine]], reduction="none")
            loss = loss + 2 * (fit * quality[mine].clamp(min=0.05)).sum()
        total = total + loss / quality.sum().clamp(min=1.0)
    return total / len(truths)
