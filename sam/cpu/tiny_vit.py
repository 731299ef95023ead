"""Tiny-ViT on a CPU: convolutions with their norms and activations in one pass, and little of it beside padding.

The plain forms, and what they compute, are in `sam.variants.tiny_vit`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..variants.tiny_vit import (
    Attention,
    Block,
    ConvNorm,
    Downsample,
    FeedForward,
    InvertedBottleneck,
    PatchEmbed,
    TinyViTEncoder,
)
from .attention import attend, attend_in_windows
from .layers import ACTIVATIONS, cached_by_weights, convolve, linear, on_cpu_without_grad
from .vit import refine

STRIDE, REACH = 8, 16  # of what convolutions alone make: pixels a cell, and how far it sees beyond them


class FastConvNorm(ConvNorm):
    """`ConvNorm` as one convolution."""

    def forward(self, x: Tensor, act: str = "none") -> Tensor:
        """With the activation `act`: none, gelu or relu."""
        if not self.training and on_cpu_without_grad(x):
            return convolve(x, self.c, self.bn, act=act)
        plain: Tensor = super().forward(x)  # type: ignore[no-untyped-call]  # torch gives it no type
        return ACTIVATIONS[act](plain)


class FastPatchEmbed(PatchEmbed):
    """`PatchEmbed` in two passes."""

    def forward(self, x: Tensor) -> Tensor:
        return self.seq[2](self.seq[0](x, "gelu"))


class FastInvertedBottleneck(InvertedBottleneck):
    """`InvertedBottleneck` with activations inside the convolutions."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv3(self.conv2(self.conv1(x, "gelu"), "gelu")) + x
        if on_cpu_without_grad(x):
            return F.gelu(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # twice as fast on memory in order
        return F.gelu(x)


class FastDownsample(Downsample):
    """`Downsample` with activations inside the convolutions."""

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(self.conv2(self.conv1(x, "gelu"), "gelu"))


class FastAttention(Attention):
    """`Attention` of whole maps, all windows of them together."""

    def on_map(self, x: Tensor) -> Tensor:
        """(B, h, w, C) from (B, h, w, C): the same in all windows of a map."""

        def by_heads(qkv: Tensor) -> Tensor:
            return torch.unflatten(qkv, -1, (self.heads, 3, -1)).transpose(-3, -2)  # (..., 3, heads, d)

        def biases() -> Tensor:  # (heads, N, N)
            flat = self.attention_biases.index_select(1, self.bias_index.flatten())
            return torch.unflatten(flat, 1, self.bias_index.shape)

        def each(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            each_its_own = bias.expand(len(q), -1, -1, -1).clone(memory_format=torch.contiguous_format)
            return attend(q, k, v, each_its_own, scale=q.shape[-1] ** -0.5)

        bias = cached_by_weights(self, biases, weights=[self.attention_biases])
        qkv, fill = (by_heads(linear(tokens, self.qkv)) for tokens in (self.norm(x), self.norm.bias[None]))
        mixed = attend_in_windows(each, qkv, fill[0], self.window)  # zeros become the norm's bias
        return linear(mixed.flatten(3), self.proj)


class FastFeedForward(FeedForward):
    """`FeedForward` with its activation inside a product."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(linear(self.norm(x), self.fc1, act="gelu"), self.fc2)


class FastBlock(Block):
    """`Block` that skips padded tokens of its windows."""

    def forward(self, x: Tensor) -> Tensor:
        if not on_cpu_without_grad(x):
            return super().forward(x)
        assert isinstance(self.attn, FastAttention), "optimize swaps all modules of a model"
        x = x.permute(0, 2, 3, 1)
        x = x + self.attn.on_map(x)
        x = self.local_conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        x = x + self.mlp(x)
        return x.permute(0, 3, 1, 2)


def padding_start(x: Tensor) -> tuple[int, int]:
    """The axis of `x` (B, C, S, S) along which zeros follow a image, and where they begin, in steps of `STRIDE`."""
    for dim in (2, 3):
        side = inside = x.shape[dim]
        while inside >= STRIDE and not x.narrow(dim, inside - STRIDE, STRIDE).any():
            inside -= STRIDE
        if inside < side:
            return dim, inside
    return 2, x.shape[2]


def splice(x: Tensor, empty: Tensor, dim: int, *, seen: int, end: int) -> Tensor:
    """The first `seen` cells of `x` along `dim`, then those of `empty` up to `end`."""
    more = empty.narrow(dim, seen, min(end, empty.shape[dim]) - seen)
    return torch.cat([x.narrow(dim, 0, seen), more.expand(len(x), -1, -1, -1)], dim)


class FastTinyViTEncoder(TinyViTEncoder):
    """`TinyViTEncoder` with channels last, which computes up to stride 8 only what depends on the image."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        if not on_cpu_without_grad(x):
            return super().forward(x)
        x = self._maps_skipping_padding(x.contiguous(memory_format=torch.channels_last))
        first = self.layers[1].downsample
        x = x if first is None else first(x)
        for stage in self.layers[2:]:
            x = stage(x)
        return (refine(self.neck, x),)

    def _convolved(self, x: Tensor) -> Tensor:
        """Features at stride 8: all that convolutions alone make."""
        return self.layers[0](self.patch_embed(x))

    def _maps(self, x: Tensor) -> list[Tensor]:
        """Features at stride 8: what convolutions make, then what each block of the first stage with attention does."""
        maps = [self._convolved(x)]
        for block in self.layers[1].blocks:
            maps.append(block(maps[-1]))
        return maps

    def _maps_skipping_padding(self, x: Tensor) -> Tensor:
        """`_maps(x)[-1]`; what sees nothing of a image is taken from the maps of an empty one, which are kept."""
        dim, inside = padding_start(x)
        seen = -(-(inside + REACH) // STRIDE)  # cells along `dim` that depend on the image
        if STRIDE * seen + REACH >= x.shape[dim]:
            return self._maps(x)[-1]
        parts = (self.patch_embed, *self.layers[:2])
        weights = [value for part in parts for value in (*part.parameters(), *part.buffers())]
        empty = cached_by_weights(
            self, lambda: self._maps(torch.zeros_like(x[:1])), x.shape[1:], x.dtype, weights=weights
        )
        near = x.narrow(dim, 0, STRIDE * seen + REACH)
        x = self._convolved(near.contiguous(memory_format=torch.channels_last))
        for block, before in zip(self.layers[1].blocks, empty[:-1], strict=True):
            assert isinstance(block, Block)
            end = -(-seen // block.window) * block.window  # of the windows that the image reaches
            x = block(splice(x, before, dim, seen=seen, end=end + block.window))  # the convolution looks beyond
            seen = min(end + 1, before.shape[dim])
        return splice(x, empty[-1], dim, seen=seen, end=empty[-1].shape[dim])
