"""Masks to polygons and back, exact to the bit, worked out from runs without decoding pixels.

A mask's outline follows pixel edges: its corners are whole numbers, and its edges alternate between horizontal
and vertical. Foreground is 8-connected (two pixels that touch by a corner are one part), so holes are 4-connected.
Rasterising follows pycocotools' `rleFrPoly`, which toggles at every horizontal crossing, so an edge that is walked
twice leaves nothing behind: that is what makes zero-width seams exact.
https://github.com/cocodataset/cocoapi/blob/master/common/maskApi.c
"""

from __future__ import annotations

from .boxes import bounding_points, box_from_xywh, box_to_xywh, clip_box
from .polygon_mask import PolygonMask, any_sewn, polygon_masks, runs_at_most
from .polygons import (
    count_parts_and_holes,
    join_contours,
    mask_to_contours,
    mask_to_polygons,
    polygons_to_mask,
    simplify,
    simplify_to,
)
from .raster import outlines_to_counts
from .rle import RUNS_MAX
from .runs import (
    PIXELS_MAX,
    SIDE_MAX,
    cropped,
    innermost_point,
    mask_blocks,
    mask_box,
    mask_from_changes,
    mask_from_counts,
    mask_from_rows,
    mask_from_uncompressed,
    mask_iou,
    mask_rows,
    mask_runs,
    mask_union,
    mask_window,
    paste,
)

__all__ = [
    "PIXELS_MAX",
    "RUNS_MAX",
    "SIDE_MAX",
    "PolygonMask",
    "any_sewn",
    "bounding_points",
    "box_from_xywh",
    "box_to_xywh",
    "clip_box",
    "count_parts_and_holes",
    "cropped",
    "innermost_point",
    "join_contours",
    "mask_blocks",
    "mask_box",
    "mask_from_changes",
    "mask_from_counts",
    "mask_from_rows",
    "mask_from_uncompressed",
    "mask_iou",
    "mask_rows",
    "mask_runs",
    "mask_to_contours",
    "mask_to_polygons",
    "mask_union",
    "mask_window",
    "outlines_to_counts",
    "paste",
    "polygon_masks",
    "polygons_to_mask",
    "runs_at_most",
    "simplify",
    "simplify_to",
]
