"""From an image to the nano detector's boxes: resize, predict, and suppress duplicates."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PILImage
from torch import Tensor
from torchvision.ops import batched_nms, nms

from ._nanodet import MULTIPLE, Cells, NanoDet, normalized

MOST_CANDIDATES = 3000  # boxes that enter suppression
ACROSS = 0.7  # IoU from which boxes of two classes show one object


class Found(NamedTuple):
    """K boxes of one image, best first."""

    boxes: Tensor  # (K, 4) float32, XYXY in pixels of the image
    scores: Tensor  # (K,) float32
    classes: Tensor  # (K,) int64, indices of the network's classes


def candidates(
    network: NanoDet, pixels: NDArray[np.uint8], size: int, *, conf: float, keep: Collection[int] | None = None
) -> Found:
    """Every cell of `network` that scores at least `conf`, with `pixels` (H, W, 3) resized to a longest side of `size`.

    `keep` are the indices of the classes that count, None for all. Nothing is suppressed yet.
    """
    height, width = pixels.shape[:2]
    ratio = size / max(height, width)
    h, w = max(1, round(height * ratio)), max(1, round(width * ratio))
    device = next(network.parameters()).device
    resized = np.array(PILImage.fromarray(pixels).resize((w, h), PILImage.Resampling.BILINEAR))
    padded = torch.zeros(1, -(-h // MULTIPLE) * MULTIPLE, -(-w // MULTIPLE) * MULTIPLE, 3, device=device)
    padded = padded.permute(0, 3, 1, 2)  # channels_last, as the network's weights are
    padded[0, :, :h, :w] = normalized(torch.from_numpy(resized).to(device).permute(2, 0, 1))
    cells = network(padded)
    logits = cells.logits[0]  # (N, classes)
    if keep is not None and len(keep) < network.classes:
        logits[:, [index for index in range(network.classes) if index not in keep]] = -torch.inf
    best, classes = logits.max(-1)
    scores = best.sigmoid()
    inside = (cells.points[:, 0] < w) & (cells.points[:, 1] < h)  # padding holds no objects
    chosen = torch.nonzero((scores >= conf) & (scores > 0) & inside)[:, 0]
    few = Cells(cells.logits[:, chosen], cells.sides[:, chosen], cells.points[chosen], cells.strides[chosen])
    limit = padded.new_tensor([w, h, w, h])
    scale = padded.new_tensor([width / w, height / h] * 2)
    boxes = few.boxes()[0].clamp(min=0).minimum(limit) * scale
    return Found(boxes, scores[chosen], classes[chosen])


def pooled(looks: Sequence[Found], *, iou: float, most: int) -> Found:
    """At most `most` of the boxes of several looks at one image, without duplicates, best first.

    Of boxes of one class that overlap by more than `iou` the best stays, and of boxes of any classes by more than
    ACROSS: one thing is one object, whatever it is called.
    """
    boxes, scores, classes = (torch.cat(column) for column in zip(*looks, strict=True))
    order = scores.argsort(descending=True, stable=True)[:MOST_CANDIDATES]
    boxes, scores, classes = boxes[order], scores[order], classes[order]
    keep = batched_nms(boxes, scores, classes, iou)
    keep = keep[nms(boxes[keep], scores[keep], max(iou, ACROSS))[:most]]
    return Found(boxes[keep], scores[keep], classes[keep])
