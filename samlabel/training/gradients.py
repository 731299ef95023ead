"""Gradients of several processes that share each batch."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, distributed


def mean_gradients(parameters: Iterable[Tensor], processes: int) -> None:
    """Replaces the gradients of `parameters` by their mean over all `processes`; a missing one counts as zero."""
    if processes == 1:
        return
    parameters = list(parameters)
    for p in parameters:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
    flat = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
    distributed.all_reduce(flat)
    start = 0
    for p in parameters:
        assert p.grad is not None
        p.grad.copy_(flat[start : start + p.numel()].view_as(p) / processes)
        start += p.numel()
