"""A picture of a dataset's counts, as SVG, which needs no plotting package and stays sharp."""

from __future__ import annotations

from html import escape

from .stats import Stats

_WIDTH, _ROW, _LEFT, _BAR = 760, 20, 190, 440
_MOST = 40  # classes shown


def as_svg(stats: Stats) -> str:
    """Bars of objects a class (the 40 most frequent) and of object sizes."""
    shown = stats.classes[:_MOST]
    left_out = len(stats.classes) - len(shown)
    title = f"{stats.images} images, {stats.objects} objects, {len(stats.classes)} classes"
    rows = [(c.name, c.objects, f"{c.objects} in {c.images} images") for c in shown]
    body, bottom = _bars("objects a class" + (f", {left_out} more not shown" if left_out else ""), rows, 50)
    sides = [(f"{side} to {2 * int(side)} px", count, str(count)) for side, count in stats.area_bins.items()]
    more, bottom = _bars("side of a square of the object's area", sides, bottom + 20)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{bottom + 10}" '
        f'viewBox="0 0 {_WIDTH} {bottom + 10}" font-family="sans-serif" font-size="12" fill="#222">\n'
        f'<rect width="100%" height="100%" fill="#fff"/>\n'
        f'<text x="10" y="26" font-size="16">{escape(title)}</text>\n{body}{more}</svg>\n'
    )


def _bars(title: str, rows: list[tuple[str, int, str]], top: int) -> tuple[str, int]:
    """A heading and a bar a row, and the y below them."""
    most = max((count for _, count, _ in rows), default=0) or 1
    lines = [f'<text x="10" y="{top + 14}" font-size="13" font-weight="bold">{escape(title)}</text>\n']
    y = top + 24
    for name, count, note in rows:
        label = name if len(name) <= 28 else name[:27] + "…"
        width = _BAR * count / most
        lines.append(
            f'<text x="{_LEFT - 8}" y="{y + 14}" text-anchor="end">{escape(label)}</text>'
            f'<rect x="{_LEFT}" y="{y + 3}" width="{width:.1f}" height="{_ROW - 6}" fill="#4878a8"/>'
            f'<text x="{_LEFT + width + 6:.1f}" y="{y + 14}" fill="#666">{escape(note)}</text>\n'
        )
        y += _ROW
    return "".join(lines), y
