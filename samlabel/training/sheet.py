"""Pictures of good and bad results of the nano models, to be looked at before anyone believes a mean.

Nothing is picked by hand: objects are ranked by IoU, and each source shows those at the same places of its ranking.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..review.overlay import category_colour, draw
from .photos import tight_box
from .quality import instances, iou, spread

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

    from sam import Sam

RANKS = (0.95, 0.75, 0.5, 0.25, 0.1, 0.02)  # from good to bad: shares of a source's objects that are worse
CELL, CAPTION = 220, 34
WHITE, INK = (255, 255, 255), (30, 30, 36)


def masks(model: Sam, data: Path, *, limit: int | None = None) -> Picture:
    """A row a source of `data/val.json`: masks of true boxes, filled; the truth outlined in white; both IoU below."""
    reached: dict[str, list[tuple[float, float, np.ndarray, np.ndarray, np.ndarray]]] = defaultdict(list)
    for image, pixels, truths in instances(data, limit=limit):
        boxes = np.array([tight_box(t) for t in truths], np.float32)
        prediction = model.predict(model.embed(pixels), boxes=boxes)
        for truth, mask, box, sure in zip(
            truths, prediction.masks()[:, 0].numpy(), boxes, prediction.predicted_iou, strict=True
        ):
            x0, y0, x1, y1 = _around(box, truth.shape)
            cut = slice(y0, y1), slice(x0, x1)
            cell = pixels[cut].copy(), mask[cut].copy(), truth[cut].copy()  # the photo itself need not be kept
            reached[image["source"]].append((iou(mask, truth), float(sure[0]), *cell))
    rows = []
    for source in sorted(reached):
        ranked = sorted(reached[source], key=lambda one: one[0])
        chosen = [ranked[round(rank * (len(ranked) - 1))] for rank in RANKS]
        rows.append(
            [
                (_cell(*one[2:]), f"{source}, {rank:.0%}\nIoU {one[0]:.2f}, predicted {one[1]:.2f}")
                for rank, one in zip(RANKS, chosen, strict=True)
            ]
        )
    return _sheet(rows)


def boxes(data: Path, *, photos: int = 24, across: int = 4) -> Picture:
    """What the detector finds at its default settings on evenly spread photos of the source `coco2017`."""
    from PIL import Image

    from .. import detectors
    from ..protocols import Image as Input
    from .detector import quality

    detector = detectors.load("nano")
    cells = []
    for photo in spread(quality.photos(data, quality.COMPLETE), photos):
        pixels = np.asarray(Image.open(data / photo.path).convert("RGB"))
        (found,) = detector.detect([Input(photo.path, pixels)])
        objects = found.annotations()
        known = sum(not one.crowd for one in photo.truths)
        cells.append(
            (draw(pixels, objects, detector.info.categories).picture, f"{len(objects)} found, {known} labeled")
        )
    return _sheet([cells[k : k + across] for k in range(0, len(cells), across)], side=2 * CELL)


def _around(box: Sequence[float], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 in whole pixels of a square about the box, with room to see what is around it."""
    x0, y0, x1, y1 = (float(v) for v in box)
    half = max(x1 - x0, y1 - y0, 24.0) * 0.7
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    return (
        max(0, int(x - half)),
        max(0, int(y - half)),
        min(size[1], int(x + half) + 1),
        min(size[0], int(y + half) + 1),
    )


def _cell(pixels: np.ndarray, mask: np.ndarray, truth: np.ndarray) -> Picture:
    from PIL import Image, ImageChops, ImageFilter

    height, width = mask.shape
    scale = CELL / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    picture = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
    filled, wanted = (Image.fromarray(m.astype(np.uint8) * 255).resize(size) for m in (mask, truth))
    picture.paste(category_colour(1), (0, 0), filled.point([v // 2 for v in range(256)]))
    # White with a dark rim, so that the line is seen on any photo.
    for thick, colour in ((5, INK), (3, WHITE)):
        line = ImageChops.subtract(wanted, wanted.filter(ImageFilter.MinFilter(thick)))
        picture.paste(colour, (0, 0), line)
    return picture


def _sheet(rows: list[list[tuple[Picture, str]]], *, side: int = CELL) -> Picture:
    from PIL import Image, ImageDraw

    wide, tall, gap = side + 8, side + CAPTION + 8, 8
    sheet = Image.new("RGB", (max(len(row) for row in rows) * wide + gap, len(rows) * tall + gap), WHITE)
    pen = ImageDraw.Draw(sheet)
    for y, row in enumerate(rows):
        for x, (picture, caption) in enumerate(row):
            left, top = gap + x * wide, gap + y * tall
            picture.thumbnail((side, side))
            sheet.paste(picture, (left + (side - picture.width) // 2, top + (side - picture.height) // 2))
            pen.multiline_text((left, top + side + 2), caption, fill=INK)
    return sheet
