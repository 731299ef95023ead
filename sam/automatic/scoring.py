"""What decides whether a generated mask is kept: its stability, its box, and where that box lies."""

from __future__ import annotations

from torch import Tensor

from .crops import CropBox

EDGE_TOLERANCE = 20.0  # pixels between a box and the edge of its crop that still count as touching


def stability_score(logits: Tensor, threshold: float, offset: float) -> Tensor:
    """(...) IoU of each of (..., H, W) masks cut at `threshold + offset` and at `threshold - offset`.

    A mask that is empty at both has score 0.
    """
    inner = (logits > threshold + offset).flatten(-2).sum(-1)
    outer = (logits > threshold - offset).flatten(-2).sum(-1)
    return inner / outer.clamp(min=1)


def inclusive(box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """First column, first row, last column, last row of a half-open box; zeros when it is empty.

    This is the box that Segment Anything compares and suppresses by.
    """
    x0, y0, x1, y1 = box
    return x0, y0, max(x1 - 1, 0), max(y1 - 1, 0)


def near_crop_edge(boxes: Tensor, crop_box: CropBox, size: tuple[int, int]) -> Tensor:
    """(M,) bool: boxes, in pixels of the crop, that touch an edge of the crop that is not the image's.

    What such a box holds is probably cut off; another crop shows it whole.
    """
    x0, y0, _, _ = crop_box
    placed = boxes.float() + boxes.new_tensor([x0, y0, x0, y0]).float()
    crop = placed.new_tensor(crop_box)
    image = placed.new_tensor([0, 0, size[1], size[0]])
    touches_crop = (placed - crop).abs() <= EDGE_TOLERANCE
    touches_image = (placed - image).abs() <= EDGE_TOLERANCE
    return (touches_crop & ~touches_image).any(1)
