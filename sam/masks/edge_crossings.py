"""Where the edges of masks cross an image's columns, from low-res logits and without making a pixel of it.

A mask is the low-res logits enlarged twice, bilinearly (`transforms.to_original`), and cut at a threshold.
Values between values of one sign have that sign, so only cells of the low-res grid whose corners differ are
looked into, then only cells of the padded square whose corners differ, and there the edge crosses a column
of the image at the root of a line. Work and memory follow the length of the edges, not the image.

The arithmetic is float32 with a known error; what lies closer to the threshold than that error is
decided by the very operations of torch's two resizes, one pixel at a time (`exact`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .bilinear import Axis, Frame, axis, exact

_MASKS_AT_ONCE = 8
_UNITS_AT_ONCE = 2**12  # low-res cells looked into at one time: their samples stay in a processor's cache
_ROUNDING = 2.0**-20  # error of a logit, relative to the largest around it: some ten roundings of 2**-24
_HUGE = 1e4


@dataclass(frozen=True)
class Crossings:
    """Pixels at which `count` masks begin or end, read column by column; unordered, and pairs may cancel out."""

    count: int
    mask: np.ndarray  # (n,) int64, which mask
    position: np.ndarray  # (n,) int64, column * height + row; height * width where the image ends
    sign: np.ndarray  # (n,) int8, 1 where the mask begins, -1 where it ends


def crossings(logits: np.ndarray, frame: Frame, thresholds: Sequence[float]) -> Iterator[list[Crossings]]:
    """Crossings of all of (N, h, w) float32 `logits` at each threshold, some masks at a time, in their order."""
    rows, columns = (
        axis(*sizes) for sizes in zip(frame.low, (frame.side,) * 2, frame.input_size, frame.size, strict=True)
    )
    nothing = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int8))
    for start in range(0, len(logits), _MASKS_AT_ONCE):
        some = np.ascontiguousarray(logits[start : start + _MASKS_AT_ONCE])
        with np.errstate(all="ignore"):
            finite = np.isfinite(some.sum())
        if not finite:  # a model gone wrong; its masks must still be masks
            some = np.nan_to_num(some, nan=-_HUGE, posinf=_HUGE, neginf=-_HUGE)
        parts = [[nothing, *_at_the_ends(some, frame, rows, columns, threshold)] for threshold in thresholds]
        found = np.flatnonzero(mixed_units(some, rows, columns, thresholds))
        for at in range(0, len(found), _UNITS_AT_ONCE):
            units = Units.sampled(some, rows, columns, found[at : at + _UNITS_AT_ONCE])
            for part, threshold in zip(parts, thresholds, strict=True):
                part += _in_units(some, frame, rows, columns, threshold, units)
        yield [Crossings(len(some), *(np.concatenate(one) for one in zip(*part, strict=True))) for part in parts]


Part = tuple[np.ndarray, np.ndarray, np.ndarray]


def mixed_units(logits: np.ndarray, rows: Axis, columns: Axis, thresholds: Sequence[float]) -> np.ndarray:
    """(N, rows.units, columns.units) bool: whether values on both sides of some threshold meet in a unit."""
    height, width = logits.shape[1:]
    bottom, right = min(rows.units + 1, height), min(columns.units + 1, width)
    inside = logits[:, :bottom, :right]
    # Weights sum to 1 only up to rounding, so values just above a threshold that is not 0 may mix to one
    # below: such values lie on a level of their own, which is looked into even where nothing else is near.
    # (Bools are added as bytes: cast, they would be three times as slow.)
    levels = np.zeros((len(logits), rows.units + 2, columns.units + 2), dtype=np.uint8)
    within = levels[:, 1 : bottom + 1, 1 : right + 1]
    unsure, level = [], 0
    for threshold in sorted(set(thresholds)):
        margin = abs(threshold) * _ROUNDING
        if margin:
            within += (inside > np.float32(threshold - margin)).view(np.uint8)
            level += 1
            unsure.append(level)
        within += (inside > np.float32(threshold + margin)).view(np.uint8)
        level += 1
    levels[:, 0], levels[:, bottom + 1 :] = levels[:, 1], levels[:, bottom, None]
    levels[:, :, 0], levels[:, :, right + 1 :] = levels[:, :, 1], levels[:, :, right, None]
    lowest, highest = _of_three(np.minimum, levels), _of_three(np.maximum, levels)
    mixed: np.ndarray = lowest != highest
    for level in unsure:
        mixed |= lowest == level
    return mixed


def _of_three(pick: np.ufunc, levels: np.ndarray) -> np.ndarray:
    """The least or most of each 3 x 3 neighbourhood of (N, h + 2, w + 2)."""
    # Across as one long line, which is four times as fast; the last two of each row then mean nothing.
    across, flat = np.empty_like(levels), levels.reshape(-1)
    line = across.reshape(-1)[:-2]
    pick(flat[:-2], flat[1:-1], out=line)
    pick(line, flat[2:], out=line)
    down: np.ndarray = pick(across[:, :-2], across[:, 1:-1])
    pick(down, across[:, 2:], out=down)
    inner: np.ndarray = down[:, :, :-2]
    return inner


@dataclass(frozen=True)
class Units:
    """n units and their samples of the square, each with the first ones of the next units."""

    mask: np.ndarray  # (n,)
    row: np.ndarray  # (n,)
    column: np.ndarray  # (n,)
    samples: np.ndarray  # (ratio + 1, ratio + 1, n) float32
    largest: float  # magnitude of a low-res logit around them

    @classmethod
    def sampled(cls, logits: np.ndarray, rows: Axis, columns: Axis, index: np.ndarray) -> Units:
        """Units by their flat index in (N, rows.units, columns.units)."""
        mask, unit = _divided(index, rows.units * columns.units)
        row, column = _divided(unit, columns.units)
        height, width = logits.shape[1:]
        down = mask * (height * width) + rows.low[:, row] * width  # (3, n)
        patch = logits.reshape(-1).take(down[:, None] + columns.low[:, column])  # (3, 3, n)
        samples = _between(patch, columns.fraction)  # (3, ratio + 1, n)
        samples = _between(samples.swapaxes(0, 1), rows.fraction).swapaxes(0, 1)
        return cls(mask, row, column, np.ascontiguousarray(samples), max(float(patch.max()), -float(patch.min())))


def _divided(index: np.ndarray, by: int) -> tuple[np.ndarray, np.ndarray]:
    """Quotient and remainder, five times as fast as np.divmod."""
    quotient = index // by
    return quotient, index - quotient * by


def _between(values: np.ndarray, fraction: np.ndarray) -> np.ndarray:
    """(..., ratio + 1, n) samples of units from their three low-res values (..., 3, n)."""
    ratio = len(fraction)
    samples = np.empty((*values.shape[:-2], ratio + 1, values.shape[-1]), dtype=np.float32)
    weights = fraction[:, None]
    np.multiply(values[..., :1, :], np.float32(1) - weights, out=samples[..., :ratio, :])
    samples[..., :ratio, :] += values[..., 1:2, :] * weights
    # The first of the next unit, by the same operations, so that both units hold the same number.
    np.multiply(values[..., 1, :], np.float32(1) - fraction[0], out=samples[..., ratio, :])
    samples[..., ratio, :] += values[..., 2, :] * fraction[0]
    return samples


def _in_units(
    logits: np.ndarray, frame: Frame, rows: Axis, columns: Axis, threshold: float, units: Units
) -> Iterator[Part]:
    """Crossings inside units."""
    ratio, n, samples = rows.ratio, len(units.mask), units.samples
    error = _ROUNDING * (units.largest + abs(threshold))
    same = samples > np.float32(threshold + error)
    below = samples < np.float32(threshold - error)
    for bits in (same, below):  # of the four corners of each cell
        bits[:, :-1] &= bits[:, 1:]
        bits[:-1] &= bits[1:]
    same |= below
    t_s, unit = _divided(np.flatnonzero(~same[:-1, :-1]), n)
    t, s = _divided(t_s, ratio)
    r, c = units.row[unit] * ratio + t, units.column[unit] * ratio + s
    wanted = rows.valid[r] & (columns.count[c] > 0)
    if not wanted.all():
        r, c, t, s, unit = r[wanted], c[wanted], t[wanted], s[wanted], unit[wanted]
    corner = (t * (ratio + 1) + s) * n + unit
    right, down = columns.more[c] * n, rows.more[r] * ((ratio + 1) * n)
    flat = samples.reshape(-1)
    corners = [flat.take(corner + step) for step in (0, right, down, down + right)]
    mask, counts, x = units.mask[unit], columns.count[c], columns.first[c]
    for j in range(int(counts.max(initial=0))):
        wide = counts > j
        if not wide.all():
            r, mask, counts, x = r[wide], mask[wide], counts[wide], x[wide]
            corners = [one[wide] for one in corners]
        yield from _in_columns(logits, frame, rows, columns, threshold, error, corners, r, mask, x + j)


def _in_columns(
    logits: np.ndarray,
    frame: Frame,
    rows: Axis,
    columns: Axis,
    threshold: float,
    error: float,
    corners: list[np.ndarray],
    r: np.ndarray,
    mask: np.ndarray,
    x: np.ndarray,
) -> Iterator[Part]:
    """Crossings of column `x` of the image with cells of the square, of which `r` is the row."""
    a, b, c, d = corners
    w0, w1 = columns.taps.w0.take(x), columns.taps.w1.take(x)
    limit = np.float32(threshold)
    top, bottom = a * w0 + b * w1, c * w0 + d * w1
    above, after = top > limit, bottom > limit
    if threshold:
        top, bottom = top - limit, bottom - limit
    top, bottom = np.abs(top), np.abs(bottom)
    close = np.minimum(top, bottom) <= np.float32(error)
    look = np.flatnonzero((above != after) | close)
    top, bottom, after, close, r, mask, x = (one.take(look) for one in (top, bottom, after, close, r, mask, x))
    span = np.maximum(top + bottom, np.float32(error))
    place = (top / span - rows.start[r]) / np.float32(rows.step)  # in pixels from the first
    doubt = np.float32(error / rows.step) / span + np.float32(rows.wobble / rows.step)
    close |= np.abs(place - np.rint(place)) <= doubt
    if close.any():
        close &= rows.count[r] > 0
        some, above = np.flatnonzero(close), above[look]
        yield from _pixel_by_pixel(
            logits, frame, rows, threshold, above[some], after[some], r[some], mask[some], x[some]
        )
        clear = np.flatnonzero(~close & (above != after))
        place, after, r, mask, x = (one[clear] for one in (place, after, r, mask, x))
    y = rows.first[r] + np.ceil(place).clip(0, rows.count[r]).astype(np.int64)
    yield mask, x * frame.size[0] + y, np.where(after, np.int8(1), np.int8(-1))


def _pixel_by_pixel(
    logits: np.ndarray,
    frame: Frame,
    rows: Axis,
    threshold: float,
    before: np.ndarray,
    after: np.ndarray,
    r: np.ndarray,
    mask: np.ndarray,
    x: np.ndarray,
) -> Iterator[Part]:
    """Crossings of cells that hold values close to the threshold, each pixel computed as torch does."""
    count = rows.count[r]
    steps = np.arange(int(count.max(initial=0)))
    there = steps < count[:, None]
    states = np.repeat(after[:, None], len(steps) + 2, axis=1)
    states[:, 0] = before
    y = (rows.first[r][:, None] + steps)[there]
    values = exact(logits, frame, np.repeat(mask, count), y, np.repeat(x, count))
    states[:, 1:-1][there] = values > np.float32(threshold)
    which, j = np.nonzero(states[:, 1:] != states[:, :-1])
    position = x[which] * frame.size[0] + rows.first[r[which]] + j
    yield mask[which], position, np.where(states[which, j + 1], 1, -1).astype(np.int8)


def _at_the_ends(logits: np.ndarray, frame: Frame, rows: Axis, columns: Axis, threshold: float) -> Iterator[Part]:
    """Where masks begin at the top of a column or end below it, by the operations of the cells there."""
    for index, end, sign in ((rows.before, 0, 1), (rows.before + frame.input_size[0] - 1, 1, -1)):
        unit, t = divmod(index, rows.ratio)
        lines = rows.low[:, unit]
        touching = np.flatnonzero((logits[:, lines] > np.float32(threshold)).any(axis=(1, 2)))
        if not len(touching):
            continue
        values = logits[touching[:, None], lines].transpose(1, 2, 0)  # (3, w, touching)
        patch = values[:, columns.low].reshape(3, 3, -1)  # (3, 3, units * touching)
        samples = _between(patch, columns.fraction)
        samples = _between(samples.swapaxes(0, 1), rows.fraction)[:, t]  # (ratio + 1, units * touching)
        line = samples[:-1].reshape(columns.ratio, columns.units, -1).swapaxes(0, 1)
        line = line.reshape(columns.units * columns.ratio, -1)[columns.before :]  # (samples, touching)
        taps = columns.taps
        inside = line[taps.i0] * taps.w0[:, None] + line[taps.i1] * taps.w1[:, None] > np.float32(threshold)
        x, which = np.nonzero(inside)
        yield touching[which], (x + end) * frame.size[0], np.full(len(x), sign, np.int8)
