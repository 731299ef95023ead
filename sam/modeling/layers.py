"""Small layers that several parts of Segment Anything share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Generic, TypeVar, overload

import torch
from torch import Tensor, nn
from torch.nn import functional as F

M = TypeVar("M", bound=nn.Module)


if TYPE_CHECKING:

    class Layers(nn.ModuleList, Generic[M]):
        """`nn.ModuleList` whose modules are all of one type, which torch's own cannot say."""

        def __init__(self, modules: Iterable[M]) -> None: ...
        def __iter__(self) -> Iterator[M]: ...
        @overload
        def __getitem__(self, idx: slice) -> Layers[M]: ...
        @overload
        def __getitem__(self, idx: int) -> M: ...
        def __getitem__(self, idx: int | slice) -> M | Layers[M]: ...

else:
    Layers = nn.ModuleList


class LayerNorm2d(nn.Module):
    """Layer normalization over the channels of (B, C, H, W)."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)  # (B, 1, H, W)
        centered = x - mean
        variance = centered.pow(2).mean(1, keepdim=True)
        normal = centered * torch.rsqrt(variance + self.eps)
        return normal * self.weight[:, None, None] + self.bias[:, None, None]


class MLP(nn.Module):
    """`depth` linear layers with ReLU between them."""

    def __init__(self, input_dim: int, hidden_dim: int, output_dim: int, depth: int) -> None:
        super().__init__()
        widths = [input_dim] + [hidden_dim] * (depth - 1) + [output_dim]
        self.layers = Layers(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


def in_windows(layer: Callable[[Tensor], Tensor], x: Tensor, window: int) -> Tensor:
    """`layer` applied to each window of a map.

    Args:
        layer: takes and gives (B * windows, window, window, C), e.g. an attention.
        x: the map (B, h, w, C); zeros fill the last row and the last column of windows.
        window: side of a window.
    """
    batch, height, width, channels = x.shape
    down, right = -height % window, -width % window
    x = F.pad(x, (0, 0, 0, right, 0, down))
    rows, columns = (height + down) // window, (width + right) // window
    x = x.reshape(batch, rows, window, columns, window, channels).transpose(2, 3)  # (B, rows, columns, window, ...)
    x = layer(x.reshape(-1, window, window, channels))
    x = x.reshape(batch, rows, columns, window, window, channels).transpose(2, 3)
    return x.reshape(batch, height + down, width + right, channels)[:, :height, :width]
