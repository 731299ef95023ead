"""The mask decoder for many prompts on one image, by the same algebra with fewer operations.

`MaskDecoder.all_masks` is the plain form and says what comes out; here the terms are ordered otherwise:

- Before a prompt has changed the image, its keys, values and queries are those of every prompt: made once.
- An attention of T tokens and a whole image in h heads never projects the image. (x W) . q is x . (W q), and
  weights that sum to 1 give P (x W + b) = (P x) W + b, so T * h columns take the place of the projections' width.
- Transposed convolutions whose stride is their kernel are products of a matrix: channels stay last, and only the
  finished logits are put in the order of pixels.

Segment Anything, appendix A: https://arxiv.org/abs/2304.02643
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..modeling.layers import LayerNorm2d
from ..modeling.mask_decoder import MaskDecoder, good_prompts
from ..modeling.transformer import Attention, TwoWayBlock
from .layers import linear


def in_rows(image: Tensor, dtype: torch.dtype) -> Tensor:
    """(B, cells, D) from (B, D, h, w), contiguous."""
    return image.flatten(2).transpose(1, 2).to(dtype, memory_format=torch.contiguous_format).contiguous()


def in_cells(high_res: Sequence[Tensor], width: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Features (1, c, s, s) from fine to coarse as (cells, 4^k, c) from coarse to fine, one k for each doubling."""
    found = []
    for feature in reversed(high_res):
        x = feature[0].to(dtype)  # (c, s, s)
        scale = x.shape[-1] // width
        rows, columns = x.shape[-2] // scale, x.shape[-1] // scale
        halves = scale.bit_length() - 1
        x = x.reshape(len(x), rows, *[2] * halves, columns, *[2] * halves)
        order = [1, 2 + halves]  # row and column of the cell, then those of each doubling
        for k in range(halves):
            order += [2 + k, 3 + halves + k]
        found.append(x.permute(*order, 0).reshape(rows * columns, 4**halves, len(feature[0])))
    return tuple(found)


@dataclass(frozen=True)
class Shared:
    """One image as the first layer reads it, before any prompt has changed it."""

    cells: Tensor  # (cells, D)
    keys: Tensor  # (heads, d, cells), of the first layer
    values: Tensor  # (heads, cells, d)
    queries: Tensor  # (heads, d, cells)


def precompute(decoder: MaskDecoder, cells: Tensor, pe: Tensor) -> Shared:
    """What the cells (cells, D) of one image at positions `pe` (cells, D) bring to each of its prompts."""
    first = decoder.transformer.layers[0]
    heads = first.cross_attn_token_to_image.heads
    placed = cells + pe
    keys, values, queries = (
        torch.unflatten(linear(x, layer), 1, (heads, -1)).transpose(0, 1).contiguous()
        for x, layer in (
            (placed, first.cross_attn_token_to_image.k_proj),
            (cells, first.cross_attn_token_to_image.v_proj),
            (placed, first.cross_attn_image_to_token.q_proj),
        )
    )
    return Shared(cells, keys.transpose(1, 2), values, queries.transpose(1, 2))


def can_fuse(decoder: nn.Module) -> bool:
    """Whether `decoder` is one that `ImageDecoder` can read: its transformer has two-way blocks only."""
    return isinstance(decoder, MaskDecoder) and all(isinstance(one, TwoWayBlock) for one in decoder.transformer.layers)


class FusedMaskDecoder(MaskDecoder):
    """`MaskDecoder` that can also be put before one image, for as many prompts as there are."""

    def for_image(self, image: Tensor, image_pe: Tensor, high_res: Sequence[Tensor] = ()) -> ImageDecoder:
        """`image` and `image_pe` (1, D, h, w); `high_res` as for `MaskDecoder.forward`."""
        return ImageDecoder(self, image, image_pe, high_res)


class ImageDecoder:
    """The decoder with one image before it: `masks` gives what `MaskDecoder.forward` gives, for many prompts."""

    def __init__(self, decoder: MaskDecoder, image: Tensor, image_pe: Tensor, high_res: Sequence[Tensor] = ()) -> None:
        """`image` and `image_pe` (1, D, h, w); `high_res` as for `MaskDecoder.forward`."""
        self.decoder = decoder
        self.image = image
        self.dtype = decoder.iou_token.weight.dtype
        self.size = (image.shape[-2], image.shape[-1])
        self.pe = in_rows(image_pe, self.dtype)[0]
        self.high_res = in_cells(high_res, self.size[1], self.dtype)
        self.shared: Shared | None = None

    def masks(
        self, sparse: Tensor, dense: Tensor, *, multimask_output: bool, min_predicted_iou: float | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Masks for N prompts, without the poor ones.

        Args:
            sparse: tokens of the prompts (N, T, D).
            dense: maps of the prompts (N or 1, D, h, w); a single map is taken for the same in every call.
            multimask_output: whether each prompt gets three masks, or one.
            min_predicted_iou: where given, logits are made only for prompts with a mask of a higher predicted IoU,
                which is known before them.

        Returns:
            low-res logits (K, C, s, s) and predicted IoU (K, C) of the K prompts that stay, and which stay (N,) bool.
        """
        decoder = self.decoder
        image: Shared | Tensor
        output = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
        tokens = torch.cat([output.expand(len(sparse), -1, -1), sparse.to(self.dtype)], dim=1)
        if len(dense) > 1 or len(sparse) == 1:
            image = in_rows(self.image + dense, self.dtype)
        else:
            if self.shared is None:
                self.shared = precompute(decoder, in_rows(self.image + dense, self.dtype)[0], self.pe)
            image = self.shared
        tokens, cells = self._transformed(tokens, image)
        chosen = slice(1, decoder.mask_count) if multimask_output else slice(0, 1)
        iou = decoder.iou_prediction_head(tokens[:, 0])[:, chosen].float()
        good = good_prompts(iou, min_predicted_iou)
        if not bool(good.all()):
            tokens, cells, iou = tokens[good], cells[good], iou[good]
        heads = range(decoder.mask_count)[chosen]
        weights = torch.stack([decoder.output_hypernetworks_mlps[i](tokens[:, 1 + i]) for i in heads], dim=1)
        logits = weights @ upscaled(decoder, cells, self.high_res).transpose(1, 2)  # (K, C, cells * 4^k)
        return in_pixels(logits, self.size).float(), iou, good

    def _transformed(self, start: Tensor, image: Shared | Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (N, T, D) and cells (N, cells, D) after the transformer."""
        transformer, tokens = self.decoder.transformer, start
        for block in transformer.layers:
            if block.is_first:
                tokens = block.norm1(block.self_attn(tokens, tokens, tokens))
            else:
                query = tokens + start
                tokens = block.norm1(tokens + block.self_attn(query, query, tokens))
            to_image, to_tokens = block.cross_attn_token_to_image, block.cross_attn_image_to_token
            if isinstance(image, Shared):
                tokens = block.norm2(tokens + _attend_shared(to_image, tokens + start, image))
                tokens = block.norm3(tokens + block.mlp(tokens))
                weights = _weights_of_shared(to_tokens, tokens + start, image)
                image = image.cells.expand(len(tokens), -1, -1)
            else:
                placed = image + self.pe
                tokens = block.norm2(tokens + _attend(to_image, tokens + start, image, placed))
                tokens = block.norm3(tokens + block.mlp(tokens))
                weights = _weights(to_tokens, tokens + start, placed)
            image = block.norm4(torch.baddbmm(image, weights.transpose(1, 2), _folded_values(to_tokens, tokens)))
        assert isinstance(image, Tensor)
        seen = _attend(transformer.final_attn_token_to_image, tokens + start, image, image + self.pe)
        return transformer.norm_final_attn(tokens + seen), image


def _by_heads(x: Tensor, heads: int) -> Tensor:
    """(N, heads, T, d) from (N, T, heads * d)."""
    return torch.unflatten(x, 2, (heads, -1)).transpose(1, 2)


def _heads_first(x: Tensor, heads: int) -> Tensor:
    """(heads, N * T, d) from (N, T, heads * d): where the image is one, all tokens are its batch."""
    return torch.unflatten(x.flatten(0, 1), 1, (heads, -1)).transpose(0, 1)


def _attend_shared(attention: Attention, query: Tensor, image: Shared) -> Tensor:
    """Token-to-image attention of tokens (N, T, D) where no prompt has changed the image."""
    q = _heads_first(attention.q_proj(query), attention.heads)
    seen = torch.softmax(q * q.shape[-1] ** -0.5 @ image.keys, dim=-1) @ image.values  # (heads, N * T, d)
    mixed: Tensor = attention.out_proj(torch.unflatten(seen.transpose(0, 1).flatten(1), 0, query.shape[:2]))
    return mixed


def _attend(attention: Attention, query: Tensor, cells: Tensor, placed: Tensor) -> Tensor:
    """Token-to-image attention of tokens (N, T, D) to images (N, cells, D) of their own.

    `placed` is the images with the positions added.


    The keys' bias adds the same to all scores of a token, so it changes nothing.
    """
    heads = attention.heads
    q = _by_heads(attention.q_proj(query), heads)  # (N, heads, T, d)
    q = (q * q.shape[-1] ** -0.5 @ torch.unflatten(attention.k_proj.weight, 0, (heads, -1))).flatten(1, 2)
    seen = torch.softmax(q @ placed.transpose(1, 2), dim=-1) @ cells  # (N, heads * T, D)
    value = attention.v_proj
    narrow = torch.unflatten(value.weight, 0, (heads, -1)).transpose(1, 2)  # (heads, D, d)
    seen = torch.unflatten(seen, 1, (heads, -1)) @ narrow  # (N, heads, T, d)
    mixed: Tensor = attention.out_proj(seen.transpose(1, 2).flatten(2) + value.bias)
    return mixed


def _weights_of_shared(attention: Attention, key: Tensor, image: Shared) -> Tensor:
    """Image-to-token attention weights where all prompts see one image: (N, heads * T, cells) from (N, T, D)."""
    k = _heads_first(attention.k_proj(key), attention.heads)
    scores = torch.unflatten(k * k.shape[-1] ** -0.5 @ image.queries, 1, key.shape[:2])  # (heads, N, T, cells)
    return torch.softmax(scores, dim=2).transpose(0, 1).flatten(1, 2)


def _weights(attention: Attention, key: Tensor, placed: Tensor) -> Tensor:
    """The same for images (N, cells, D) of their own."""
    heads, query = attention.heads, attention.q_proj
    k = _by_heads(attention.k_proj(key), heads)  # (N, heads, T, d)
    k = k * k.shape[-1] ** -0.5
    offset = (k @ torch.unflatten(query.bias, 0, (heads, -1))[:, :, None]).flatten(1, 2)  # (N, heads * T, 1)
    k = (k @ torch.unflatten(query.weight, 0, (heads, -1))).flatten(1, 2)
    scores = torch.baddbmm(offset, k, placed.transpose(1, 2))
    return torch.softmax(torch.unflatten(scores, 1, (heads, -1)), dim=2).flatten(1, 2)


def _folded_values(attention: Attention, value: Tensor) -> Tensor:
    """Per-head values of the tokens with `out_proj` folded in: (N, heads * T, D) from (N, T, D)."""
    heads, out = attention.heads, attention.out_proj
    v = _by_heads(attention.v_proj(value), heads) @ torch.unflatten(out.weight.t(), 0, (heads, -1))  # (N, heads, T, D)
    return (v + out.bias / heads).flatten(1, 2)  # the weights of each head sum to 1, so the bias comes out whole


def upscaled(decoder: MaskDecoder, cells: Tensor, high_res: Sequence[Tensor]) -> Tensor:
    """(N, cells * 4^k, c) after k doublings; the pixels of a cell lie one after another."""
    x, stage = cells, 0
    layers = list(decoder.output_upscaling)
    while layers:
        doubling, *rest = layers
        assert isinstance(doubling, nn.ConvTranspose2d)
        weight = doubling.weight.permute(2, 3, 1, 0).flatten(0, 2)  # (4 * out, in)
        bias = None if doubling.bias is None else doubling.bias.repeat(4)
        norm = rest[0] if rest and isinstance(rest[0], LayerNorm2d) else None
        plain = norm is not None or len(high_res) > 0
        x = linear(x, weight, bias, act="none" if plain else "gelu")
        x = torch.unflatten(x, 2, (4, -1)).flatten(1, 2)  # (N, cells * 4, out)
        if high_res:
            x += high_res[stage].flatten(0, 1)
        if norm is not None:
            x = F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps)
        if plain:
            x = F.gelu(x)
        layers = rest[1 if norm is None else 2 :]
        stage += 1
    return x


def in_pixels(x: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, C, H, W) from (N, C, cells * 4^k), whose pixels are in the order of `upscaled`."""
    height, width = size
    halves = ((x.shape[-1] // (height * width)).bit_length() - 1) // 2
    x = torch.unflatten(x, 2, (height, width, *[2] * (2 * halves)))
    rows, columns = [4 + 2 * k for k in range(halves)], [5 + 2 * k for k in range(halves)]
    x = x.permute(0, 1, 2, *rows, 3, *columns)
    return x.reshape(*x.shape[:2], height << halves, width << halves)
