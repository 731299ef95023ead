"""Which of several masks of the same thing stay."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..objects import Objects
from ..options import Duplicates


def survivors(objects: Objects, duplicates: Duplicates) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """(N,) bool: the objects that are no duplicate of one with a better score.

    The best comes first: by the detector's score, then the predicted IoU, then the place in `objects`. Each later
    object goes that overlaps one that stays by more than `duplicates.duplicate_iou`, or of which
    more than `duplicates.duplicate_containment` lies in it. Objects of different categories are compared only with
    `duplicates.agnostic_nms`. Objects without a mask stay.
    """
    from pycocotools import mask as coco

    count = len(objects)
    keep = np.ones(count, dtype=bool)
    masks = objects.masks
    if masks is None or count < 2 or not duplicates.any:
        return keep
    zeros = np.zeros(count)
    scores = [zeros if one is None else np.nan_to_num(one) for one in (objects.scores, objects.predicted_ious)]
    order = np.lexsort((np.arange(count), -scores[1], -scores[0]))
    rles = {place: mask.to_rle() for place, mask in enumerate(masks) if mask is not None}
    corners = np.array([mask.box if mask is not None else (0.0,) * 4 for mask in masks])
    kept: list[int] = []
    for place in order.tolist():
        if place not in rles:
            continue
        near = [other for other in kept if _meet(corners[place], corners[other])]
        if not duplicates.agnostic_nms:
            near = [other for other in near if objects.category_ids[other] == objects.category_ids[place]]
        if near:
            others, one = [rles[other] for other in near], [rles[place]]
            overlap = coco.iou(one, others, [0] * len(others))[0]
            inside = coco.iou(one, others, [1] * len(others))[0]  # of this one's own area
            if (overlap > duplicates.duplicate_iou).any() or (inside > duplicates.duplicate_containment).any():
                keep[place] = False
                continue
        kept.append(place)
    return keep


def _meet(one: Any, other: Any) -> bool:
    return bool(one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3])
