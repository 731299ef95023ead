"""The outlines of a mask along pixel edges, worked out from runs without decoding pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .runs import mask_runs

if TYPE_CHECKING:
    from ..types import Mask


@dataclass(frozen=True)
class Rings:
    """The closed outlines of a mask: every horizontal edge, in walking order, ring after ring.

    Walking keeps the foreground on the right hand: outer rings run clockwise on the screen, holes the other way.
    """

    start: np.ndarray  # (E,) x where each horizontal edge starts
    end: np.ndarray  # (E,) x where it ends
    y: np.ndarray  # (E,)
    pinched: np.ndarray  # (E, 2) whether its start and end are corners that two diagonal pixels share
    bounds: list[int]  # ring r holds edges bounds[r]:bounds[r + 1]
    hole: list[bool]
    seams: list[tuple[int, int, int] | None]  # for a hole: its top edge, the edge above that, the x they share


def trace(mask: Mask) -> Rings:
    height, width = mask.size
    column, y, on = _toggles(mask_runs(mask), height)
    if len(column) == 0:
        none = np.zeros(0, dtype=np.int64)
        return Rings(none, none, none, np.zeros((0, 2), dtype=bool), [0], [], [])

    # A toggle is a horizontal unit edge from (column, y) to (column + 1, y). Where the next column has the same
    # toggle the edge runs on; what is left are corners: left ends first, then right ends.
    key = column * (height + 1) + y  # strictly rising
    after = np.searchsorted(key, key + height + 1)
    meets = key[np.minimum(after, len(key) - 1)] == key + height + 1
    partner = np.where(meets, after, 0)
    runs_on = meets & (on[partner] == on)
    left, right = np.ones(len(key), dtype=bool), ~runs_on
    left[partner[runs_on]] = False
    pinch_right = meets & ~runs_on  # same corner, opposite toggle: two diagonal pixels touch here
    pinch_left = np.zeros(len(key), dtype=bool)
    pinch_left[partner[pinch_right]] = True

    corner_x = np.concatenate((column[left], column[right] + 1))
    corner_y = np.concatenate((y[left], y[right]))
    corner_on = np.concatenate((on[left], on[right]))
    is_right = np.arange(len(corner_x)) >= np.count_nonzero(left)
    pinch = np.concatenate((pinch_left[left], pinch_right[right]))
    # Masks of millions of runs are traced: what is not needed any more goes before more is made.
    del column, on, after, meets, partner, runs_on, left, right, pinch_left, pinch_right

    # Along a row of corners, edges run from the 1st to the 2nd, 3rd to 4th...; along a column likewise. At a shared
    # corner the order of the two decides who is joined; "on first" joins the two diagonal pixels.
    by_row = np.argsort((corner_y * (width + 1) + corner_x) * 2 + ~is_right)
    by_column = np.argsort((corner_x * (height + 1) + corner_y) * 2 + ~corner_on)
    beside = np.empty_like(by_column)
    beside[by_column[0::2]], beside[by_column[1::2]] = by_column[1::2], by_column[0::2]
    del by_column
    edge_of = np.empty_like(by_row)
    edge_of[by_row] = np.arange(len(by_row)) // 2
    lefts, rights = by_row[0::2], by_row[1::2]
    edge_on = corner_on[lefts]
    starts, ends = np.where(edge_on, lefts, rights), np.where(edge_on, rights, lefts)

    following = edge_of[beside[ends]]
    del beside, edge_of
    order, bounds = _cycles(following)
    del following
    edge_y = corner_y[lefts]
    start, end, walked_y = corner_x[starts][order], corner_x[ends][order], edge_y[order]
    # Twice-counted shoelace over horizontal edges: positive when the foreground is inside.
    areas = np.add.reduceat((start - end) * walked_y, bounds[:-1])
    hole = (areas < 0).tolist()

    position = np.empty_like(order)
    position[order] = np.arange(len(order))
    edge_key = edge_y * (width + 1) + corner_x[lefts]  # sorted, since edges are numbered by row
    seams: list[tuple[int, int, int] | None] = [None] * len(hole)
    for ring in np.flatnonzero(hole).tolist():
        first, last = bounds[ring], bounds[ring + 1]
        top = first + int(np.lexsort((end[first:last], walked_y[first:last]))[0])
        x, top_y = int(end[top]), int(walked_y[top])  # a hole's top edge is walked leftwards: it ends at its left
        above = int(np.searchsorted(key, x * (height + 1) + top_y)) - 1
        edge = int(np.searchsorted(edge_key, int(y[above]) * (width + 1) + x, side="right")) - 1
        seams[ring] = (top, int(position[edge]), x)
    pinched = np.stack((pinch[starts][order], pinch[ends][order]), axis=1)
    return Rings(start, end, walked_y, pinched, bounds, hole, seams)


def _toggles(runs: np.ndarray, height: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Column, row and direction (True: background above, foreground below) of every vertical change, sorted."""
    edges = np.concatenate(([0], np.cumsum(runs)))
    starts, ends = edges[1:-1:2], edges[2::2]
    full = ends > starts
    starts, ends = starts[full], ends[full]
    if len(starts):  # a run of 0 background pixels joins its neighbours
        apart = starts[1:] > ends[:-1]
        starts, ends = starts[np.append(True, apart)], ends[np.append(apart, True)]
    first, last = starts // height, (ends - 1) // height
    columns = last - first + 1  # a run that goes on into the next column is cut at the border
    owner = np.repeat(np.arange(len(starts)), columns)
    column = np.arange(len(owner)) - np.repeat(np.cumsum(columns) - columns, columns) + first[owner]
    top = np.where(column == first[owner], starts[owner] - column * height, 0)
    bottom = np.where(column == last[owner], ends[owner] - column * height, height)
    y = np.stack((top, bottom), axis=1).ravel()
    return np.repeat(column, 2), y, np.tile([True, False], len(column))


def _cycles(following: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """The cycles of a permutation laid end to end, and where each begins. A step a corner, so a plain list is fast."""
    follow = following.tolist()
    seen = bytearray(len(follow))
    order: list[int] = []
    bounds = [0]
    for begin in range(len(follow)):
        if seen[begin]:
            continue
        step = begin
        while not seen[step]:
            seen[step] = 1
            order.append(step)
            step = follow[step]
        bounds.append(len(order))
    return np.asarray(order, dtype=np.int64), bounds
