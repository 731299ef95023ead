"""One image with its objects drawn on it, for people to look at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..text import printable
from ..types import Annotation, Category

if TYPE_CHECKING:
    from PIL import ImageDraw, ImageFont
    from PIL.Image import Image as Picture

Colour = tuple[int, int, int]
Rectangle = tuple[float, float, float, float]

LONGEST, SHORTEST = 1280, 640  # the longer side of an overlay is brought between these
FILL = 0.42  # how much of a mask's colour covers the photo
CROWDED = 25  # from here on a full label needs a box about as wide as itself
GOLDEN = 0.6180339887  # steps of this around the colour circle keep neighbours far apart

# Lightness and chroma of OKLCH: bright enough to shine on photos, dark enough for a white page.
LIGHTNESS, CHROMA = 0.70, 0.19
SHADES = ((0.0, 0.0), (0.09, 0.02), (-0.09, -0.02), (0.045, -0.05), (-0.045, 0.05))  # (lightness, hue) of neighbours


@dataclass(frozen=True, slots=True)
class Drawn:
    """The picture and the colour of each object, in the order of the record."""

    picture: Picture
    colours: tuple[Colour, ...]


def oklch(lightness: float, chroma: float, hue: float) -> Colour:
    """sRGB of an OKLCH colour, hue from 0 to 1; equal lightness looks equally light.

    https://bottosson.github.io/posts/oklab/
    """
    a, b = chroma * math.cos(2 * math.pi * hue), chroma * math.sin(2 * math.pi * hue)
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )
    red, green, blue = (_gamma(min(1.0, max(0.0, value))) for value in linear)
    return red, green, blue


def _gamma(value: float) -> int:
    return round(255 * (12.92 * value if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055))


def category_colour(category_id: int) -> Colour:
    """The colour of a category: the same in every picture, and in every dataset that gives it this id."""
    return oklch(LIGHTNESS, CHROMA, _hue(category_id))


def object_colours(annotations: Sequence[Annotation], *, one_category: bool) -> tuple[Colour, ...]:
    """A colour for each object: a shade of its category's, or around the whole circle where there is one only."""
    colours: list[Colour] = []
    seen: dict[int, int] = {}
    for number, annotation in enumerate(annotations):
        nth = seen.get(annotation.category_id, 0)
        seen[annotation.category_id] = nth + 1
        if one_category:
            colours.append(oklch(LIGHTNESS, CHROMA, _hue(number + 1)))
            continue
        lighter, turned = SHADES[nth % len(SHADES)]
        colours.append(oklch(LIGHTNESS + lighter, CHROMA, _hue(annotation.category_id) + turned))
    return tuple(colours)


def _hue(number: int) -> float:
    return (0.03 + (number - 1) * GOLDEN) % 1.0


def draw(pixels: np.ndarray, annotations: Sequence[Annotation], categories: Sequence[Category]) -> Drawn:
    """The (H, W, 3) image with masks, contours, boxes and labels, its longer side 640 to 1280 pixels.

    Objects are numbered from 1 in their order; the number leads each label. Large ones are drawn first, so that
    small ones stay visible on top.
    """
    from PIL import Image, ImageDraw, ImageFont

    height, width = pixels.shape[:2]
    scale = min(LONGEST / max(height, width), max(1.0, SHORTEST / max(height, width)))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    smooth = Image.Resampling.LANCZOS if scale <= 1 else Image.Resampling.BICUBIC
    picture = Image.fromarray(pixels).resize(size, smooth)
    colours = object_colours(annotations, one_category=len(categories) == 1)
    line = max(2, round(max(size) / 480))
    order = sorted(range(len(annotations)), key=lambda i: -_extent(annotations[i]))
    for i in order:
        _paint(picture, annotations[i], colours[i], line=line)
    pen = ImageDraw.Draw(picture)
    stretch = (size[0] / width, size[1] / height)
    for i in order:
        if _box_tells_more(annotations[i]):
            _frame(pen, _scaled(annotations[i].box, stretch), colours[i], line=line)
    names = {category.id: category.name for category in categories}
    font = ImageFont.load_default(size=max(12, round(max(size) / 62)))
    taken: list[Rectangle] = []
    for i in reversed(order):  # small objects choose their place first
        texts = _texts(i + 1, annotations[i], names)
        place = _scaled(annotations[i].box, stretch)
        _label(pen, texts, place, colours[i], font, size, taken, crowded=len(order) > CROWDED)
    return Drawn(picture, colours)


def _extent(annotation: Annotation) -> float:
    if annotation.mask is not None:
        return annotation.mask.area
    x0, y0, x1, y1 = annotation.box
    return (x1 - x0) * (y1 - y0)


def _box_tells_more(annotation: Annotation) -> bool:
    """A mask shows its own extent; a box is drawn where it came from a detector or differs from that."""
    if annotation.mask is None or annotation.score is not None:
        return True
    return any(abs(a - b) > 1.5 for a, b in zip(annotation.box, annotation.mask.box, strict=True))


def _scaled(box: Rectangle, stretch: tuple[float, float]) -> Rectangle:
    return box[0] * stretch[0], box[1] * stretch[1], box[2] * stretch[0], box[3] * stretch[1]


def _paint(picture: Picture, annotation: Annotation, colour: Colour, *, line: int) -> None:
    """Fill and outline a mask; only the part of the picture around it is touched."""
    from PIL import Image, ImageChops, ImageFilter

    if annotation.mask is None or annotation.mask.area == 0:
        return
    height, width = annotation.mask.size
    x0, y0, x1, y1 = (round(v) for v in annotation.mask.box)
    margin = math.ceil((line + 3) * max(1.0, width / picture.width)) + 1
    x0, y0, x1, y1 = max(0, x0 - margin), max(0, y0 - margin), min(width, x1 + margin), min(height, y1 + margin)
    ratio_x, ratio_y = picture.width / width, picture.height / height
    left, top = math.floor(x0 * ratio_x), math.floor(y0 * ratio_y)
    right, bottom = min(picture.width, math.ceil(x1 * ratio_x)), min(picture.height, math.ceil(y1 * ratio_y))
    if right <= left or bottom <= top:
        return
    source = (left / ratio_x, top / ratio_y, right / ratio_x, bottom / ratio_y)
    whole = Image.fromarray(annotation.mask.to_pixels().astype(np.uint8) * 255)
    # Twice as fine as the picture, so that the contour comes out smooth.
    fine = whole.resize((2 * (right - left), 2 * (bottom - top)), Image.Resampling.BOX, box=source)
    fine = fine.filter(ImageFilter.GaussianBlur(1.2)).point([255 if value >= 128 else 0 for value in range(256)])
    inner = ImageChops.subtract(fine, fine.filter(ImageFilter.MinFilter(2 * line + 1)))
    outer = ImageChops.subtract(fine.filter(ImageFilter.MaxFilter(3)), fine)
    place = (left, top, right, bottom)
    part = picture.crop(place)
    for layer, paint, strength in ((fine, colour, FILL), (outer, (0, 0, 0), 0.45), (inner, colour, 1.0)):
        alpha = layer.resize(part.size, Image.Resampling.BOX).point([round(value * strength) for value in range(256)])
        part.paste(paint, (0, 0), alpha)
    picture.paste(part, place)


def _frame(pen: ImageDraw.ImageDraw, box: Rectangle, colour: Colour, *, line: int) -> None:
    x0, y0, x1, y1 = (round(v) for v in box)
    if x1 - 1 < x0 or y1 - 1 < y0:
        return
    pen.rectangle((x0, y0, x1 - 1, y1 - 1), outline=colour, width=max(1, line - 1))


def _texts(number: int, annotation: Annotation, names: dict[int, str]) -> tuple[str, str]:
    """The label in full, and the short one for where that would cover too much."""
    name = printable(names.get(annotation.category_id, f"category {annotation.category_id}"))
    score = annotation.score if annotation.score is not None else annotation.predicted_iou
    crowd = " (crowd)" if annotation.iscrowd else ""
    return f"{number} {name}{crowd}" + (f" {score:.2f}" if score is not None else ""), str(number)


def _label(
    pen: ImageDraw.ImageDraw,
    texts: tuple[str, str],
    box: Rectangle,
    colour: Colour,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    size: tuple[int, int],
    taken: list[Rectangle],
    *,
    crowded: bool,
) -> None:
    """Write the first text that finds a free place near the object; none where even the number would cover others."""
    full, short = texts
    pad = 4
    tall = pen.textbbox((0, 0), "Hg", font=font)[3] + pad
    room = 1.2 if crowded else 2.5
    for text in (full, short):
        wide = pen.textlength(text, font=font) + 2 * pad
        if text == full and wide > room * max(box[2] - box[0], 2 * tall):
            continue  # a long name on a tiny object would hide its neighbours
        places = [
            (box[0], box[1] - tall),
            (box[0], box[1]),
            (box[2] - wide, box[1]),
            (box[0], box[3]),
            (box[2] - wide, box[3] - tall),
        ]
        for x, y in places:
            x, y = min(max(0.0, x), max(0.0, size[0] - wide)), min(max(0.0, y), max(0.0, size[1] - tall))
            wanted = (x, y, x + wide, y + tall)
            if not any(_overlap(wanted, other) for other in taken):
                return _chip(pen, text, wanted, colour, font, taken, pad=pad)


def _overlap(a: Rectangle, b: Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _chip(
    pen: ImageDraw.ImageDraw,
    text: str,
    place: Rectangle,
    colour: Colour,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    taken: list[Rectangle],
    *,
    pad: int,
) -> None:
    taken.append(place)
    pen.rounded_rectangle(place, radius=4, fill=colour)
    ink = (10, 10, 16) if luminance(colour) > 0.18 else (255, 255, 255)
    pen.text((place[0] + pad, (place[1] + place[3]) / 2), text, fill=ink, font=font, anchor="lm")


def luminance(colour: Colour) -> float:
    """Relative luminance from 0 to 1. https://www.w3.org/TR/WCAG22/#dfn-relative-luminance"""
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (part / 255 for part in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
