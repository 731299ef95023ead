"""Outlines sewn into closed contours: holes to their outer ring, parts to one another, by zero-width seams."""

from __future__ import annotations

import numpy as np

from .outline import Rings

MANY = 5000  # parts
Seams = dict[int, list[tuple[int, int, int]]]  # part -> the corner that each seam leaves, the part and corner it joins


def sew_parts(rings: Rings, *, inset: float) -> list[np.ndarray]:
    """Every part's outer ring with its holes sewn in, in the order of their topmost edges."""
    attached: dict[int, list[tuple[int, int]]] = {}  # edge above -> [(x, ring of the hole below)]
    for ring, seam in enumerate(rings.seams):
        if seam is not None:
            attached.setdefault(seam[1], []).append((seam[2], ring))
    corners = [_ring_points(rings, ring, inset) for ring in range(len(rings.hole))]
    return [_sew(rings, corners, attached, ring, inset) for ring in range(len(rings.hole)) if not rings.hole[ring]]


def _ring_points(rings: Rings, ring: int, inset: float) -> tuple[np.ndarray, np.ndarray]:
    """The points of a ring, and for each of its edges the index of the edge's last own point before its end."""
    part = slice(rings.bounds[ring], rings.bounds[ring + 1])
    start, end, y = rings.start[part], rings.end[part], rings.y[part]
    x = np.stack((start, end), axis=1).ravel().astype(np.float64)
    line = np.repeat(y, 2).astype(np.float64)
    if inset == 0:
        return np.stack((x, line), axis=1), 2 * np.arange(len(y))
    inward_y = np.repeat(np.where(end > start, 1.0, -1.0), 2)
    rises = np.where(np.roll(y, -1) < y, 1.0, -1.0)  # the vertical after each edge: going up, its inside is right
    inward_x = np.stack((np.roll(rises, 1), rises), axis=1).ravel()
    pinched = rings.pinched[part].ravel()
    # Where two diagonal pixels meet, the corner's inside is background: step from one pixel to the other instead.
    count = np.where(pinched, 2, 1)
    index = np.repeat(np.arange(len(x)), count)
    at_end = index % 2 == 1
    second = np.append(False, index[1:] == index[:-1])
    flip = pinched[index]
    own = flip & (at_end ^ second)  # the point that lies in the horizontal edge's own pixel
    other = flip & ~own
    points = np.stack(
        (
            x[index] + inset * inward_x[index] * np.where(own, -1, 1),
            line[index] + inset * inward_y[index] * np.where(other, -1, 1),
        ),
        axis=1,
    )
    return points, np.cumsum(count)[0::2] - 1


def _sew(
    rings: Rings,
    corners: list[tuple[np.ndarray, np.ndarray]],
    attached: dict[int, list[tuple[int, int]]],
    outer: int,
    inset: float,
) -> np.ndarray:
    """The outer ring walked once, stepping into each hole where its seam meets an edge."""
    inside = 0.5 if inset else 0.0  # a seam drawn through pixel centres is painted on the mask's own pixels
    pieces: list[np.ndarray] = []
    # Work still to do, last first: arrays to write out, or holes to walk.
    todo: list[np.ndarray | tuple[int, int]] = [(outer, -1)]
    while todo:
        item = todo.pop()
        if isinstance(item, np.ndarray):
            pieces.append(item)
            continue
        ring, entry = item  # entry: the hole's top edge, where its seam arrives
        points, last_own = corners[ring]
        first = rings.bounds[ring]
        own = range(first, rings.bounds[ring + 1]) if attached else ()
        doors = [(edge - first, attached[edge]) for edge in own if edge in attached]
        walk: list[np.ndarray | tuple[int, int]] = []
        at = 0
        if entry >= 0:  # start just after the seam's point on the top edge, and come back to it
            at = int(last_own[entry - first]) + 1
            doors = [d for d in doors if d[0] >= entry - first] + [d for d in doors if d[0] < entry - first]
        turn = len(points)
        origin = at
        for edge, holes in doors:
            stop = int(last_own[edge]) + 1
            stop += turn if stop < origin else 0
            walk.append(_span(points, at, stop))
            at = stop
            line = rings.y[first + edge] + inset
            for x, hole in sorted(holes):
                seam = rings.seams[hole]
                assert seam is not None, "a hole has a seam"
                top = seam[0]
                door = np.array([[x + inside, line], [x + inside, rings.y[top] - inset]])
                walk += [door, (hole, top), door[::-1]]
        walk.append(_span(points, at, origin + turn))
        todo += reversed(walk)
    points = np.concatenate(pieces)
    points = _without_repeats(points)
    (before_x, before_y), (after_x, after_y) = (
        np.ascontiguousarray(step.T)
        for step in (points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points)
    )
    straight = (before_x * after_y == before_y * after_x) & (before_x * after_x + before_y * after_y > 0)
    corners_left: np.ndarray = points[~straight]
    return corners_left


def _without_repeats(points: np.ndarray) -> np.ndarray:
    """The points of a closed contour that differ from the one before."""
    before = np.roll(points, 1, axis=0)
    moved: np.ndarray = points[(points[:, 0] != before[:, 0]) | (points[:, 1] != before[:, 1])]
    return moved


def _span(points: np.ndarray, first: int, stop: int) -> np.ndarray:
    """`points[first:stop]` of a closed ring, going round past its end."""
    return points[first:stop] if stop <= len(points) else points[np.arange(first, stop) % len(points)]


def join_parts(parts: list[np.ndarray], *, candidates: int = 4000) -> np.ndarray:
    """All parts as one closed contour, joined by the shortest seams between corners (Prim's tree, fewest pixels).

    More than MANY parts, whose every pair would take minutes, are joined one after the other.
    """
    if len(parts) < 2:
        return parts[0] if parts else np.zeros((0, 2))
    if len(parts) > MANY:
        children: Seams = {part - 1: [(0, part, 0)] for part in range(1, len(parts))}
    else:
        children = _shortest_seams(parts, candidates)
    pieces: list[np.ndarray] = []
    todo: list[np.ndarray | tuple[int, int]] = [(0, 0)]
    while todo:
        item = todo.pop()
        if isinstance(item, np.ndarray):
            pieces.append(item)
            continue
        part, entry = item
        points = parts[part]
        turn = len(points)
        walk: list[np.ndarray | tuple[int, int]] = []
        at = entry
        for leave, child, arrive in sorted(children.get(part, []), key=lambda c: (c[0] - entry) % turn):
            stop = entry + (leave - entry) % turn + 1
            seam = _seam(points[leave], parts[child][arrive])
            walk += [_span(points, at, stop), seam, (child, arrive), seam[::-1]]
            at = stop - 1  # the walk goes on from the same corner
        walk.append(_span(points, at, entry + turn))
        if part:  # back to where the seam arrived
            walk.append(points[entry : entry + 1])
        todo += reversed(walk)
    return _without_repeats(np.concatenate(pieces))


def _shortest_seams(parts: list[np.ndarray], candidates: int) -> Seams:
    # Distances are taken between all corners of all parts; thousands of them are thinned, evenly, to stay quick.
    total = sum(len(part) for part in parts)
    every = max(1, -(-total // candidates))
    ends = [np.arange(0, len(part), every) for part in parts]
    owner = np.repeat(np.arange(len(parts)), [len(e) for e in ends])
    index = np.concatenate(ends)
    where = np.concatenate([part[e] for part, e in zip(parts, ends, strict=True)])
    x, y = np.ascontiguousarray(where.T)  # numpy is slow along an axis of two
    best = np.full(len(where), np.inf)
    best_from = np.zeros(len(where), dtype=np.int64)
    outside = np.ones(len(where), dtype=bool)
    children: Seams = {}
    joined = 0
    for _ in range(len(parts) - 1):
        outside &= owner != joined
        inside = np.flatnonzero(owner == joined)
        rest = np.flatnonzero(outside)
        across, down = (np.abs(values[rest, None] - values[inside]) for values in (x, y))
        gap = np.maximum(across, down, out=across)  # a painted line has max(dx, dy) pixels
        near = np.argmin(gap, axis=1)
        distance = gap[np.arange(len(rest)), near]
        closer = distance < best[rest]
        best[rest[closer]], best_from[rest[closer]] = distance[closer], inside[near[closer]]
        found = int(rest[np.argmin(best[rest])])
        origin = int(best_from[found])
        joined = int(owner[found])
        children.setdefault(int(owner[origin]), []).append((int(index[origin]), joined, int(index[found])))
    return children


def _seam(origin: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Points of a seam from one corner's pixel to another's: a slope of 45 degrees, then straight.

    A reader may put points of its own anywhere along a seam and cut them down to pixels. On a straight line they
    stay in its pixels; on a slope only where x and y pass from pixel to pixel together, hence x at 5/8 on the
    slopes that fall in one and rise in the other.
    """
    start, stop = np.floor(origin), np.floor(target)
    step = stop - start
    slope = np.abs(step).min() * np.sign(step)
    shift = (0.625 if step[0] * step[1] < 0 else 0.5, 0.5)
    return np.stack((start, start + slope, stop)) + shift
