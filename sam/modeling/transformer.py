"""The two-way transformer of the mask decoder: prompts and image attend to each other.

Segment Anything, appendix A "Lightweight mask decoder": https://arxiv.org/abs/2304.02643
Parameter names are those of the official checkpoints.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .layers import Layers


class Attention(nn.Module):
    """Multi-head attention whose inner width is `dim // downsample`."""

    def __init__(self, dim: int, heads: int, *, downsample: int = 1) -> None:
        super().__init__()
        inner = dim // downsample
        if inner % heads:
            raise ValueError(f"{heads} heads do not divide the inner width {inner}")
        self.heads = heads
        self.q_proj = nn.Linear(dim, inner)
        self.k_proj = nn.Linear(dim, inner)
        self.v_proj = nn.Linear(dim, inner)
        self.out_proj = nn.Linear(inner, dim)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(B, Nq, dim) from queries (B, Nq, dim), keys and values (B, Nk, dim).

        A side of batch 1 (the image, before any prompt has changed it) serves the whole batch uncopied.
        """
        q, k, v = self.q_proj(q), self.k_proj(k), self.v_proj(v)
        q, k, v = (torch.unflatten(t, 2, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))  # (B, heads, N, d)
        if q.shape[0] != k.shape[0]:
            batch = max(q.shape[0], k.shape[0])
            q, k, v = (t.expand(batch, -1, -1, -1) for t in (q, k, v))
        out = F.scaled_dot_product_attention(q, k, v)
        return self.out_proj(out.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Two linear layers with ReLU."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(dim, hidden)
        self.lin2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.lin2(F.relu(self.lin1(x)))


class TwoWayBlock(nn.Module):
    """Self-attention of the tokens, tokens to image, feed-forward, image to tokens."""

    def __init__(self, dim: int, heads: int, hidden: int, *, downsample: int, is_first: bool) -> None:
        super().__init__()
        self.self_attn = Attention(dim, heads)
        self.norm1 = nn.LayerNorm(dim)
        self.cross_attn_token_to_image = Attention(dim, heads, downsample=downsample)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = FeedForward(dim, hidden)
        self.norm3 = nn.LayerNorm(dim)
        self.norm4 = nn.LayerNorm(dim)
        self.cross_attn_image_to_token = Attention(dim, heads, downsample=downsample)
        self.is_first = is_first

    def forward(self, tokens: Tensor, image: Tensor, token_pe: Tensor, image_pe: Tensor) -> tuple[Tensor, Tensor]:
        if self.is_first:  # the tokens are their own positions here, so nothing is added
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            q = tokens + token_pe
            tokens = tokens + self.self_attn(q, q, tokens)
        tokens = self.norm1(tokens)
        keys = image + image_pe
        tokens = self.norm2(tokens + self.cross_attn_token_to_image(tokens + token_pe, keys, image))
        tokens = self.norm3(tokens + self.mlp(tokens))
        image = self.norm4(image + self.cross_attn_image_to_token(keys, tokens + token_pe, tokens))
        return tokens, image


class TwoWayTransformer(nn.Module):
    """Tokens and image embedding after `depth` two-way blocks and a last look at the image."""

    def __init__(self, *, depth: int, dim: int, heads: int, hidden: int, downsample: int = 2) -> None:
        super().__init__()
        self.layers = Layers(
            TwoWayBlock(dim, heads, hidden, downsample=downsample, is_first=i == 0) for i in range(depth)
        )
        self.final_attn_token_to_image = Attention(dim, heads, downsample=downsample)
        self.norm_final_attn = nn.LayerNorm(dim)

    def forward(self, image: Tensor, image_pe: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, N, D) and image (B, h*w, D) after they have attended to each other.

        Args:
            image: (1 or B, D, h, w), the image embedding with the mask prompts added.
            image_pe: (1, D, h, w), the position of each of its cells.
            tokens: (B, N, D), output tokens and those of the prompts; they are their own positions.
        """
        image = image.flatten(2).transpose(1, 2)  # (B, h*w, D)
        image_pe = image_pe.flatten(2).transpose(1, 2)
        token_pe = tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, token_pe, image_pe)
        attended = self.final_attn_token_to_image(tokens + token_pe, image + image_pe, image)
        return self.norm_final_attn(tokens + attended), image
