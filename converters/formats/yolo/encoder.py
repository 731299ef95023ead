"""Objects as rows of a label file, and the masks that ultralytics makes of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeGuard

from converters.fields.simplify import Budget
from samlabel.geometry import PolygonMask, bounding_points, mask_to_contours, simplify_to
from samlabel.types import Annotation, Mask, Size

from .fill import as_ultralytics_fills, iou_in_ultralytics
from .options import YoloOptions
from .rows import TRACED, box_row, mask_row, plain_row, polygon_rows, read_polygon


def rows_of(
    annotations: Sequence[Annotation], index: Mapping[int, int], size: Size, options: YoloOptions, losses: Counter[str]
) -> list[str]:
    """The label row of every object; empty for a mask without a pixel, which no polygon can say."""
    rows: list[str | None] = [None] * len(annotations)
    budget = options.budget
    if options.outline == "given":
        masks = [
            (place, a.mask) for place, a in enumerate(annotations) if is_one_polygon(a.mask) and not is_outside(a.mask)
        ]
        if masks:
            places = [place for place, _ in masks]
            polygons = [_simpler(mask, budget) for _, mask in masks] if budget.is_set else [mask for _, mask in masks]
            indices = [index[annotations[place].category_id] for place in places]
            for place, row in zip(places, polygon_rows(polygons, indices, size), strict=True):
                rows[place] = row
    found = [
        _row(annotation, index[annotation.category_id], size, budget, losses) if row is None else row
        for annotation, row in zip(annotations, rows, strict=True)
    ]
    if budget.is_set:
        for annotation, row in zip(annotations, found, strict=True):
            if annotation.mask is not None and row:
                values = [float(word) for word in row.split()[1:]]
                losses["mask-changed"] += read_polygon(values, size) != annotation.mask
                losses["over-budget"] += budget.is_exceeded(len(values) // 2)
    return found


def is_one_polygon(mask: Mask | None) -> TypeGuard[PolygonMask]:
    return isinstance(mask, PolygonMask) and len(mask.packed) == 1


def is_outside(mask: PolygonMask) -> bool:
    """Whether all of its points lie beyond one side of the image, so that it has no pixel."""
    (height, width), (x0, y0, x1, y1) = mask.size, mask.extent
    return x1 <= 0 or y1 <= 0 or x0 >= width or y0 >= height


def _row(annotation: Annotation, index: int, size: Size, budget: Budget, losses: Counter[str]) -> str:
    mask = annotation.mask
    if mask is None:
        return box_row(annotation.box, index, size)
    contours = mask_to_contours(mask, inset=TRACED)
    if not contours:
        if is_one_polygon(mask) and not is_outside(mask):  # thinner than a pixel: its points, as near as may be
            return plain_row(mask.polygons[0], index, size)
        losses["empty-mask-lost"] += 1
        return ""
    losses["parts-bridged"] += len(contours) > 1
    return mask_row(contours, index, size, budget)


def _simpler(mask: PolygonMask, budget: Budget) -> PolygonMask:
    """The polygon within the budget."""
    points = simplify_to(mask.polygons[0], max_points=budget.max_points, tolerance=budget.tolerance)
    return PolygonMask((points.tobytes(),), mask.size, bounding_points(points))


def rendered_mask(annotation: Annotation, options: YoloOptions) -> Mask | None:
    """The mask that ultralytics' loader makes of the object as it is written, at the image's own size."""
    if annotation.mask is None:
        return None
    size = annotation.mask.size
    (row,) = rows_of([annotation], {annotation.category_id: 0}, size, options, Counter())
    return as_ultralytics_fills(row, size) if row else None


def rendered_ious(annotations: Sequence[Annotation], size: Size, options: YoloOptions) -> list[float | None]:
    """IoU of every mask with its `rendered_mask`, many at a time; None of one too large to be measured."""
    rows = rows_of(annotations, {a.category_id: 0 for a in annotations}, size, options, Counter())
    drops = options.crowds == "drop"
    return [
        iou_in_ultralytics(a.mask, row) if a.mask and row and not (a.iscrowd and drops) else 0.0
        for a, row in zip(annotations, rows, strict=True)
    ]
