"""The plain Vision Transformer encoders of Segment Anything: vit_b, vit_l, vit_h.

ViTDet (https://arxiv.org/abs/2203.16527): windowed attention with a few global blocks, and relative
positions decomposed into rows and columns (https://arxiv.org/abs/2112.01526, section 4.1).
Parameter names are those of the official checkpoints, https://github.com/facebookresearch/segment-anything
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..modeling.layers import LayerNorm2d, Layers, in_windows
from ..registry import Parts, Variant, standard_parts

PATCH = 16
WINDOW = 14
_BIAS_ELEMENTS = 2**25  # 128 MiB of float32: the most that one slice of attention bias may take


class PatchEmbed(nn.Module):
    """One token for each 16 × 16 patch."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, PATCH, stride=PATCH)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).permute(0, 2, 3, 1)  # (B, h, w, C)


def relative_positions(table: Tensor, size: int) -> Tensor:
    """(size, size, d): the entry of `table` (2 * size - 1, d) for each query and key position."""
    index = torch.arange(size, device=table.device)
    return table[index[:, None] - index[None, :] + size - 1]


def bias_terms(q: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """(B, heads, h, w, size) each from `q` (B, heads, N, d): a query's bias for rows and columns of keys."""
    grid = torch.unflatten(q, 2, (len(rows), len(columns)))
    return torch.einsum("bnhwc,hkc->bnhwk", grid, rows), torch.einsum("bnhwc,wkc->bnhwk", grid, columns)


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
        qkv = torch.unflatten(self.qkv(x).flatten(1, 2), 2, (3, self.heads, -1))  # (B, N, 3, heads, d)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, heads, N, d) each
        tables = self.tables()
        # The bias of a global block is 64 MiB a head (4096 x 4096), so the heads come in slices.
        step = max(1, _BIAS_ELEMENTS // (len(x) * side**4))
        parts = []
        for start in range(0, self.heads, step):
            some = slice(start, start + step)
            by_row, by_column = bias_terms(q[:, some], *tables)
            bias = (by_row[..., :, None] + by_column[..., None, :]).flatten(4, 5).flatten(2, 3)  # (B, some, N, N)
            parts.append(F.scaled_dot_product_attention(q[:, some], k[:, some], v[:, some], attn_mask=bias))
        mixed = torch.cat(parts, dim=1)
        return self.proj(mixed.transpose(1, 2).reshape(x.shape))

    def tables(self) -> tuple[Tensor, Tensor]:
        """(size, size, d): what each row of queries is multiplied by for each row of keys, and the same of columns."""
        return relative_positions(self.rel_pos_h, self.size), relative_positions(self.rel_pos_w, self.size)


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
        self.blocks = Layers(
            Block(dim, heads, window=0 if i in global_blocks else WINDOW, grid=grid) for i in range(depth)
        )
        self.neck = nn.Sequential(
            nn.Conv2d(dim, out_channels, 1, bias=False),
            LayerNorm2d(out_channels),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            LayerNorm2d(out_channels),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """`x` (B, 3, S, S), normalized and padded."""
        x = self.patch_embed(x) + self.pos_embed  # (B, S/16, S/16, C)
        for block in self.blocks:
            x = block(x)
        return (self.neck(x.permute(0, 3, 1, 2)),)  # (B, 256, S/16, S/16)


def _parts(dim: int, depth: int, heads: int, global_blocks: tuple[int, ...]) -> Parts:
    return standard_parts(ViTEncoder(dim=dim, depth=depth, heads=heads, global_blocks=global_blocks))


def _variant(
    name: str,
    dim: int,
    depth: int,
    heads: int,
    global_blocks: tuple[int, ...],
    params: int,
    file: str,
    file_size: int,
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
        "vit_b",
        768,
        12,
        12,
        (2, 5, 8, 11),
        93_735_472,
        "sam_vit_b_01ec64.pth",
        375_042_383,
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
    ),
    _variant(
        "vit_l",
        1024,
        24,
        16,
        (5, 11, 17, 23),
        312_342_832,
        "sam_vit_l_0b3195.pth",
        1_249_524_607,
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
    ),
    _variant(
        "vit_h",
        1280,
        32,
        16,
        (7, 15, 23, 31),
        641_090_608,
        "sam_vit_h_4b8939.pth",
        2_564_550_879,
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
    ),
)
