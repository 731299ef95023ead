"""The Tiny-ViT encoder of MobileSAM: variant `tiny`.

Faster Segment Anything (https://arxiv.org/abs/2306.14289) around TinyViT-5M
(https://arxiv.org/abs/2207.10666): convolutions first, then windowed attention with learnt biases.
Parameter names are those of the official checkpoint, https://github.com/ChaoningZhang/MobileSAM
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..cpu.attention import attend, attend_in_windows, in_windows
from ..modeling.layers import ACTIVATIONS, LayerNorm2d, Layers, convolve, kept, linear, on_cpu_without_grad
from ..registry import Parts, Variant, standard_parts
from .vit import refine

DIMS = (64, 128, 160, 320)
DEPTHS = (2, 2, 6, 2)
HEADS = (2, 4, 5, 10)
WINDOWS = (7, 7, 14, 7)
STRIDE, REACH = 8, 16  # of what convolutions alone make: pixels a cell, and how far it sees beyond them


class ConvNorm(nn.Sequential):
    """A convolution without bias and its batch normalisation."""

    def __init__(self, inp: int, out: int, kernel: int = 1, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.c = nn.Conv2d(inp, out, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(out)

    def forward(self, x: Tensor, act: str = "none") -> Tensor:
        if not self.training and on_cpu_without_grad(x):
            return convolve(x, self.c, self.bn, act=act)
        out: Tensor = super().forward(x)  # type: ignore[no-untyped-call]  # torch gives it no type
        return ACTIVATIONS[act](out)


class PatchEmbed(nn.Module):
    """Features at stride 4."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(ConvNorm(3, dim // 2, 3, stride=2), nn.GELU(), ConvNorm(dim // 2, dim, 3, stride=2))

    def forward(self, x: Tensor) -> Tensor:
        return self.seq[2](self.seq[0](x, "gelu"))


class InvertedBottleneck(nn.Module):
    """Widen four times, convolve each channel, narrow, add the shortcut."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(dim, 4 * dim)
        self.conv2 = ConvNorm(4 * dim, 4 * dim, 3, groups=4 * dim)
        self.conv3 = ConvNorm(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv3(self.conv2(self.conv1(x, "gelu"), "gelu")) + x
        if on_cpu_without_grad(x):
            return F.gelu(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # twice as fast on memory in order
        return F.gelu(x)


class Downsample(nn.Module):
    """New channels, and half the size unless `stride` is 1."""

    def __init__(self, inp: int, out: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(inp, out)
        self.conv2 = ConvNorm(out, out, 3, stride=stride, groups=out)
        self.conv3 = ConvNorm(out, out)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(self.conv2(self.conv1(x, "gelu"), "gelu"))


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

    def on_cpu(self, x: Tensor) -> Tensor:
        """(B, h, w, C) from (B, h, w, C): the same in all windows of a map."""

        def by_heads(qkv: Tensor) -> Tensor:
            return torch.unflatten(qkv, -1, (self.heads, 3, -1)).transpose(-3, -2)  # (..., 3, heads, d)

        def biases() -> Tensor:  # (heads, N, N)
            flat = self.attention_biases.index_select(1, self.bias_index.flatten())
            return torch.unflatten(flat, 1, self.bias_index.shape)

        def each(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            each_its_own = bias.expand(len(q), -1, -1, -1).clone(memory_format=torch.contiguous_format)
            return attend(q, k, v, each_its_own, scale=q.shape[-1] ** -0.5)

        bias = kept(self, biases, weights=[self.attention_biases])
        qkv, fill = (by_heads(linear(tokens, self.qkv)) for tokens in (self.norm(x), self.norm.bias[None]))
        mixed = attend_in_windows(each, qkv, fill[0], self.window)  # zeros become the norm's bias
        return linear(mixed.flatten(3), self.proj)


class FeedForward(nn.Module):
    """A pre-norm pair of linear layers with GELU."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return linear(linear(self.norm(x), self.fc1, act="gelu"), self.fc2)


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
        x = x + (self.attn.on_cpu(x) if on_cpu_without_grad(x) else in_windows(self.attn, x, self.window))
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
        return self.stepped(x)

    def stepped(self, x: Tensor) -> Tensor:
        """`x`, which has passed the blocks, after the step."""
        return x if self.downsample is None else self.downsample(x)


def covered(x: Tensor) -> tuple[int, int]:
    """The axis of `x` (B, C, S, S) along which zeros follow a picture, and where they begin, in steps of `STRIDE`."""
    for dim in (2, 3):
        side = inside = x.shape[dim]
        while inside >= STRIDE and not x.narrow(dim, inside - STRIDE, STRIDE).any():
            inside -= STRIDE
        if inside < side:
            return dim, inside
    return 2, x.shape[2]


def continued(x: Tensor, empty: Tensor, dim: int, *, seen: int, end: int) -> Tensor:
    """The first `seen` cells of `x` along `dim`, then those of `empty` up to `end`."""
    more = empty.narrow(dim, seen, min(end, empty.shape[dim]) - seen)
    return torch.cat([x.narrow(dim, 0, seen), more.expand(len(x), -1, -1, -1)], dim)


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
        fast = on_cpu_without_grad(x)
        x = self._beside_padding(x.contiguous(memory_format=torch.channels_last)) if fast else self._maps(x)[-1]
        x = self.layers[1].stepped(x)
        for stage in self.layers[2:]:
            x = stage(x)
        return (refine(self.neck, x) if fast else self.neck(x),)

    def _convolved(self, x: Tensor) -> Tensor:
        """Features at stride 8: all that convolutions alone make."""
        return self.layers[0](self.patch_embed(x))

    def _maps(self, x: Tensor) -> list[Tensor]:
        """Features at stride 8: what convolutions make, then what each block of the first stage with attention does."""
        maps = [self._convolved(x)]
        for block in self.layers[1].blocks:
            maps.append(block(maps[-1]))
        return maps

    def _beside_padding(self, x: Tensor) -> Tensor:
        """`_maps(x)[-1]`; what sees nothing of a picture is taken from the maps of an empty one, which are kept."""
        dim, inside = covered(x)
        seen = -(-(inside + REACH) // STRIDE)  # cells along `dim` that depend on the picture
        if STRIDE * seen + REACH >= x.shape[dim]:
            return self._maps(x)[-1]
        parts = (self.patch_embed, *self.layers[:2])
        weights = [value for part in parts for value in (*part.parameters(), *part.buffers())]
        empty = kept(self, lambda: self._maps(torch.zeros_like(x[:1])), x.shape[1:], x.dtype, weights=weights)
        near = x.narrow(dim, 0, STRIDE * seen + REACH)
        x = self._convolved(near.contiguous(memory_format=torch.channels_last))
        for block, before in zip(self.layers[1].blocks, empty[:-1], strict=True):
            assert isinstance(block, Block)
            end = -(-seen // block.window) * block.window  # of the windows that the picture reaches
            x = block(continued(x, before, dim, seen=seen, end=end + block.window))  # the convolution looks beyond
            seen = min(end + 1, before.shape[dim])
        return continued(x, empty[-1], dim, seen=seen, end=empty[-1].shape[dim])


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
