"""Edge crossings: where masks begin and end in the columns of an image, found without making its pixels.

A mask is its low-res logits resized twice, bilinearly, and cut at a threshold: from the low-res grid (256 x 256) to
the padded square (1024 x 1024), and from the part of the square that the image covers to the image. The algorithm is
marching squares on that twice-resampled grid, with the columns of the image in place of the sides of the cells:

1. A bilinear mix of values of one sign has that sign. So only blocks of the square between low-res logits of both
   signs can hold an edge; all others are skipped at once (`mixed_blocks`).
2. The samples of the square in those blocks are computed, and the same is asked of each cell between four samples
   (`_mixed_cells`).
3. A column x of the image crosses such a cell from its upper side to its lower side. The values at both ends, `top`
   and `bottom`, are mixes of two samples each; where one is above the threshold and the other is not, the mask begins
   or ends in between, at the root of a line (`_segments`, `_in_segments`):

        x
        |
    a --+------- b    samples of the square, row r      top = w0 a + w1 b     = +3
    |   o        |    pixel 0                                                   +1.5
    |   o        |    pixel 1: the last one inside                              +0.5
    |   -  -  -  |    the root: 3 / (3 + 2) of the way from row r to row r + 1   0
    |   o        |    pixel 2: the first one outside                            -0.5
    c --+------- d    samples of the square, row r + 1  bottom = w0 c + w1 d  = -2

4. A mask may begin or end at the border of the image too (`_at_the_borders`).

The arithmetic is float32 with a known error. Pixels closer to the threshold than that error are computed one at a
time by the very operations of torch's two resizes (`_pixel_by_pixel`), so that masks are the same to the bit. Work and
memory follow the length of the edges, not the size of the image.

Lorensen and Cline, "Marching cubes": https://doi.org/10.1145/37402.37422
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .bilinear import AxisTables, Frame, axis_tables, exact_logits

_MASKS_AT_ONCE = 8
_BLOCKS_AT_ONCE = 2**12  # their samples stay in a processor's cache
_ROUNDING = 2.0**-20  # error of a logit, relative to the largest around it: some ten roundings of 2**-24
_HUGE = 1e4


class Changes(NamedTuple):
    """n pixels at which masks begin or end, read column by column; unordered, and pairs may cancel out."""

    mask: np.ndarray  # (n,) int64, which mask
    position: np.ndarray  # (n,) int64, column * height + row; height * width where the image ends
    sign: np.ndarray  # (n,) int8, 1 where the mask begins, -1 where it ends


@dataclass(frozen=True)
class EdgeCrossings:
    """Changes of `count` masks at one threshold."""

    count: int
    changes: Changes


@dataclass(frozen=True)
class Batch:
    """Some masks and the tables of both axes, which are the same for all of them."""

    logits: np.ndarray  # (N, h, w) float32, finite
    frame: Frame
    rows: AxisTables
    columns: AxisTables


class Level(NamedTuple):
    """The value at which masks are cut."""

    threshold: float
    error: float  # values closer to the threshold than this may lie on either side of it


class Cells(NamedTuple):
    """n cells of the square that edges may cross, each between four samples, and a column of the image in each."""

    mask: np.ndarray  # (n,) which mask
    row: np.ndarray  # (n,) of the upper two samples, as an index of the tables
    x: np.ndarray  # (n,) column of the image
    top_left: np.ndarray  # (n,) float32 samples
    top_right: np.ndarray
    bottom_left: np.ndarray
    bottom_right: np.ndarray


class Segments(NamedTuple):
    """n pieces of columns of the image, each from a row of samples of the square to the next."""

    mask: np.ndarray  # (n,) which mask
    row: np.ndarray  # (n,) of samples at the upper end, as an index of the tables
    x: np.ndarray  # (n,) column of the image
    top: np.ndarray  # (n,) float32 distance of the upper end's value to the threshold, 0 or more
    bottom: np.ndarray  # (n,) of the lower end's
    starts_inside: np.ndarray  # (n,) bool, whether the upper end is above the threshold
    ends_inside: np.ndarray  # (n,) bool, whether the lower end is
    unsure: np.ndarray  # (n,) bool, whether an end or a pixel between them is too close to the threshold to tell


def edge_crossings(logits: np.ndarray, frame: Frame, thresholds: Sequence[float]) -> Iterator[list[EdgeCrossings]]:
    """Crossings of all of (N, h, w) float32 `logits`, one of each threshold, some masks at a time, in their order.

    `frame` says where the image lies in the square. Logits that are no numbers count as far below, infinite ones as
    far above or below.
    """
    rows, columns = (
        axis_tables(*sizes) for sizes in zip(frame.low, (frame.side,) * 2, frame.input_size, frame.size, strict=True)
    )
    nothing = Changes(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int8))
    for start in range(0, len(logits), _MASKS_AT_ONCE):
        some = np.ascontiguousarray(logits[start : start + _MASKS_AT_ONCE])
        with np.errstate(all="ignore"):
            finite = np.isfinite(some.sum())
        if not finite:  # a model gone wrong; its masks must still be masks
            some = np.nan_to_num(some, nan=-_HUGE, posinf=_HUGE, neginf=-_HUGE)
        batch = Batch(some, frame, rows, columns)
        parts = [[nothing, *_at_the_borders(batch, threshold)] for threshold in thresholds]
        found = np.flatnonzero(mixed_blocks(some, rows, columns, thresholds))
        for at in range(0, len(found), _BLOCKS_AT_ONCE):
            blocks = Blocks.sampled(batch, found[at : at + _BLOCKS_AT_ONCE])
            for part, threshold in zip(parts, thresholds, strict=True):
                level = Level(threshold, _ROUNDING * (blocks.largest + abs(threshold)))
                for cells in _mixed_cells(batch, level, blocks):
                    part += _in_segments(batch, level, _segments(batch, level, cells))
        yield [
            EdgeCrossings(len(some), Changes(*(np.concatenate(one) for one in zip(*part, strict=True))))
            for part in parts
        ]


def mixed_blocks(logits: np.ndarray, rows: AxisTables, columns: AxisTables, thresholds: Sequence[float]) -> np.ndarray:
    """(N, rows.blocks, columns.blocks) bool: whether values on both sides of some threshold meet in a block."""
    height, width = logits.shape[1:]
    bottom, right = min(rows.blocks + 1, height), min(columns.blocks + 1, width)
    inside = logits[:, :bottom, :right]
    # Weights sum to 1 only up to rounding, so values just above a threshold that is not 0 may mix to one
    # below: such values lie on a level of their own, which is looked into even where nothing else is near.
    # (Bools are added as bytes: cast, they would be three times as slow.)
    levels = np.zeros((len(logits), rows.blocks + 2, columns.blocks + 2), dtype=np.uint8)
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
    lowest, highest = _of_neighborhoods(np.minimum, levels), _of_neighborhoods(np.maximum, levels)
    mixed: np.ndarray = lowest != highest
    for level in unsure:
        mixed |= lowest == level
    return mixed


def _of_neighborhoods(pick: np.ufunc, levels: np.ndarray) -> np.ndarray:
    """The least or most of each 3 x 3 neighborhood of (N, h + 2, w + 2)."""
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
class Blocks:
    """n blocks of ratio x ratio samples of the square, each with the first samples of the next blocks."""

    mask: np.ndarray  # (n,) which mask
    row: np.ndarray  # (n,) of blocks
    column: np.ndarray  # (n,) of blocks
    samples: np.ndarray  # (ratio + 1, ratio + 1, n) float32
    largest: float  # magnitude of a low-res logit around them

    @classmethod
    def sampled(cls, batch: Batch, index: np.ndarray) -> Blocks:
        """Blocks by their flat index in (N, rows.blocks, columns.blocks)."""
        rows, columns = batch.rows, batch.columns
        mask, block = _divided(index, rows.blocks * columns.blocks)
        row, column = _divided(block, columns.blocks)
        height, width = batch.logits.shape[1:]
        down = mask * (height * width) + rows.low[:, row] * width  # (3, n)
        patch = batch.logits.reshape(-1).take(down[:, None] + columns.low[:, column])  # (3, 3, n)
        samples = _between(patch, columns.fraction)  # (3, ratio + 1, n)
        samples = _between(samples.swapaxes(0, 1), rows.fraction).swapaxes(0, 1)
        return cls(mask, row, column, np.ascontiguousarray(samples), max(float(patch.max()), -float(patch.min())))


def _divided(index: np.ndarray, by: int) -> tuple[np.ndarray, np.ndarray]:
    """Quotient and remainder, five times as fast as np.divmod."""
    quotient = index // by
    return quotient, index - quotient * by


def _between(values: np.ndarray, fraction: np.ndarray) -> np.ndarray:
    """(..., ratio + 1, n) samples of blocks from their three low-res values (..., 3, n)."""
    ratio = len(fraction)
    samples = np.empty((*values.shape[:-2], ratio + 1, values.shape[-1]), dtype=np.float32)
    weights = fraction[:, None]
    np.multiply(values[..., :1, :], np.float32(1) - weights, out=samples[..., :ratio, :])
    samples[..., :ratio, :] += values[..., 1:2, :] * weights
    # The first of the next block, by the same operations, so that both blocks hold the same number.
    np.multiply(values[..., 1, :], np.float32(1) - fraction[0], out=samples[..., ratio, :])
    samples[..., ratio, :] += values[..., 2, :] * fraction[0]
    return samples


def _mixed_cells(batch: Batch, level: Level, blocks: Blocks) -> Iterator[Cells]:
    """Cells of `blocks` whose samples are not all on one side: the first column in each, then the second, ..."""
    rows, columns, samples = batch.rows, batch.columns, blocks.samples
    ratio, n = rows.ratio, len(blocks.mask)
    same = samples > np.float32(level.threshold + level.error)
    below = samples < np.float32(level.threshold - level.error)
    for bits in (same, below):  # of the four corners of each cell
        bits[:, :-1] &= bits[:, 1:]
        bits[:-1] &= bits[1:]
    same |= below
    t_s, block = _divided(np.flatnonzero(~same[:-1, :-1]), n)
    t, s = _divided(t_s, ratio)  # row and column of the cell in its block
    row, column = blocks.row[block] * ratio + t, blocks.column[block] * ratio + s
    wanted = rows.valid[row] & (columns.count[column] > 0)
    if not wanted.all():
        row, column, t, s, block = row[wanted], column[wanted], t[wanted], s[wanted], block[wanted]
    corner = (t * (ratio + 1) + s) * n + block
    right, down = columns.more[column] * n, rows.more[row] * ((ratio + 1) * n)
    flat = samples.reshape(-1)
    corners = (flat.take(corner + step) for step in (0, right, down, down + right))
    cells, counts = Cells(blocks.mask[block], row, columns.first[column], *corners), columns.count[column]
    for j in range(int(counts.max(initial=0))):
        wide = counts > j
        if not wide.all():
            cells, counts = Cells(*(one[wide] for one in cells)), counts[wide]
        yield cells._replace(x=cells.x + j)


def _segments(batch: Batch, level: Level, cells: Cells) -> Segments:
    """The columns in `cells`, where a mask begins or ends in them or may do so."""
    taps = batch.columns.taps
    w0, w1 = taps.w0.take(cells.x), taps.w1.take(cells.x)
    limit = np.float32(level.threshold)
    top, bottom = cells.top_left * w0 + cells.top_right * w1, cells.bottom_left * w0 + cells.bottom_right * w1
    starts_inside, ends_inside = top > limit, bottom > limit
    if level.threshold:
        top, bottom = top - limit, bottom - limit
    top, bottom = np.abs(top), np.abs(bottom)
    unsure = np.minimum(top, bottom) <= np.float32(level.error)
    look = np.flatnonzero((starts_inside != ends_inside) | unsure)
    found = (cells.mask, cells.row, cells.x, top, bottom, starts_inside, ends_inside, unsure)
    return Segments(*(one.take(look) for one in found))


def _in_segments(batch: Batch, level: Level, segments: Segments) -> Iterator[Changes]:
    """Changes inside `segments`: at the root of a line, or pixel by pixel where that is too close to a pixel."""
    rows, row = batch.rows, segments.row
    span = np.maximum(segments.top + segments.bottom, np.float32(level.error))
    root = (segments.top / span - rows.start[row]) / np.float32(rows.step)  # in pixels from the first
    doubt = np.float32(level.error / rows.step) / span + np.float32(rows.max_rounding_error / rows.step)
    unsure = (segments.unsure | (np.abs(root - np.rint(root)) <= doubt)) & (rows.count[row] > 0)
    if unsure.any():
        yield _pixel_by_pixel(batch, level, Segments(*(one[unsure] for one in segments)))
    clear = ~unsure & (segments.starts_inside != segments.ends_inside)
    if not clear.all():
        segments, root = Segments(*(one[clear] for one in segments)), root[clear]
    y = rows.first[segments.row] + np.ceil(root).clip(0, rows.count[segments.row]).astype(np.int64)
    sign = np.where(segments.ends_inside, np.int8(1), np.int8(-1))
    yield Changes(segments.mask, segments.x * batch.frame.size[0] + y, sign)


def _pixel_by_pixel(batch: Batch, level: Level, segments: Segments) -> Changes:
    """Changes inside `segments` that hold values close to the threshold, each pixel computed as torch does."""
    rows, row = batch.rows, segments.row
    count = rows.count[row]
    steps = np.arange(int(count.max(initial=0)))
    there = steps < count[:, None]
    states = np.repeat(segments.ends_inside[:, None], len(steps) + 2, axis=1)
    states[:, 0] = segments.starts_inside
    y = (rows.first[row][:, None] + steps)[there]
    values = exact_logits(batch.logits, batch.frame, np.repeat(segments.mask, count), y, np.repeat(segments.x, count))
    states[:, 1:-1][there] = values > np.float32(level.threshold)
    which, j = np.nonzero(states[:, 1:] != states[:, :-1])
    position = segments.x[which] * batch.frame.size[0] + rows.first[row[which]] + j
    return Changes(segments.mask[which], position, np.where(states[which, j + 1], 1, -1).astype(np.int8))


def _at_the_borders(batch: Batch, threshold: float) -> Iterator[Changes]:
    """Where masks begin at the top of a column or end below it, by the operations of the cells there."""
    logits, frame, rows, columns = batch.logits, batch.frame, batch.rows, batch.columns
    for index, end, sign in ((rows.before, 0, 1), (rows.before + frame.input_size[0] - 1, 1, -1)):
        block, t = divmod(index, rows.ratio)
        lines = rows.low[:, block]
        touching = np.flatnonzero((logits[:, lines] > np.float32(threshold)).any(axis=(1, 2)))
        if not len(touching):
            continue
        values = logits[touching[:, None], lines].transpose(1, 2, 0)  # (3, w, touching)
        patch = values[:, columns.low].reshape(3, 3, -1)  # (3, 3, blocks * touching)
        samples = _between(patch, columns.fraction)
        samples = _between(samples.swapaxes(0, 1), rows.fraction)[:, t]  # (ratio + 1, blocks * touching)
        line = samples[:-1].reshape(columns.ratio, columns.blocks, -1).swapaxes(0, 1)
        line = line.reshape(columns.blocks * columns.ratio, -1)[columns.before :]  # (samples, touching)
        taps = columns.taps
        inside = line[taps.i0] * taps.w0[:, None] + line[taps.i1] * taps.w1[:, None] > np.float32(threshold)
        x, which = np.nonzero(inside)
        yield Changes(touching[which], (x + end) * frame.size[0], np.full(len(x), sign, np.int8))
