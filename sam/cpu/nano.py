"""The nano variant on a CPU: channels last, and convolutions with their norms and activations in one pass.

The plain forms, and what they compute, are in `sam.variants.nano`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..variants.nano import ConvNorm, NanoEncoder
from .layers import convolve, on_cpu_without_grad


class FastConvNorm(ConvNorm):
    """`ConvNorm` as one convolution."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training or not on_cpu_without_grad(x):
            plain: Tensor = super().forward(x)  # type: ignore[no-untyped-call]  # torch gives it no type
            return plain
        conv, norm = self[0], self[1]
        assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
        return convolve(x, conv, norm, act="relu" if len(self) > 2 else "none")


class FastNanoEncoder(NanoEncoder):
    """`NanoEncoder` with channels last."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return super().forward(x.contiguous(memory_format=torch.channels_last) if on_cpu_without_grad(x) else x)
