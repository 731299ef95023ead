"""Bilinear taps: the two resizes that enlarge low-res logits, axis by axis, and which pixel lies between which samples.

`exact_logits` is single pixels of `transforms.to_original`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np

# Up to this height plus width torch takes another kernel, which rounds otherwise.
_SMALL = 128


@dataclass(frozen=True)
class Frame:
    """Where an image lies in the square that its logits are of; sizes are (height, width)."""

    low: tuple[int, int]  # of the low-res logits
    side: int  # of the padded square
    input_size: tuple[int, int]  # of the image inside the square
    size: tuple[int, int]  # of the image


@dataclass(frozen=True)
class Taps:
    """One axis of a bilinear resize as torch computes it: two taps and their weights for each output."""

    i0: np.ndarray
    i1: np.ndarray
    w0: np.ndarray
    w1: np.ndarray


@lru_cache(maxsize=64)
def bilinear_taps(inputs: int, outputs: int, fused: bool = False) -> Taps:
    """Taps of `F.interpolate(mode="bilinear")` along one axis; `fused` as its kernel for small outputs."""
    scale, one = np.float32(inputs) / np.float32(outputs), np.float32(1)
    centre = np.arange(outputs, dtype=np.float32) + np.float32(0.5)
    if fused or _always_fused():
        source = (centre.astype(np.float64) * float(scale) - 0.5).astype(np.float32)
    else:
        source = centre * scale - np.float32(0.5)
    source = np.maximum(source, np.float32(0))
    i0 = np.minimum(source.astype(np.int64), inputs - 1)
    w1 = np.clip(source - i0.astype(np.float32), np.float32(0), one)
    return Taps(i0, np.minimum(i0 + 1, inputs - 1), one - w1, w1)


@cache
def _always_fused() -> bool:
    """Whether this build of torch rounds every place once, as some do, and not only those of small outputs."""
    import torch

    odd = (torch.arange(1024.0) % 2).view(1, 1, 1, -1)  # each output is the weight of its odd tap
    found = torch.nn.functional.interpolate(odd, (1, 403), mode="bilinear", align_corners=False)[..., 50]
    scale = np.float32(1024) / np.float32(403)
    rounded_once = np.float32(50.5 * float(scale) - 0.5)  # 127.81762; rounded twice it is 127.81761
    return float(found) == 128.0 - float(rounded_once)


@dataclass(frozen=True)
class AxisTables:
    """Tables of one axis: low-res samples -> samples of the square, in blocks of `ratio` -> pixels.

    Block u holds the `ratio` samples between low-res samples u - 1 and u, and sample `ratio` is the first
    of block u + 1; table index ratio * u + t stands for sample `ratio * u + t - before` of the square.
    """

    ratio: int  # samples of the square for one low-res sample
    before: int  # places in the first block that lie outside the square
    blocks: int  # number of blocks
    low: np.ndarray  # (3, blocks): low-res samples u - 1, u, u + 1, clamped
    fraction: np.ndarray  # (ratio,) float32: where samples lie between low-res samples
    valid: np.ndarray  # (blocks * ratio,) whether there is such a sample
    more: np.ndarray  # whether there is a next one
    first: np.ndarray  # first pixel whose first tap it is
    count: np.ndarray  # number of such pixels
    start: np.ndarray  # float32: where its first pixel would lie between it and the next, unclamped
    step: float  # samples a pixel
    max_rounding_error: float  # largest error of a pixel's place in torch's float32
    taps: Taps


@lru_cache(maxsize=64)
def axis_tables(low: int, side: int, inside: int, outputs: int) -> AxisTables:
    """The tables of one axis; `side` must be a multiple of `low`."""
    ratio = side // low
    assert ratio * low == side
    before = (ratio + 1) // 2
    blocks = -(-(inside + before) // ratio)
    block = np.arange(blocks)
    fraction = (np.arange(ratio) + 0.5 - before) / ratio + 0.5
    sample = np.arange(blocks * ratio) - before
    valid = (sample >= 0) & (sample < inside)
    taps = bilinear_taps(inside, outputs)
    ends = np.searchsorted(taps.i0, np.stack([sample, sample + 1]))
    step = inside / outputs
    ideal = np.maximum((np.arange(outputs) + 0.5) * step - 0.5, 0)
    last = taps.i0 == inside - 1  # between it and itself: its place there says nothing
    max_rounding_error = float(np.abs(ideal - (taps.i0 + taps.w1.astype(np.float64)))[~last].max(initial=0.0))
    return AxisTables(
        ratio=ratio,
        before=before,
        blocks=blocks,
        low=np.clip(np.stack([block - 1, block, block + 1]), 0, low - 1),
        fraction=fraction.astype(np.float32),
        valid=valid,
        more=sample < inside - 1,
        first=ends[0],
        count=(ends[1] - ends[0]) * valid,
        start=((ends[0] + 0.5) * step - 0.5 - sample).astype(np.float32),
        step=step,
        max_rounding_error=max_rounding_error + 1e-6,
        taps=taps,
    )


def exact_logits(logits: np.ndarray, frame: Frame, mask: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """(n,) float32: the values of `transforms.to_original` at pixels (x, y), bit for bit where torch fuses as on x86.

    Elsewhere the last bits may differ.
    """
    small_square, small = 2 * frame.side <= _SMALL, sum(frame.size) <= _SMALL
    down, across = (bilinear_taps(low, frame.side, small_square) for low in frame.low)
    rows = bilinear_taps(frame.input_size[0], frame.size[0], small)
    columns = bilinear_taps(frame.input_size[1], frame.size[1], small)

    def square(i: np.ndarray, j: np.ndarray) -> np.ndarray:
        i0, i1, j0, j1 = down.i0[i], down.i1[i], across.i0[j], across.i1[j]
        corners = (logits[mask, i0, j0], logits[mask, i0, j1], logits[mask, i1, j0], logits[mask, i1, j1])
        return _bilinear(*corners, down.w0[i], down.w1[i], across.w0[j], across.w1[j], small_square)

    i0, i1, j0, j1 = rows.i0[y], rows.i1[y], columns.i0[x], columns.i1[x]
    corners = (square(i0, j0), square(i0, j1), square(i1, j0), square(i1, j1))
    return _bilinear(*corners, rows.w0[y], rows.w1[y], columns.w0[x], columns.w1[x], small)


def _bilinear(
    a: np.ndarray,
    b: np.ndarray,
    c: np.ndarray,
    d: np.ndarray,
    down0: np.ndarray,
    down1: np.ndarray,
    across0: np.ndarray,
    across1: np.ndarray,
    small: bool,
) -> np.ndarray:
    if small:
        return _fused(d, down1 * across1, _fused(c, down1 * across0, _fused(a, down0 * across0, b * (down0 * across1))))
    return _fused(_fused(a, across0, b * across1), down0, _fused(c, across0, d * across1) * down1)


def _fused(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """a * b + c, rounded once: the product of two float32 is exact in float64."""
    exact: np.ndarray = a.astype(np.float64) * b + c
    return exact.astype(np.float32)
