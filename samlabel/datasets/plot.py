"""A picture of a dataset's counts: SVG, which stays sharp and needs no package, or PNG, which Pillow draws."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from ..text import printable
from .stats import Stats

FORMATS = (".svg", ".png")
_WIDTH, _ROW, _LEFT, _BAR = 760, 20, 190, 440
_MOST = 40  # classes shown
_SCALE = 2  # pixels of a PNG to one of the SVG
_INK, _FAINT, _BLUE = "#222222", "#666666", "#4878a8"


@dataclass(frozen=True)
class _Text:
    """Words whose baseline is at `y`; they begin at `x`, or end there where `before` is set."""

    x: float
    y: float
    words: str
    size: int = 12
    colour: str = _INK
    bold: bool = False
    before: bool = False


@dataclass(frozen=True)
class _Bar:
    x: float
    y: float
    width: float
    height: float


def as_svg(stats: Stats) -> str:
    """Bars of objects a class (the 40 most frequent) and of object sizes."""
    items, height = _layout(stats)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif">\n'
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n{"".join(map(_element, items))}</svg>\n'
    )


def as_png(stats: Stats) -> bytes:
    """The same picture in pixels, with Pillow's own font, which lacks the letters of many scripts."""
    from PIL import Image, ImageDraw, ImageFont

    items, height = _layout(stats)
    picture = Image.new("RGB", (_WIDTH * _SCALE, height * _SCALE), "white")
    draw = ImageDraw.Draw(picture)
    for item in items:
        x, y = item.x * _SCALE, item.y * _SCALE
        if isinstance(item, _Bar):
            draw.rectangle((x, y, x + item.width * _SCALE, y + item.height * _SCALE), fill=_BLUE)
        else:
            font = ImageFont.load_default(item.size * _SCALE)
            draw.text(
                (x, y),
                item.words,
                fill=item.colour,
                font=font,
                anchor="rs" if item.before else "ls",
                stroke_width=int(item.bold),
                stroke_fill=item.colour,
            )
    out = io.BytesIO()
    picture.save(out, format="PNG")
    return out.getvalue()


def _layout(stats: Stats) -> tuple[list[_Text | _Bar], int]:
    """What is drawn where, and the height of the whole."""
    shown = stats.classes[:_MOST]
    left_out = len(stats.classes) - len(shown)
    title = f"{stats.images} images, {stats.objects} objects, {len(stats.classes)} classes"
    heading = "objects a class" + (f", {left_out} more not shown" if left_out else "")
    rows = [(c.name, c.objects, f"{c.objects} in {c.images} images") for c in shown]
    sides = [(f"{side} to {2 * int(side)} px", count, str(count)) for side, count in stats.area_bins.items()]
    second = 50 + 24 + _ROW * len(rows) + 20
    bars = [*_bars(heading, rows, 50), *_bars("side of a square of the object's area", sides, second)]
    return [_Text(10, 26, title, size=16), *bars], second + 24 + _ROW * len(sides) + 10


def _bars(title: str, rows: list[tuple[str, int, str]], top: int) -> Iterator[_Text | _Bar]:
    """A heading and a bar a row."""
    most = max((count for _, count, _ in rows), default=0) or 1
    yield _Text(10, top + 14, title, size=13, bold=True)
    for place, (name, count, note) in enumerate(rows):
        y = top + 24 + _ROW * place
        width = _BAR * count / most
        plain = printable(name)
        yield _Text(_LEFT - 8, y + 14, plain if len(plain) <= 28 else plain[:27] + "…", before=True)
        yield _Bar(_LEFT, y + 3, width, _ROW - 6)
        yield _Text(_LEFT + width + 6, y + 14, note, colour=_FAINT)


def _element(item: _Text | _Bar) -> str:
    if isinstance(item, _Bar):
        return f'<rect x="{item.x}" y="{item.y}" width="{item.width:.1f}" height="{item.height}" fill="{_BLUE}"/>\n'
    weight = ' font-weight="bold"' if item.bold else ""
    anchor = ' text-anchor="end"' if item.before else ""
    return (
        f'<text x="{item.x:.1f}" y="{item.y}" font-size="{item.size}" fill="{item.colour}"{weight}{anchor}>'
        f"{escape(item.words)}</text>\n"
    )
