"""The nano variant: a convolutional encoder of our own that ships with the package.

A ResNet-like body (https://arxiv.org/abs/1512.03385) down to stride 16, transformer blocks at
stride 32 where they are cheap, and a feature pyramid (https://arxiv.org/abs/1612.03144) back up:
stride 16 is the image embedding, strides 8, 4 and 2 sharpen the masks while they are upscaled.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..modeling.layers import LayerNorm2d
from ..modeling.mask_decoder import MaskDecoder
from ..modeling.prompt_encoder import PromptEncoder
from ..modeling.transformer import TwoWayTransformer
from ..registry import Parts, Variant

IMAGE_SIZE = 384
DIM = 128
UPSCALED = (64, 32, 16)  # channels at strides 8, 4, 2


class ConvNorm(nn.Sequential):
    """Convolution, batch normalisation and, unless told otherwise, ReLU."""

    def __init__(self, inp: int, out: int, kernel: int = 3, *, stride: int = 1, act: bool = True) -> None:
        layers = [nn.Conv2d(inp, out, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(out)]
        super().__init__(*layers, *([nn.ReLU(inplace=True)] if act else []))


class Residual(nn.Module):
    """Two 3×3 convolutions around a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(channels, channels)
        self.conv2 = ConvNorm(channels, channels, act=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.conv2(self.conv1(x)))


class GlobalBlock(nn.Module):
    """A pre-norm transformer block over all cells of a small map, positions from a depthwise convolution."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.position = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.norm1 = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.norm2 = nn.LayerNorm(channels)
        self.lin1 = nn.Linear(channels, 3 * channels)
        self.lin2 = nn.Linear(3 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.position(x)
        size = x.shape[-2:]
        tokens = x.flatten(2).transpose(1, 2)  # (B, N, C)
        q, k, v = torch.unflatten(self.qkv(self.norm1(tokens)), 2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        tokens = tokens + self.proj(mixed)
        tokens = tokens + self.lin2(F.gelu(self.lin1(self.norm2(tokens))))
        return torch.unflatten(tokens.transpose(1, 2), 2, size)


class NanoEncoder(nn.Module):
    """Features of a (B, 3, S, S) image at strides 16, 2, 4 and 8."""

    def __init__(self) -> None:
        super().__init__()
        c2, c4, c8, c16, c32 = 24, 48, 96, 160, 224
        s8, s4, s2 = UPSCALED
        self.stem2 = ConvNorm(3, c2, stride=2)
        self.stage4 = nn.Sequential(ConvNorm(c2, c4, stride=2), Residual(c4))
        self.stage8 = nn.Sequential(ConvNorm(c4, c8, stride=2), Residual(c8), Residual(c8))
        self.stage16 = nn.Sequential(ConvNorm(c8, c16, stride=2), Residual(c16), Residual(c16), Residual(c16))
        self.stage32 = nn.Sequential(ConvNorm(c16, c32, stride=2), *(GlobalBlock(c32, 7) for _ in range(3)))
        self.top = ConvNorm(c32, DIM, 1)
        self.side16, self.merge16 = ConvNorm(c16, DIM, 1, act=False), ConvNorm(DIM, DIM)
        self.neck = nn.Conv2d(DIM, DIM, 1)
        self.down8, self.side8 = ConvNorm(DIM, s8, 1, act=False), ConvNorm(c8, s8, 1, act=False)
        self.merge8 = ConvNorm(s8, s8)
        self.out8 = nn.Conv2d(s8, s8, 1)
        self.down4, self.side4 = ConvNorm(s8, s4, 1, act=False), ConvNorm(c4, s4, 1, act=False)
        self.merge4 = ConvNorm(s4, s4)
        self.out4 = nn.Conv2d(s4, s4, 1)
        self.down2, self.side2 = ConvNorm(s4, s2, 1, act=False), ConvNorm(c2, s2, 1, act=False)
        self.out2 = nn.Conv2d(s2, s2, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Image embedding (B, D, S/16, S/16), then features of strides 2, 4 and 8."""
        x2 = self.stem2(x)  # (B, 24, S/2, S/2)
        x4 = self.stage4(x2)  # (B, 48, S/4, S/4)
        x8 = self.stage8(x4)  # (B, 96, S/8, S/8)
        x16 = self.stage16(x8)  # (B, 160, S/16, S/16)
        x32 = self.stage32(x16)  # (B, 224, S/32, S/32)
        p16 = self.merge16(F.relu(self.side16(x16) + double(self.top(x32))))
        p8 = self.merge8(F.relu(self.side8(x8) + double(self.down8(p16))))
        p4 = self.merge4(F.relu(self.side4(x4) + double(self.down4(p8))))
        p2 = F.relu(self.side2(x2) + double(self.down2(p4)))
        return self.neck(p16), self.out2(p2), self.out4(p4), self.out8(p8)


def double(x: Tensor) -> Tensor:
    """Each cell of (B, C, H, W) as a square of four."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


class NanoPromptEncoder(PromptEncoder):
    """The shared prompt encoder plus a picture of the prompts: box coverage and clicks, a quarter as fine as the input.

    Tokens alone leave it to attention to find where a box lies; a small model learns that slowly and
    never exactly. The picture is added to the dense map, so that every cell knows its place at once.
    """

    def __init__(self, *, embed_dim: int, image_size: int, grid_size: int) -> None:
        super().__init__(embed_dim=embed_dim, image_size=image_size, grid_size=grid_size)
        self.picture = nn.Sequential(
            nn.Conv2d(2, 16, 2, stride=2),
            LayerNorm2d(16),
            nn.GELU(),
            nn.Conv2d(16, 64, 2, stride=2),
            LayerNorm2d(64),
            nn.GELU(),
            nn.Conv2d(64, embed_dim, 1),
        )

    def draw(
        self, *, boxes: Tensor | None, point_coords: Tensor | None, point_labels: Tensor | None, side: int
    ) -> Tensor:
        """(N, D, side / 16, side / 16) from prompts in pixels of a square of `side`."""
        edges = torch.arange(0, side, 4, dtype=torch.float32, device=self.no_mask_embed.weight.device)
        given = boxes if boxes is not None else point_coords
        assert given is not None, "there is a box or a point"
        cover = edges.new_zeros(len(given), len(edges), len(edges))
        clicks = torch.zeros_like(cover)
        if boxes is not None:
            x0, y0, x1, y1 = (v[:, None] for v in boxes.float().unbind(1))
            across = (x1.minimum(edges + 4) - x0.maximum(edges)).clamp(min=0) / 4  # (N, cells)
            down = (y1.minimum(edges + 4) - y0.maximum(edges)).clamp(min=0) / 4
            cover = down[:, :, None] * across[:, None, :]
        if point_coords is not None:
            assert point_labels is not None, "points come with labels"
            sign = (point_labels == 1).float() - (point_labels == 0).float()  # padding points are 0
            x, y = (point_coords.float() + 0.5).unbind(-1)  # (N, P)
            near_x, near_y = (torch.exp(-((v[..., None] - edges - 2) ** 2) / 72) for v in (x, y))  # sigma 6 px
            clicks = (sign[..., None, None] * near_y[..., :, None] * near_x[..., None, :]).sum(1)
        return self.picture(torch.stack([cover, clicks], 1))

    def forward(
        self,
        *,
        point_coords: Tensor | None = None,
        point_labels: Tensor | None = None,
        boxes: Tensor | None = None,
        mask_input: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        sparse, dense = super().forward(
            point_coords=point_coords, point_labels=point_labels, boxes=boxes, mask_input=mask_input
        )
        if boxes is None and point_coords is None:
            return sparse, dense
        drawn = self.draw(boxes=boxes, point_coords=point_coords, point_labels=point_labels, side=self.image_size)
        return sparse, dense + drawn


def build() -> Parts:
    """The modules of nano, weights not yet loaded."""
    return Parts(
        NanoEncoder(),
        NanoPromptEncoder(embed_dim=DIM, image_size=IMAGE_SIZE, grid_size=IMAGE_SIZE // 16),
        MaskDecoder(
            dim=DIM,
            transformer=TwoWayTransformer(depth=2, dim=DIM, heads=8, hidden=512),
            iou_head_hidden=128,
            upscaled_dims=UPSCALED,
        ),
    )


VARIANTS = (
    Variant(
        name="nano",
        family="nano",
        build=build,
        image_size=IMAGE_SIZE,
        transformer_dim=DIM,
        mask_input_size=(IMAGE_SIZE // 2, IMAGE_SIZE // 2),
        licence="Apache-2.0",
        pred_iou_thresh=0.45,
        stability_score_thresh=0.6,
        min_region_fraction=0.03,
        bundled="nano.safetensors",
    ),
)
