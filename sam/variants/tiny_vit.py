"""The Tiny-ViT encoder of MobileSAM: variant `tiny`.

Faster Segment Anything (https://arxiv.org/abs/2306.14289) around TinyViT-5M
(https://arxiv.org/abs/2207.10666): convolutions first, then windowed attention with learnt biases.
Parameter names are those of the official checkpoint, https://github.com/ChaoningZhang/MobileSAM
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..modeling.layers import LayerNorm2d, Layers, in_windows
from ..registry import Parts, Variant, standard_parts

DIMS = (64, 128, 160, 320)
DEPTHS = (2, 2, 6, 2)
HEADS = (2, 4, 5, 10)
WINDOWS = (7, 7, 14, 7)


class ConvNorm(nn.Sequential):
    """A convolution without bias and its batch normalisation."""

    def __init__(self, inp: int, out: int, kernel: int = 1, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.c = nn.Conv2d(inp, out, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(out)


class PatchEmbed(nn.Module):
    """Features at stride 4."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(ConvNorm(3, dim // 2, 3, stride=2), nn.GELU(), ConvNorm(dim // 2, dim, 3, stride=2))

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim, S/4, S/4) from (B, 3, S, S)."""
        return self.seq(x)


class InvertedBottleneck(nn.Module):
    """Widen four times, convolve each channel, narrow, add the shortcut."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(dim, 4 * dim)
        self.conv2 = ConvNorm(4 * dim, 4 * dim, 3, groups=4 * dim)
        self.conv3 = ConvNorm(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        wide = F.gelu(self.conv2(F.gelu(self.conv1(x))))  # (B, 4 C, H, W)
        return F.gelu(self.conv3(wide) + x)


class Downsample(nn.Module):
    """New channels, and half the size unless `stride` is 1."""

    def __init__(self, inp: int, out: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(inp, out)
        self.conv2 = ConvNorm(out, out, 3, stride=stride, groups=out)
        self.conv3 = ConvNorm(out, out)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x)))))


class Attention(nn.Module):
    """Multi-head attention inside one window, biased by the distance in rows and columns."""

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.window = window
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window * window))
        at = torch.arange(window)
        apart = (at[:, None] - at[None, :]).abs()  # (window, window)
        index = apart[:, None, :, None] * window + apart[None, :, None, :]  # rows x columns of query, then key
        self.bias_index: Tensor
        self.register_buffer("bias_index", index.reshape(window**2, window**2), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, window, window, C) from (B, window, window, C)."""
        tokens = self.norm(x).flatten(1, 2)  # (B, N, C)
        q, k, v = torch.unflatten(self.qkv(tokens), 2, (self.heads, 3, -1)).permute(3, 0, 2, 1, 4)
        bias = self.attention_biases[:, self.bias_index][None]  # (1, heads, N, N)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.proj(mixed.transpose(1, 2).reshape(x.shape))


class FeedForward(nn.Module):
    """A pre-norm pair of linear layers with GELU."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(self.norm(x))))


class Block(nn.Module):
    """Attention in windows, a depthwise convolution, a feed-forward layer."""

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.attn = Attention(dim, heads, window)
        self.mlp = FeedForward(dim)
        self.local_conv = ConvNorm(dim, dim, 3, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) from (B, C, h, w)."""
        x = x.permute(0, 2, 3, 1)
        x = x + in_windows(self.attn, x, self.window)
        x = self.local_conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        x = x + self.mlp(x)
        return x.permute(0, 3, 1, 2)


class Stage(nn.Module):
    """Blocks of one size, then the step to the next stage, if there is one."""

    def __init__(self, blocks: list[InvertedBottleneck | Block], downsample: Downsample | None) -> None:
        super().__init__()
        self.blocks = Layers(blocks)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x if self.downsample is None else self.downsample(x)


class TinyViTEncoder(nn.Module):
    """The image embedding (B, 256, S/16, S/16) of a (B, 3, S, S) image."""

    def __init__(self, *, image_size: int = 1024, out_channels: int = 256) -> None:
        super().__init__()
        self.img_size = image_size
        self.patch_embed = PatchEmbed(DIMS[0])
        stages = []
        for i, (dim, depth, heads, window) in enumerate(zip(DIMS, DEPTHS, HEADS, WINDOWS, strict=True)):
            blocks: list[InvertedBottleneck | Block] = [
                InvertedBottleneck(dim) if i == 0 else Block(dim, heads, window) for _ in range(depth)
            ]
            last = i + 1 == len(DIMS)
            # MobileSAM leaves out the last halving, so that the embedding has stride 16 and not 32.
            step = None if last else Downsample(dim, DIMS[i + 1], stride=1 if i + 2 == len(DIMS) else 2)
            stages.append(Stage(blocks, step))
        self.layers = Layers(stages)
        # The classifier that TinyViT was pretrained with: in the checkpoint, never used here.
        self.norm_head = nn.LayerNorm(DIMS[-1])
        self.head = nn.Linear(DIMS[-1], 1000)
        self.neck = nn.Sequential(
            nn.Conv2d(DIMS[-1], out_channels, 1, bias=False),
            LayerNorm2d(out_channels),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            LayerNorm2d(out_channels),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """`x` (B, 3, S, S), normalized and padded."""
        x = self.patch_embed(x)  # (B, 64, S/4, S/4)
        for stage in self.layers:
            x = stage(x)  # (B, 128, S/8, S/8), (B, 160, S/16, S/16), (B, 320, S/16, S/16), the same
        return (self.neck(x),)


def _build() -> Parts:
    return standard_parts(TinyViTEncoder())


VARIANTS = (
    Variant(
        name="tiny",
        family="tiny_vit",
        build=_build,
        aliases=("mobile_sam", "vit_t"),
        params=10_130_092,
        url="https://github.com/ChaoningZhang/MobileSAM/raw/master/weights/mobile_sam.pt",
        sha256="6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
        file_size=40_728_226,
        licence="Apache-2.0",
    ),
)
