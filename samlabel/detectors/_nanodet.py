"""The network of the nano detector: a one-stage detector of 1.2 million parameters.

A ShuffleNetV2 trunk (https://arxiv.org/abs/1807.11164), a feature pyramid of ghost blocks
(https://arxiv.org/abs/1911.11907) that passes features down and up again, and one head a level. The head predicts each
side of a box as a distribution over distances (https://arxiv.org/abs/2006.04388); the class score is trained to equal
the IoU of its box. The layout is that of NanoDet-Plus-m, whose published weights it was initialized from. Batch
normalization is folded into the convolutions.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STRIDES = (8, 16, 32, 64)
MULTIPLE = 64  # of which both sides of an input must be a multiple
BINS = 8  # distances 0 to 7, in strides, that a side's distribution is over
WIDTH = 96  # channels of every level of the pyramid
TRUNK = (24, 116, 232, 464)  # channels after the stem and after each stage
UNITS = (4, 8, 4)  # of each stage


class Cells(NamedTuple):
    """What the network predicts for its N cells, all levels one after the other, in float32."""

    logits: Tensor  # (B, N, classes)
    sides: Tensor  # (B, N, 4, BINS), logits of the distances to the left, top, right and bottom side
    points: Tensor  # (N, 2), x and y in input pixels that the distances are measured from
    strides: Tensor  # (N,), input pixels

    def boxes(self) -> Tensor:
        """(B, N, 4) XYXY in input pixels: each side lies at the mean of its distribution."""
        bins = torch.arange(BINS, dtype=self.sides.dtype, device=self.sides.device)
        distances = (self.sides.softmax(-1) * bins).sum(-1) * self.strides[:, None]
        return torch.cat([self.points - distances[..., :2], self.points + distances[..., 2:]], -1)


def conv(
    inputs: int, outputs: int, kernel: int = 1, *, stride: int = 1, depthwise: bool = False, active: bool = True
) -> nn.Sequential:
    """A convolution that keeps the size (or divides it by `stride`), with LeakyReLU where `active`."""
    groups = inputs if depthwise else 1
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups)
    return nn.Sequential(layer, nn.LeakyReLU(0.1, inplace=True)) if active else nn.Sequential(layer)


def separable(*, stride: int = 1) -> nn.Sequential:
    """A 5×5 depthwise and a 1×1 convolution at the pyramid's width."""
    return nn.Sequential(conv(WIDTH, WIDTH, 5, stride=stride, depthwise=True), conv(WIDTH, WIDTH))


class ShuffleUnit(nn.Module):
    """Half of the channels go through three convolutions, then both halves are interleaved.

    With stride 2 each half is made from all channels, at half the size.
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        half = outputs // 2
        self.shortcut: nn.Sequential | None = None
        if stride == 2:
            depthwise = conv(inputs, inputs, 3, stride=2, depthwise=True, active=False)
            self.shortcut = nn.Sequential(depthwise, conv(inputs, half))
        self.branch = nn.Sequential(
            conv(inputs if stride == 2 else half, half),
            conv(half, half, 3, stride=stride, depthwise=True, active=False),
            conv(half, half),
        )

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, 1) if self.shortcut is None else (self.shortcut(x), x)
        halves = [half.permute(0, 2, 3, 1) for half in (first, self.branch(second))]
        # Channels first 0, second 0, first 1, ...; interleaved as the last dimension, so that they stay channels_last.
        return torch.stack(halves, -1).flatten(-2).permute(0, 3, 1, 2)


class GhostBlock(nn.Module):
    """A residual block whose wide layers are half convolved, half made from that half by depthwise filters."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.expand, self.expand_ghost = conv(inputs, half), conv(half, half, 3, depthwise=True)
        self.project, self.project_ghost = (
            conv(outputs, half, active=False),
            conv(half, half, 3, depthwise=True, active=False),
        )
        self.shortcut = nn.Sequential(
            conv(inputs, inputs, 5, depthwise=True, active=False), conv(inputs, outputs, active=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        half = self.expand(x)
        half = self.project(torch.cat([half, self.expand_ghost(half)], 1))
        shortcut: Tensor = self.shortcut(x)
        return torch.cat([half, self.project_ghost(half)], 1) + shortcut


class NanoDet(nn.Module):
    """Class logits and side distributions of every cell, from normalized RGB."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.stem = conv(3, TRUNK[0], 3, stride=2)
        self.stages = nn.ModuleList(
            nn.Sequential(
                ShuffleUnit(inputs, outputs, stride=2),
                *(ShuffleUnit(outputs, outputs, stride=1) for _ in range(units - 1)),
            )
            for inputs, outputs, units in zip(TRUNK, TRUNK[1:], UNITS, strict=False)
        )
        self.reduce8, self.reduce16, self.reduce32 = (conv(channels, WIDTH) for channels in TRUNK[1:])
        self.down16, self.down8 = GhostBlock(2 * WIDTH, WIDTH), GhostBlock(2 * WIDTH, WIDTH)
        self.shrink8, self.shrink16 = separable(stride=2), separable(stride=2)
        self.up16, self.up32 = GhostBlock(2 * WIDTH, WIDTH), GhostBlock(2 * WIDTH, WIDTH)
        self.extra_from_trunk, self.extra_from_pyramid = separable(stride=2), separable(stride=2)
        self.heads = nn.ModuleList(
            nn.Sequential(separable(), separable(), nn.Conv2d(WIDTH, classes + 4 * BINS, 1)) for _ in STRIDES
        )

    def forward(self, pixels: Tensor) -> Cells:
        """The predictions for `pixels` (B, 3, H, W), `normalized` RGB whose sides are multiples of 64."""
        x = F.max_pool2d(self.stem(pixels), 3, stride=2, padding=1)  # (B, 24, H/4, W/4)
        x8 = self.stages[0](x)  # (B, 116, H/8, W/8)
        x16 = self.stages[1](x8)  # (B, 232, H/16, W/16)
        x32 = self.stages[2](x16)  # (B, 464, H/32, W/32)
        c8, c16, c32 = self.reduce8(x8), self.reduce16(x16), self.reduce32(x32)  # (B, 96, ...) from here on

        d16 = self.down16(torch.cat([_doubled(c32), c16], 1))
        p8 = self.down8(torch.cat([_doubled(d16), c8], 1))
        p16 = self.up16(torch.cat([self.shrink8(p8), d16], 1))
        p32 = self.up32(torch.cat([self.shrink16(p16), c32], 1))
        p64 = self.extra_from_trunk(c32) + self.extra_from_pyramid(p32)

        maps, points, strides = [], [], []
        for stride, head, level in zip(STRIDES, self.heads, (p8, p16, p32, p64), strict=True):
            out = head(level)  # (B, classes + 4 * BINS, h, w)
            height, width = out.shape[-2:]
            y = torch.arange(height, device=out.device).repeat_interleave(width)
            x = torch.arange(width, device=out.device).repeat(height)
            maps.append(out.flatten(2).transpose(1, 2))
            points.append(torch.stack([x, y], 1) * float(stride))
            strides.append(torch.full((height * width,), float(stride), device=out.device))
        cells = torch.cat(maps, 1).float()
        logits, sides = cells[..., : self.classes], cells[..., self.classes :]
        return Cells(logits, sides.reshape(*sides.shape[:2], 4, BINS), torch.cat(points), torch.cat(strides))


def normalized(pixels: Tensor) -> Tensor:
    """RGB of 0 to 255 (..., 3, H, W) as the network expects it: mean 0, deviation 1 over ImageNet."""
    mean = torch.tensor([123.675, 116.28, 103.53], device=pixels.device).view(3, 1, 1)
    scale = torch.tensor([0.017125, 0.017507, 0.017429], device=pixels.device).view(3, 1, 1)
    return (pixels.float() - mean) * scale


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
