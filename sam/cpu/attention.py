"""Attention on a CPU: explicit matmuls instead of a fused kernel; window attention that skips padded tokens."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]

SCORES_AT_ONCE = 2**21  # 8 MiB of float32: of some queries with all keys, or of some rows of windows
_LEAST_SUM, _MOST_SUM = 1e-30, 1e30  # of exponentials: well inside the range of bfloat16, which is float32's


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None, *, scale: float) -> Tensor:
    """Attention (B, heads, N, d) with `bias` (B, heads, N, N), which it writes over.

    Plain products: in windows they are as fast as torch's fused kernel or faster, in bfloat16 twice as fast.
    """
    queries, keys, values = (x.flatten(0, 1) for x in (q, k, v))
    scores = q.new_empty(len(queries), q.shape[2], k.shape[2]) if bias is None else bias.flatten(0, 1)
    scores.baddbmm_(queries, keys.transpose(1, 2), beta=0 if bias is None else 1, alpha=scale)
    return torch.unflatten(softmax_matmul(scores, values), 0, q.shape[:2])


def softmax_matmul(scores: Tensor, values: Tensor) -> Tensor:
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


def attend_in_windows(each: Attend, qkv: Tensor, fill: Tensor, window: int, *, room: int = 0) -> Tensor:
    """(B, h, w, heads, d) from `qkv` (B, h, w, 3, heads, d), some rows of windows at a time.

    `each` takes queries, keys and values (windows, heads, window * window, d + room), of whose last columns it knows
    what belongs there; cells beyond the map have `fill` (3, heads, d), which is the same for all of them.
    """
    width, heads, d = qkv.shape[2], *qkv.shape[4:]
    across = -(-width // window)
    step = window * max(1, SCORES_AT_ONCE // (across * heads * window**4))  # rows of cells
    out = torch.empty_like(qkv[:, :, :, 0], memory_format=torch.contiguous_format)
    for image, mixed in zip(qkv, out, strict=True):
        for cells, into in zip(torch.split(image, step), torch.split(mixed, step), strict=True):
            height = len(cells)
            down = -(-height // window)
            tiles = qkv.new_empty(3, down, across, heads, window, window, d + room)
            places = tiles[..., :d].permute(1, 4, 2, 5, 0, 3, 6)  # (down, window, across, window, 3, heads, d)
            places[-1, height % window or window :] = fill
            places[:, :, -1, width % window or window :] = fill
            spans = product(_spans(height, window), _spans(width, window))
            regions = [((rows, columns), (*y, *x)) for (rows, *y), (columns, *x) in spans]
            for region, place in regions:
                places[place] = _as_windows(cells[region], window)
            seen = torch.unflatten(each(*tiles.flatten(1, 2).flatten(3, 4)), 2, (window, window))
            seen = torch.unflatten(seen, 0, (down, across)).permute(
                0, 3, 1, 4, 2, 5
            )  # (down, window, across, window, heads, d)
            for region, place in regions:
                _as_windows(into[region], window).copy_(seen[place])
    return out


def _as_windows(cells: Tensor, window: int) -> Tensor:
    """(down, y, across, x, ...) from (h, w, ...): sides are of whole windows, or of a part of one."""
    height, width = cells.shape[:2]
    by_column = torch.unflatten(cells, 1, (-1, min(window, width)))
    return torch.unflatten(by_column, 0, (-1, min(window, height)))


def _spans(side: int, window: int) -> list[tuple[slice, slice, slice]]:
    """Of the whole windows of a side, and of a begun one: which cells, in which windows, at which places there."""
    whole, rest = divmod(side, window)
    spans = [(slice(0, side - rest), slice(0, whole), slice(0, window))]
    begun = [(slice(side - rest, side), slice(whole, whole + 1), slice(0, rest))]
    return (spans if whole else []) + (begun if rest else [])
