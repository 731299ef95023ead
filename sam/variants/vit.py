"""The plain Vision Transformer encoders of Segment Anything: vit_b, vit_l, vit_h.

ViTDet (https://arxiv.org/abs/2203.16527): windowed attention with a few global blocks, and relative
positions decomposed into rows and columns (https://arxiv.org/abs/2112.01526, section 4.1).
Parameter names are those of the official checkpoints, https://github.com/facebookresearch/segment-anything
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers import LayerNorm2d, convolve, linear, on_cpu_without_grad
from ..registry import Parts, Variant, standard_parts

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]

PATCH = 16
WINDOW = 14
_TOKENS_AT_ONCE = 2048  # of the hidden layer between two products
_SCORES_AT_ONCE = 2**21  # 8 MiB of float32: of some queries with all keys, or of some rows of windows
_LEAST_SUM, _MOST_SUM = 1e-30, 1e30  # of exponentials: well inside the range of bfloat16, which is float32's
_BIAS_ELEMENTS = 2**25  # 128 MiB of float32: the most that one slice of attention bias may take


class PatchEmbed(nn.Module):
    """One token for each 16 × 16 patch."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, PATCH, stride=PATCH)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).permute(0, 2, 3, 1)  # (B, h, w, C)


def _relative(table: Tensor, size: int) -> Tensor:
    """(size, size, d): the entry of `table` (2 * size - 1, d) for each query and key position."""
    index = torch.arange(size, device=table.device)
    return table[index[:, None] - index[None, :] + size - 1]


class Attention(nn.Module):
    """Multi-head attention over a square map of `size`, biased by relative positions."""

    def __init__(self, dim: int, heads: int, size: int) -> None:
        super().__init__()
        self.heads = heads
        self.size = size
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * size - 1, dim // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * size - 1, dim // heads))

    def forward(self, x: Tensor) -> Tensor:
        """(B, size, size, C) from (B, size, size, C)."""
        side = self.size
        qkv = self.qkv(x).flatten(1, 2).unflatten(2, (3, self.heads, -1))  # (B, N, 3, heads, d)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, heads, N, d) each
        rows, columns = _relative(self.rel_pos_h, side), _relative(self.rel_pos_w, side)
        # The bias of a global block is 64 MiB a head (4096 x 4096), so the heads come in slices.
        step = max(1, _BIAS_ELEMENTS // (len(x) * side**4))
        parts = []
        for start in range(0, self.heads, step):
            some = slice(start, start + step)
            bias = self._bias(q[:, some], rows, columns)
            parts.append(F.scaled_dot_product_attention(q[:, some], k[:, some], v[:, some], attn_mask=bias))
        mixed = torch.cat(parts, dim=1)
        return self.proj(mixed.transpose(1, 2).reshape(x.shape))

    def on_cpu(self, x: Tensor, *, windowed: bool) -> Tensor:
        """(B, h, w, C) from (B, h, w, C): the same in pieces that stay in cache; what fills windows is not computed."""
        d = x.shape[-1] // self.heads
        qkv = linear(x, self.qkv).unflatten(3, (3, self.heads, d))
        if windowed:
            fill = self.qkv.bias.view(3, self.heads, d)  # what the plain form makes of zeros
            mixed = attend_in_windows(self._attend, qkv, fill, self.size)
        else:
            q, k, v = qkv.flatten(1, 2).permute(2, 0, 3, 1, 4).contiguous()  # (B, heads, N, d) each
            out = [self._attend_rows(*one) for one in zip(q, k, v)]  # (N, heads, d) each
            mixed = torch.stack(out).unflatten(1, x.shape[1:3])
        return linear(mixed.flatten(3), self.proj)

    def _offsets(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """The two terms of `_bias` (B, heads, h, w, size): for each row of keys, and for each column."""
        grid = q.unflatten(2, (self.size, self.size))
        rows, columns = _relative(self.rel_pos_h, self.size), _relative(self.rel_pos_w, self.size)
        return torch.einsum("bnhwc,hkc->bnhwk", grid, rows), torch.einsum("bnhwc,wkc->bnhwk", grid, columns)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        by_row, by_column = self._offsets(q)
        return attend(q, k, v, (by_row[..., :, None] + by_column[..., None, :]).flatten(4, 5).flatten(2, 3))

    def _attend_rows(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(N, heads, d) from (heads, N, d): some rows of queries of one head at a time, so that scores stay in cache."""
        side, (heads, count, d) = self.size, q.shape
        by_row, by_column = (x[0] for x in self._offsets(q[None]))  # (heads, h, w, size)
        out = q.new_empty(count, heads, d)
        step = max(1, _SCORES_AT_ONCE // side**3)
        scores = q.new_empty(1, step, side, side, side)
        k = k.transpose(1, 2)
        if q.dtype != torch.float32:
            k = k.contiguous()
        for head in range(heads):
            one = slice(head, head + 1)
            for top in range(0, side, step):
                some = slice(top, min(side, top + step))
                part, where = scores[:, : some.stop - top], slice(top * side, some.stop * side)
                torch.add(by_row[one, some, :, :, None], by_column[one, some, :, None, :], out=part)
                bias = part.view(1, -1, count)
                if q.dtype == torch.float32:
                    seen = F.scaled_dot_product_attention(
                        q[None, one, where], k.transpose(1, 2)[None, one], v[None, one], attn_mask=bias[None]
                    )[0, 0]
                else:  # torch's fused kernel multiplies bfloat16 at half the rate of a plain product
                    torch.baddbmm(bias, q[one, where], k[one], alpha=d**-0.5, out=bias)
                    seen = soft_mean(bias, v[one])[0]
                out[where, head] = seen
        return out

    def _bias(self, q: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """(B, heads, N, N): q · row offset + q · column offset."""
        side = self.size
        grid = q.unflatten(2, (side, side))  # (B, heads, h, w, d)
        by_row = torch.einsum("bnhwc,hkc->bnhwk", grid, rows)
        by_column = torch.einsum("bnhwc,wkc->bnhwk", grid, columns)
        return (by_row[..., :, None] + by_column[..., None, :]).flatten(4, 5).flatten(2, 3)


class FeedForward(nn.Module):
    """Two linear layers with GELU."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(dim, 4 * dim)
        self.lin2 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.lin2(F.gelu(self.lin1(x)))


class Block(nn.Module):
    """A pre-norm transformer block; `window` 0 means that every token sees every other."""

    def __init__(self, dim: int, heads: int, *, window: int, grid: int) -> None:
        super().__init__()
        self.window = window
        norm = partial(nn.LayerNorm, eps=1e-6)
        self.norm1 = norm(dim)
        self.attn = Attention(dim, heads, window or grid)
        self.norm2 = norm(dim)
        self.mlp = FeedForward(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, h, w, C) from (B, h, w, C)."""
        normal = self.norm1(x)
        x = x + (in_windows(self.attn, normal, self.window) if self.window else self.attn(normal))
        return x + self.mlp(self.norm2(x))

    def on_cpu(self, x: Tensor) -> Tensor:
        """The same, written into `x`."""
        x += self.attn.on_cpu(self.norm1(x), windowed=bool(self.window))
        for tokens in x.view(-1, x.shape[-1]).split(_TOKENS_AT_ONCE):
            tokens += linear(linear(self.norm2(tokens), self.mlp.lin1, act="gelu"), self.mlp.lin2)
        return x


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """Attention (B, heads, N, d) with `bias` (B, heads, N, N), which it writes over.

    Plain products: in windows they are as fast as torch's fused kernel or faster, in bfloat16 twice as fast.
    """
    scores, queries, keys, values = (x.flatten(0, 1) for x in (bias, q, k, v))
    scores.baddbmm_(queries, keys.transpose(1, 2), alpha=q.shape[-1] ** -0.5)
    return soft_mean(scores, values).unflatten(0, q.shape[:2])


def soft_mean(scores: Tensor, values: Tensor) -> Tensor:
    """softmax(scores) @ values, of (B, N, M) and (B, M, d).

    In bfloat16, torch's softmax takes as long as the products around it. The maximum that it subtracts from each row
    keeps exponentials in the type's range; nearly all are there without it, and where a row's sum shows that they are
    not, softmax does the work again.
    """
    if scores.dtype == torch.bfloat16:
        weights = scores.exp()
        sums = weights.sum(-1, keepdim=True)
        least, most = sums.aminmax()
        if least > _LEAST_SUM and most < _MOST_SUM:
            return (weights @ values).div_(sums)
    return torch.softmax(scores, dim=-1) @ values


def refine(neck: nn.Sequential, x: Tensor) -> Tensor:
    """The neck of the encoders on channels-last (B, C, h, w): two convolutions, each with its norm."""
    narrow, norm1, conv, norm2 = neck
    return norm2(convolve(norm1(convolve(x, narrow)), conv))


def attend_in_windows(each: Attend, qkv: Tensor, fill: Tensor, window: int) -> Tensor:
    """(B, h, w, heads, d) from `qkv` (B, h, w, 3, heads, d), some rows of windows at a time.

    `each` takes queries, keys and values (windows, heads, window * window, d); cells beyond the map have `fill`
    (3, heads, d), which is the same for all of them.
    """
    width, heads, d = qkv.shape[2], *qkv.shape[4:]
    across = -(-width // window)
    step = window * max(1, _SCORES_AT_ONCE // (across * heads * window**4))  # rows of cells
    out = torch.empty_like(qkv[:, :, :, 0], memory_format=torch.contiguous_format)
    for image, mixed in zip(qkv, out):
        for cells, into in zip(image.split(step), mixed.split(step)):
            height = len(cells)
            down = -(-height // window)
            tiles = qkv.new_empty(3, down, across, heads, window, window, d)
            places = tiles.permute(1, 4, 2, 5, 0, 3, 6)  # (down, window, across, window, 3, heads, d)
            places[-1, height % window or window :] = fill
            places[:, :, -1, width % window or window :] = fill
            spans = product(_spans(height, window), _spans(width, window))
            regions = [((rows, columns), (*y, *x)) for (rows, *y), (columns, *x) in spans]
            for region, place in regions:
                places[place] = _as_windows(cells[region], window)
            seen = each(*tiles.flatten(1, 2).flatten(3, 4)).unflatten(2, (window, window)).unflatten(0, (down, across))
            seen = seen.permute(0, 3, 1, 4, 2, 5)  # (down, window, across, window, heads, d)
            for region, place in regions:
                _as_windows(into[region], window).copy_(seen[place])
    return out


def _as_windows(cells: Tensor, window: int) -> Tensor:
    """(down, y, across, x, ...) from (h, w, ...): sides are of whole windows, or of a part of one."""
    height, width = cells.shape[:2]
    return cells.unflatten(1, (-1, min(window, width))).unflatten(0, (-1, min(window, height)))


def _spans(side: int, window: int) -> list[tuple[slice, slice, slice]]:
    """Of the whole windows of a side, and of a begun one: which cells, in which windows, at which places there."""
    whole, rest = divmod(side, window)
    spans = [(slice(0, side - rest), slice(0, whole), slice(0, window))]
    begun = [(slice(side - rest, side), slice(whole, whole + 1), slice(0, rest))]
    return (spans if whole else []) + (begun if rest else [])


def in_windows(layer: nn.Module, x: Tensor, window: int) -> Tensor:
    """`layer` on each window of `x` (B, h, w, C), zeros filling the last row and column of windows."""
    batch, height, width, channels = x.shape
    down, right = -height % window, -width % window
    x = F.pad(x, (0, 0, 0, right, 0, down))
    rows, columns = (height + down) // window, (width + right) // window
    x = x.reshape(batch, rows, window, columns, window, channels).transpose(2, 3)
    x = layer(x.reshape(-1, window, window, channels))
    x = x.reshape(batch, rows, columns, window, window, channels).transpose(2, 3)
    return x.reshape(batch, height + down, width + right, channels)[:, :height, :width]


class ViTEncoder(nn.Module):
    """The image embedding (B, 256, S/16, S/16) of a (B, 3, S, S) image."""

    def __init__(
        self,
        *,
        dim: int,
        depth: int,
        heads: int,
        global_blocks: tuple[int, ...],
        image_size: int = 1024,
        out_channels: int = 256,
    ) -> None:
        super().__init__()
        grid = image_size // PATCH
        self.img_size = image_size
        self.patch_embed = PatchEmbed(dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, grid, grid, dim))
        self.blocks = nn.ModuleList(
            Block(dim, heads, window=0 if i in global_blocks else WINDOW, grid=grid) for i in range(depth)
        )
        self.neck = nn.Sequential(
            nn.Conv2d(dim, out_channels, 1, bias=False),
            LayerNorm2d(out_channels),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            LayerNorm2d(out_channels),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        if on_cpu_without_grad(x):
            return (self._on_cpu(x),)
        x = self.patch_embed(x) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return (self.neck(x.permute(0, 3, 1, 2)),)

    def _on_cpu(self, x: Tensor) -> Tensor:
        patches = x.unflatten(3, (-1, PATCH)).unflatten(2, (-1, PATCH)).permute(0, 2, 4, 1, 3, 5)  # (B, h, w, 3, ..)
        kernel = self.patch_embed.proj
        x = linear(patches.flatten(3), kernel.weight.flatten(1), kernel.bias) + self.pos_embed
        for block in self.blocks:
            x = block.on_cpu(x)
        return refine(self.neck, x.permute(0, 3, 1, 2))


def _parts(dim: int, depth: int, heads: int, global_blocks: tuple[int, ...]) -> Parts:
    return standard_parts(ViTEncoder(dim=dim, depth=depth, heads=heads, global_blocks=global_blocks))


def _variant(
    name: str, dim: int, depth: int, heads: int, global_blocks: tuple[int, ...], params: int, file: str, file_size: int,
    sha256: str,
) -> Variant:
    return Variant(
        name=name,
        family="vit",
        build=partial(_parts, dim, depth, heads, global_blocks),
        params=params,
        url=f"https://dl.fbaipublicfiles.com/segment_anything/{file}",
        sha256=sha256,
        file_size=file_size,
        licence="Apache-2.0",
    )


VARIANTS = (
    _variant(
        "vit_b", 768, 12, 12, (2, 5, 8, 11), 93_735_472, "sam_vit_b_01ec64.pth", 375_042_383,
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
    ),
    _variant(
        "vit_l", 1024, 24, 16, (5, 11, 17, 23), 312_342_832, "sam_vit_l_0b3195.pth", 1_249_524_607,
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
    ),
    _variant(
        "vit_h", 1280, 32, 16, (7, 15, 23, 31), 641_090_608, "sam_vit_h_4b8939.pth", 2_564_550_879,
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
    ),
)  # fmt: skip
