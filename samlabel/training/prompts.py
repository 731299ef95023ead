"""Prompts as a person or a detector would give them, drawn from true masks.

Noisy boxes, random inner points and corrective clicks follow Segment Anything, appendix A.
"""

from __future__ import annotations

import torch
from torch import Tensor


def noisy_boxes(boxes: Tensor, *, generator: torch.Generator) -> Tensor:
    """Boxes (N, 4) whose corners moved: half stay, the others by up to 5 % of the side (one sigma)."""
    side = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    noise = torch.randn(boxes.shape, generator=generator).clamp(-2, 2) * (0.05 * side).clamp(max=12)
    moved = torch.rand(len(boxes), 1, generator=generator) > 0.5
    return torch.where(moved, boxes + noise, boxes)


def random_points(region: Tensor, *, generator: torch.Generator) -> Tensor:
    """(N, 2) x, y of one random cell of each (N, s, s) region; the middle of an empty one."""
    flat = region.flatten(1).float()
    flat = torch.where(flat.sum(1, keepdim=True) > 0, flat, torch.ones_like(flat))
    index = torch.multinomial(flat, 1, generator=generator)[:, 0]
    return torch.stack([index % region.shape[-1], index // region.shape[-1]], -1).float()


def corrective_points(truth: Tensor, guess: Tensor, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Points (N, 2) in cells and labels (N,): where the (N, s, s) guess is wrong, 1 if something is missing."""
    wrong = truth ^ guess
    region = torch.where(wrong.flatten(1).any(1)[:, None, None], wrong, truth)
    points = random_points(region, generator=generator)
    x, y = points.long().unbind(-1)
    return points, truth[torch.arange(len(truth)), y, x].long()
