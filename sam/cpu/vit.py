"""ViT on a CPU: attention in pieces that stay in cache, its bias inside the products, and nothing for padded tokens.

The plain forms, and what they compute, are in `sam.variants.vit`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..variants.vit import PATCH, Attention, Block, ViTEncoder, bias_terms
from .attention import SCORES_AT_ONCE, attend, attend_in_windows, softmax_matmul
from .layers import convolve, linear, on_cpu_without_grad
from .precision import has_tiles

_TILE = 32  # values of bfloat16 in a row of a processor's tile
_TOKENS_AT_ONCE = 2048  # of the hidden layer between two products


def _fused_is_faster(dtype: torch.dtype) -> bool:
    """Whether torch's fused kernel without a bias, in heads three times as wide, beats plain products."""
    return dtype == torch.bfloat16 and has_tiles()


class FastAttention(Attention):
    """`Attention` of whole maps, all windows of them together."""

    def on_map(self, x: Tensor, *, windowed: bool) -> Tensor:
        """(B, h, w, C) from (B, h, w, C): the same in pieces that stay in cache; what fills windows is not computed."""
        d = x.shape[-1] // self.heads
        qkv = torch.unflatten(linear(x, self.qkv), 3, (3, self.heads, d))
        if windowed:
            fill = self.qkv.bias.view(3, self.heads, d)  # what the plain form makes of zeros
            mixed = attend_in_windows(self._attend, qkv, fill, self.size, room=self._width(d) - d)
        else:
            each = qkv.flatten(1, 2).permute(2, 0, 3, 1, 4)  # (3, B, heads, N, d)
            if _fused_is_faster(x.dtype):
                mixed = self._attend_all(each).transpose(1, 2)  # (B, N, heads, d)
            else:
                mixed = torch.stack([self._attend_rows(*one) for one in zip(*each.contiguous(), strict=True)])
            mixed = torch.unflatten(mixed, 1, x.shape[1:3])
        return linear(mixed.flatten(3), self.proj)

    def _width(self, d: int) -> int:
        """Of queries and keys that hold the bias too: whole tiles of a processor that multiplies tiles."""
        return -(-(d + 2 * self.size) // _TILE) * _TILE

    def _hold_bias(self, q: Tensor, k: Tensor, d: int) -> None:
        """Fill the columns from `d` on of `q` and `k` (B, heads, N, width), so that q · k is scores with bias.

        A query gets its two terms of the bias for each row and each column of keys, and a key says with ones where it
        is. Scores are scaled by d^-0.5 later, the bias is not.
        """
        side, scale = self.size, d**0.5
        queries, keys = (torch.unflatten(x, 2, (side, side)) for x in (q, k))
        one = torch.eye(side, dtype=k.dtype)
        rows, columns = slice(d, d + side), slice(d + side, d + 2 * side)
        queries[..., rows], queries[..., columns] = bias_terms(q[..., :d], *(scale * table for table in self.tables()))
        keys[..., rows], keys[..., columns] = one[:, None], one
        for x in (queries, keys):
            x[..., columns.stop :] = 0

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        d = self.qkv.in_features // self.heads
        self._hold_bias(q, k, d)
        return attend(q, k, v[..., :d], scale=d**-0.5)

    def _attend_all(self, qkv: Tensor) -> Tensor:
        """(B, heads, N, d) from (3, B, heads, N, d) by one fused kernel, which wants values as wide as keys."""
        d = qkv.shape[-1]
        wide = qkv.new_empty(*qkv.shape[:-1], self._width(d))
        wide[..., :d] = qkv
        q, k, v = wide
        self._hold_bias(q, k, d)
        v[..., d:] = 0
        return F.scaled_dot_product_attention(q, k, v, scale=d**-0.5)[..., :d]

    def _attend_rows(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(N, heads, d) from (heads, N, d): some rows of queries of a head at a time: scores stay in cache."""
        side, (heads, count, d) = self.size, q.shape
        by_row, by_column = (x[0] for x in bias_terms(q[None], *self.tables()))  # (heads, h, w, size)
        out = q.new_empty(count, heads, d)
        step = max(1, SCORES_AT_ONCE // side**3)
        scores = q.new_empty(1, step, side, side, side)
        keys = k.transpose(1, 2)
        if q.dtype != torch.float32:
            keys = keys.contiguous()
        for head in range(heads):
            one = slice(head, head + 1)
            for top in range(0, side, step):
                some = slice(top, min(side, top + step))
                part, where = scores[:, : some.stop - top], slice(top * side, some.stop * side)
                torch.add(by_row[one, some, :, :, None], by_column[one, some, :, None, :], out=part)
                # torch's fused kernel is no faster in float32, and multiplies bfloat16 at half the rate of a product
                bias = part.view(1, -1, count).baddbmm_(q[one, where], keys[one], alpha=d**-0.5)
                out[where, head] = softmax_matmul(bias, v[one])[0]
        return out


class FastBlock(Block):
    """`Block` that adds to a map in place."""

    def update(self, x: Tensor) -> None:
        """Turn `x` (B, h, w, C) into what `forward` gives for it."""
        assert isinstance(self.attn, FastAttention), "optimize swaps all modules of a model"
        x += self.attn.on_map(self.norm1(x), windowed=bool(self.window))
        for tokens in torch.split(x.view(-1, x.shape[-1]), _TOKENS_AT_ONCE):
            tokens += linear(linear(self.norm2(tokens), self.mlp.lin1, act="gelu"), self.mlp.lin2)


def refine(neck: nn.Sequential, x: Tensor) -> Tensor:
    """The neck of the encoders on channels-last (B, C, h, w): two convolutions, each with its norm."""
    narrow, norm1, conv, norm2 = neck
    assert isinstance(narrow, nn.Conv2d) and isinstance(conv, nn.Conv2d)
    return norm2(convolve(norm1(convolve(x, narrow)), conv))


class FastViTEncoder(ViTEncoder):
    """`ViTEncoder` whose patches are rows of one product and whose blocks work in place."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        if not on_cpu_without_grad(x):
            return super().forward(x)
        patches = torch.unflatten(torch.unflatten(x, 3, (-1, PATCH)), 2, (-1, PATCH))
        patches = patches.permute(0, 2, 4, 1, 3, 5)  # (B, h, w, 3, PATCH, PATCH)
        kernel = self.patch_embed.proj
        x = linear(patches.flatten(3), kernel.weight.flatten(1), kernel.bias) + self.pos_embed  # (B, h, w, C)
        for block in self.blocks:
            assert isinstance(block, FastBlock), "optimize swaps all modules of a model"
            block.update(x)
        return (refine(self.neck, x.permute(0, 3, 1, 2)),)
