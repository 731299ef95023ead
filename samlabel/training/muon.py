"""Muon: momentum whose matrices are made orthogonal before they move the weights.

Keller Jordan et al., https://kellerjordan.github.io/posts/muon/; the scale of an update follows
https://arxiv.org/abs/2502.16982, so that learning rate and weight decay mean what they mean in AdamW.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, distributed


def orthogonal(matrix: Tensor, *, rounds: int = 5) -> Tensor:
    """The nearest half-orthogonal matrix, roughly: singular values between 0.7 and 1.2, by Newton-Schulz."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).bfloat16()
    x = x / (x.norm() + 1e-7)
    for _ in range(rounds):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    near: Tensor = (x.T if tall else x).float()
    return near


class Muon:
    """Moves weights of two or more dimensions, each taken as a matrix (out, rest)."""

    def __init__(self, weights: Sequence[Tensor], *, momentum: float = 0.95, decay: float = 0.02) -> None:
        self.weights, self.momentum, self.decay = weights, momentum, decay
        self.buffers = [torch.zeros_like(w) for w in weights]

    def state_dict(self) -> list[Tensor]:
        return self.buffers

    def load_state_dict(self, buffers: list[Tensor]) -> None:
        for mine, theirs in zip(self.buffers, buffers, strict=True):
            mine.copy_(theirs)

    @torch.no_grad()
    def step(self, lr: float, *, rank: int, processes: int) -> None:
        """Moves every weight along its `grad`; each of `processes` works out a share of the moves."""
        moves = [torch.zeros(w.numel()) for w in self.weights]
        # Shares of about the same work: the largest matrices are dealt out first.
        order = sorted(range(len(moves)), key=lambda k: -self.weights[k].numel())
        for place, k in enumerate(order):
            weight, buffer = self.weights[k], self.buffers[k]
            if weight.grad is None:  # a batch without masks leaves the decoder out
                continue
            buffer.lerp_(weight.grad, 1 - self.momentum)
            if place % processes != rank:
                continue
            ahead = weight.grad.lerp(buffer, self.momentum).flatten(1)
            rows, columns = ahead.shape
            moves[k] = (orthogonal(ahead) * (0.2 * max(rows, columns) ** 0.5)).flatten()
        if processes > 1:
            flat = torch.cat(moves)
            distributed.all_reduce(flat)
            moves = list(torch.split(flat, [len(m) for m in moves]))
        for weight, move in zip(self.weights, moves, strict=True):
            weight.mul_(1 - lr * self.decay).sub_(move.view(weight.shape), alpha=lr)
