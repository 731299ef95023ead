"""Draw a picture of simple things, so that there is something to label: python draw_picture.py FILE.png"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

WIDTH, HEIGHT, FINER = 640, 480, 3  # drawn three times as large, for smooth edges


def draw() -> Image.Image:
    """Two balls, a house and a red boat before hills and a sky; every run draws the same pixels."""
    picture = Image.new("RGB", (WIDTH * FINER, HEIGHT * FINER))
    pen = ImageDraw.Draw(picture)
    for y in range(HEIGHT * FINER):
        part = y / (HEIGHT * FINER)
        pen.line((0, y, WIDTH * FINER, y), fill=(round(120 + 110 * part), round(170 + 60 * part), 235))

    def shape(kind: str, *xy: float, fill: str) -> None:
        getattr(pen, kind)([value * FINER for value in xy], fill=fill)

    shape("ellipse", -150, 260, 400, 700, fill="#5d8f57")
    shape("ellipse", 250, 290, 900, 700, fill="#71a566")
    shape("rectangle", 0, 400, 640, 480, fill="#3c6e9e")
    shape("rectangle", 90, 210, 230, 340, fill="#e8d9b5")
    shape("polygon", 70, 215, 160, 130, 250, 215, fill="#8c4a3c")
    shape("rectangle", 145, 270, 185, 340, fill="#5a4636")
    shape("polygon", 380, 395, 590, 395, 550, 445, 415, 445, fill="#c8281e")
    shape("polygon", 480, 385, 480, 230, 580, 385, fill="#f4f1e8")
    shape("ellipse", 520, 50, 600, 130, fill="#f7d23e")
    shape("ellipse", 290, 330, 350, 390, fill="#e07b1f")
    small = picture.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
    return small.filter(ImageFilter.GaussianBlur(0.4))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python draw_picture.py FILE.png")
    target = Path(sys.argv[1])
    target.parent.mkdir(parents=True, exist_ok=True)
    draw().save(target)
    print(target)
