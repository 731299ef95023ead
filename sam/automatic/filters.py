"""Which of the generated masks stay: no duplicates, no parts of others, no background, not too many.

Masks are compared as run lengths, so memory does not grow with their pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..masks import rle
from .crops import CropBox


@dataclass(frozen=True, eq=False)
class Found:
    """One mask with all that is known of it."""

    runs: np.ndarray
    box: tuple[int, int, int, int]  # inclusive, in pixels of the image
    predicted_iou: float
    stability: float
    crop_box: CropBox
    point: tuple[float, float] | None = None  # what prompted it,
    prompt_box: tuple[float, float, float, float] | None = None  # or this, XYXY


def suppress(found: list[Found], scores: Tensor, threshold: float) -> list[Found]:
    """`found` by falling score, without those whose box overlaps a better one by more than `threshold`."""
    if not found:
        return found
    from torchvision.ops import batched_nms

    boxes = torch.tensor([one.box for one in found], dtype=torch.float32)
    same_class = torch.zeros(len(found))
    return [found[i] for i in batched_nms(boxes, scores.float(), same_class, threshold).tolist()]


def without_duplicates(found: list[Found], size: tuple[int, int], iou: float) -> list[Found]:
    """`found` without masks whose IoU with a mask of higher predicted IoU is above `iou`; the order stays."""
    ranking = sorted(range(len(found)), key=lambda i: -found[i].predicted_iou)
    return _greedy(found, size, ranking, iou, contained=False)


def without_parts(found: list[Found], size: tuple[int, int], share: float) -> list[Found]:
    """`found` without masks of which more than `share` lies inside one larger mask that stays; the order stays."""
    ranking = sorted(range(len(found)), key=lambda i: -rle.area(found[i].runs))
    return _greedy(found, size, ranking, share, contained=True)


def _greedy(
    found: list[Found], size: tuple[int, int], ranking: list[int], limit: float, *, contained: bool
) -> list[Found]:
    from pycocotools import mask as coco

    packed = [rle.compressed(one.runs, size) for one in found]
    kept: list[int] = []
    for i in ranking:
        # A crowd's "IoU" is the intersection over the area of the other mask.
        overlaps = coco.iou([packed[i]], [packed[j] for j in kept], [int(contained)] * len(kept)) if kept else ()
        if not len(overlaps) or float(np.max(overlaps)) <= limit:
            kept.append(i)
    return [found[i] for i in sorted(kept)]


def without_background(found: list[Found], size: tuple[int, int], image: float, border: float) -> list[Found]:
    """`found` without masks over more than `image` of the image's pixels or `border` of those along its edge."""
    height, width = size
    return [
        one
        for one in found
        if rle.area(one.runs) <= image * height * width and (border >= 1 or border_share(one, size) <= border)
    ]


def border_share(one: Found, size: tuple[int, int]) -> float:
    """The part of the pixels along the image's edge that lie in the mask."""
    height, width = size
    inner = max(height - 2, 0) * max(width - 2, 0)
    return rle.on_border(one.runs, size) / (height * width - inner)


def best(found: list[Found], count: int) -> list[Found]:
    """The `count` masks of highest predicted IoU times stability; the order stays."""
    ranking = sorted(range(len(found)), key=lambda i: -found[i].predicted_iou * found[i].stability)
    return [found[i] for i in sorted(ranking[:count])]
