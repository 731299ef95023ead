"""Boxes between their notations; ours is XYXY, half-open, in pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ..types import Box, Size


def box_from_xywh(xywh: Sequence[float]) -> Box:
    """The half-open XYXY box of a COCO `[x, y, width, height]`."""
    x, y, width, height = (float(v) for v in xywh)
    return (x, y, x + width, y + height)


def box_to_xywh(box: Sequence[float]) -> tuple[float, float, float, float]:
    """COCO's `(x, y, width, height)` of an XYXY box."""
    x0, y0, x1, y1 = box
    return (x0, y0, x1 - x0, y1 - y0)


def clip_box(box: Sequence[float], size: Size) -> Box:
    """The part of an XYXY box inside an image of `size` (height, width)."""
    height, width = size
    x0, x1 = (min(max(float(v), 0.0), float(width)) for v in (box[0], box[2]))
    y0, y1 = (min(max(float(v), 0.0), float(height)) for v in (box[1], box[3]))
    return (x0, y0, x1, y1)


def bounding_points(values: Any) -> Box:
    """The tight XYXY box around flat `x0 y0 x1 y1 ...` numbers."""
    points = np.asarray(values, dtype=np.float64).reshape(-1, 2)
    x0, y0 = points.min(axis=0).tolist()
    x1, y1 = points.max(axis=0).tolist()
    return (x0, y0, x1, y1)
