"""Line charts as SVG, written by hand: four numbers a chart need no plotting library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, EDGE = 420, 280, 56


@dataclass(frozen=True)
class Chart:
    """`y` over `x`, both axes from zero, so that a straight line is straight and a flat one flat."""

    across: str
    up: str
    x: Sequence[float]
    y: Sequence[float]


def svg(charts: Sequence[Chart]) -> str:
    """One picture, two charts a row."""
    rows = (len(charts) + 1) // 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * WIDTH}" height="{rows * HEIGHT}" '
        f'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>'
    ]
    for n, chart in enumerate(charts):
        parts.append(f'<g transform="translate({n % 2 * WIDTH},{n // 2 * HEIGHT})">{_drawn(chart)}</g>')
    return "\n".join([*parts, "</svg>\n"])


def _drawn(chart: Chart) -> str:
    wide, high = WIDTH - 2 * EDGE, HEIGHT - 2 * EDGE
    most_x, most_y = max(chart.x), 1.1 * max(chart.y) or 1
    places = [(EDGE + wide * x / most_x, EDGE + high * (1 - y / most_y)) for x, y in zip(chart.x, chart.y, strict=True)]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    bottom = EDGE + high
    parts = [
        f'<path d="M{EDGE},{EDGE} V{bottom} H{EDGE + wide}" fill="none" stroke="black"/>',
        f'<polyline points="{line}" fill="none" stroke="#1f6fb4" stroke-width="2"/>',
        f'<text x="{EDGE}" y="{EDGE - 16}">{escape(chart.up)}</text>',
        f'<text x="{EDGE + wide / 2}" y="{HEIGHT - 14}" text-anchor="middle">{escape(chart.across)}</text>',
    ]
    for (x, y), across, up in zip(places, chart.x, chart.y, strict=True):
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="#1f6fb4"/>')
        parts.append(f'<text x="{x:.1f}" y="{y - 8:.1f}" text-anchor="middle">{up:.3g}</text>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{across:g}</text>')
    return "".join(parts)
