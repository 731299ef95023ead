"""From an image to the nano detector's boxes: resize, predict, and suppress duplicates."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from PIL import Image as PILImage
from torch import Tensor
from torchvision.ops import batched_nms, nms

from ._nanodet import MULTIPLE, NanoDet, normalized

MOST_CANDIDATES = 3000  # boxes that enter suppression


class Found(NamedTuple):
    """K boxes of one image, best first."""

    boxes: Tensor  # (K, 4) float32, XYXY in pixels of the image
    scores: Tensor  # (K,) float32
    classes: Tensor  # (K,) int64, indices of the network's classes


def candidates(network: NanoDet, pixels: np.ndarray, size: int, *, conf: float, wanted: Tensor | None = None) -> Found:
    """Every cell of `network` that scores above `conf`, with `pixels` (H, W, 3) resized to a longest side of `size`.

    `wanted` (classes,) is False for classes that do not count. Nothing is suppressed yet.
    """
    height, width = pixels.shape[:2]
    ratio = size / max(height, width)
    h, w = max(1, round(height * ratio)), max(1, round(width * ratio))
    device = next(network.parameters()).device
    resized = np.array(PILImage.fromarray(pixels).resize((w, h), PILImage.Resampling.BILINEAR))
    padded = torch.zeros(1, 3, -(-h // MULTIPLE) * MULTIPLE, -(-w // MULTIPLE) * MULTIPLE, device=device)
    padded[0, :, :h, :w] = normalized(torch.from_numpy(resized).to(device).permute(2, 0, 1))
    cells = network(padded.contiguous(memory_format=torch.channels_last))
    scores = cells.logits[0].sigmoid()  # (N, classes)
    if wanted is not None:
        scores = scores * wanted
    best, classes = scores.max(-1)
    inside = (cells.points[:, 0] < w) & (cells.points[:, 1] < h)  # padding holds no objects
    keep = torch.nonzero((best > conf) & inside)[:, 0]
    limit = padded.new_tensor([w, h, w, h])
    scale = padded.new_tensor([width / w, height / h] * 2)
    boxes = cells.boxes()[0, keep].clamp(min=0).minimum(limit) * scale
    return Found(boxes, best[keep], classes[keep])


def pooled(parts: list[Found], *, iou: float, across: float, most: int) -> Found:
    """At most `most` of the boxes of several looks at one image, without duplicates, best first.

    Of boxes of one class that overlap by more than `iou` the best stays, and of boxes of any classes by more than
    `across`: one thing is one object, whatever it is called.
    """
    boxes, scores, classes = (torch.cat(column) for column in zip(*parts, strict=True))
    order = scores.argsort(descending=True, stable=True)[:MOST_CANDIDATES]
    boxes, scores, classes = boxes[order], scores[order], classes[order]
    keep = batched_nms(boxes, scores, classes, iou)
    keep = keep[nms(boxes[keep], scores[keep], across)[:most]]
    return Found(boxes[keep], scores[keep], classes[keep])
