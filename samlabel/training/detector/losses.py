"""What the detector is trained to do well: quality focal loss, generalized IoU and distribution focal loss.

Generalized Focal Loss, https://arxiv.org/abs/2006.04388. Which cells are to find an object is decided anew for each
input, by what the network itself finds there (dynamic k of SimOTA, https://arxiv.org/abs/2107.08430, with soft labels).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_iou, generalized_box_iou_loss

from ...detectors._nanodet import BINS, Cells
from .samples import Sample

MOST_CELLS = 13  # whose IoU decides how many cells an object gets
BOX_WEIGHT, DISTRIBUTION_WEIGHT = 2.0, 0.25


class Assignment(NamedTuple):
    """The P cells of one input that are to find an object."""

    cells: Tensor  # (P,) their indices
    objects: Tensor  # (P,) the object of each
    ious: Tensor  # (P,) of the cell's box with the object's


def within(points: Tensor, boxes: Tensor) -> Tensor:
    """(N, M): which of the points (N, 2) lie inside each of the boxes (M, 4)."""
    sides = torch.cat([points[:, None] - boxes[None, :, :2], boxes[None, :, 2:] - points[:, None]], -1)
    return sides.amin(-1) > 0


@torch.no_grad()
def assigned(logits: Tensor, boxes: Tensor, points: Tensor, sample: Sample) -> Assignment:
    """Cells for each object of `sample`, from logits (N, classes), boxes (N, 4) and points (N, 2).

    An object gets as many cells as the IoU of its best boxes add up to, the cheapest ones, among cells whose point lies
    inside an object. Cheap is a box that fits and a score that says so.
    """
    inside = torch.nonzero(within(points, sample.boxes).any(1))[:, 0]
    if not len(inside):
        return Assignment(inside, inside, logits.new_zeros(0))
    overlap = box_iou(boxes[inside], sample.boxes)  # (n, M)
    scores = logits[inside].sigmoid()
    against = F.softplus(logits[inside]) * scores**2  # cost of each class where it is not the object's
    own_logits, own_scores = logits[inside][:, sample.classes], scores[:, sample.classes]  # (n, M)
    own = F.binary_cross_entropy_with_logits(own_logits, overlap, reduction="none") * (overlap - own_scores) ** 2
    cost = against.sum(1, keepdim=True) - against[:, sample.classes] + own - 3 * (overlap + 1e-7).log()
    counts = overlap.topk(min(MOST_CELLS, len(inside)), dim=0).values.sum(0).int().clamp(min=1)
    cheap = cost.argsort(dim=0, stable=True).argsort(dim=0) < counts  # (n, M)
    best, objects = cost.masked_fill(~cheap, torch.inf).min(1)
    taken = best.isfinite()
    return Assignment(inside[taken], objects[taken], overlap[taken].gather(1, objects[taken, None])[:, 0])


def detection_loss(cells: Cells, samples: Sequence[Sample]) -> dict[str, Tensor]:
    """The loss of a batch by its parts: "classes", "boxes" and "sides", to be added up."""
    boxes = cells.boxes()  # (B, N, 4)
    targets, heard = torch.zeros_like(cells.logits), torch.ones_like(cells.logits)
    rows, places, truths = [], [], []
    for image, sample in enumerate(samples):
        quiet = within(cells.points, sample.ignored_boxes)
        for index, kind in enumerate(sample.ignored_classes.tolist()):
            heard[image, quiet[:, index], kind] = 0
        found = assigned(cells.logits[image].detach(), boxes[image].detach(), cells.points, sample)
        kinds = sample.classes[found.objects]
        targets[image, found.cells, kinds] = found.ious
        heard[image, found.cells] = 1
        rows.append(torch.full_like(found.cells, image))
        places.append(found.cells)
        truths.append(sample.boxes[found.objects])
    row, place, truth = torch.cat(rows), torch.cat(places), torch.cat(truths)
    scores = cells.logits.detach().sigmoid()
    focal = F.binary_cross_entropy_with_logits(cells.logits, targets, reduction="none") * (targets - scores) ** 2
    losses = {"classes": (focal * heard).sum() / max(len(place), 1)}
    if not len(place):
        return losses
    weight = scores[row, place].amax(1)  # sure cells count for more
    weight = weight / weight.sum().clamp(min=1)
    fit = generalized_box_iou_loss(boxes[row, place], truth, reduction="none")
    points, strides = cells.points[place], cells.strides[place, None]
    distances = torch.cat([points - truth[:, :2], truth[:, 2:] - points], 1) / strides  # (P, 4)
    losses["boxes"] = BOX_WEIGHT * (fit * weight).sum()
    losses["sides"] = DISTRIBUTION_WEIGHT * (distribution_loss(cells.sides[row, place], distances) * weight).sum()
    return losses


def distribution_loss(logits: Tensor, distances: Tensor) -> Tensor:
    """(P,): cross entropy of side logits (P, 4, BINS) with the two bins beside each true distance (P, 4)."""
    distances = distances.clamp(0, BINS - 1.1)
    low = distances.long()
    above = distances - low  # share of the upper bin
    log = logits.log_softmax(-1)
    lower, upper = (log.gather(-1, bins[..., None])[..., 0] for bins in (low, low + 1))
    return -(lower * (1 - above) + upper * above).mean(1)
