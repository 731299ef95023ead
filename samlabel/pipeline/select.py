"""The one place where candidates are dropped, with a reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from ..objects import Objects
from ..options import Thresholds
from ..types import Annotation


def why_dropped(annotation: Annotation, thresholds: Thresholds) -> str | None:
    """The reason why a candidate is no label, None when it is one."""
    area = annotation.mask.area if annotation.mask is not None else 0
    if area == 0:
        return "empty_mask"
    if area < thresholds.min_area:
        return "min_area"
    if _below(annotation.predicted_iou, thresholds.pred_iou_thresh):
        return "pred_iou_thresh"
    if _below(annotation.stability_score, thresholds.stability_score_thresh):
        return "stability_score_thresh"
    return None


def usable(objects: Objects, size: tuple[int, int], dropped: Counter[str]) -> Objects:
    """Objects with boxes clipped to the image; a box with no pixel inside is counted as `bad_box`."""
    height, width = size
    limits = np.array([width, height, width, height], dtype=np.float32)
    finite = np.asarray(np.isfinite(objects.boxes).all(axis=1))  # (N,)
    boxes = np.clip(np.where(finite[:, None], objects.boxes, 0), 0, limits)
    keep = finite & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    if not keep.all():
        dropped["bad_box"] += int((~keep).sum())
    return replace(objects, boxes=boxes).take(keep)


def _below(value: float | None, limit: float) -> bool:
    """True when a score misses its limit; NaN misses every limit above 0, an absent score none."""
    return limit > 0 and value is not None and not value >= limit
