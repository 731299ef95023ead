"""What an object carries besides its class and shape, as a plain table with the names that COCO files use."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Any

from converters.lenient import broken, coded
from samlabel.geometry import box_from_xywh, box_to_xywh, runs_at_most
from samlabel.types import Annotation, Box, Mask

from .values import id_of, numbers, plain, points_of, score_of

SCORES = ("score", "predicted_iou", "stability_score")
NESTED = "samlabel_extra"
RUNS_OF_IMAGE, RUNS_OF_OBJECT = 2**24, 2**8  # of all masks of an image, and more for each that there is
READ = frozenset(("id", "bbox", "iscrowd", *SCORES, "source", "point_coords", "crop_box"))


def bounded(objects: Iterable[Annotation], where: str) -> tuple[Annotation, ...]:
    """The objects of an image; FormatError at `where` as soon as they claim more runs together than any image's do."""
    found: list[Annotation] = []
    total, exactly = 0, False
    for one in objects:
        found.append(one)
        total += 0 if one.mask is None else runs_at_most(one.mask, exactly=exactly)
        most = RUNS_OF_IMAGE + RUNS_OF_OBJECT * len(found)
        if total > most and not exactly:
            exactly = True
            total = sum(runs_at_most(each.mask, exactly=True) for each in found if each.mask is not None)
        if total > most:
            raise broken("bad-mask", f"{where}: {len(found)} objects of {total} runs together; expected at most {most}")
    return tuple(found)


def fields_of(annotation: Annotation) -> dict[str, Any]:
    """Only what is set; `bbox` (XYWH) only when it came with the object and is not the tight box of its mask."""
    mask = annotation.mask
    fields: dict[str, Any] = {}
    if annotation.id is not None:
        fields["id"] = annotation.id
        if mask is not None and any(abs(a - b) > 1e-6 for a, b in zip(annotation.box, mask.box, strict=True)):
            fields["bbox"] = [plain(v) for v in box_to_xywh(annotation.box)]
    if annotation.iscrowd:
        fields["iscrowd"] = 1
    fields.update(origin_of(annotation))
    return {**fields, **{k: v for k, v in annotation.extra.items() if k not in fields}}


def scores_of(annotation: Annotation) -> dict[str, float]:
    """The scores that are set, by their names in SCORES."""
    found = zip(SCORES, (annotation.score, annotation.predicted_iou, annotation.stability_score), strict=True)
    return {name: float(score) for name, score in found if score is not None}


def origin_of(annotation: Annotation) -> dict[str, Any]:
    """How the object came about, as far as that is set: scores, `source`, `point_coords`, `crop_box` (XYWH)."""
    fields: dict[str, Any] = dict(scores_of(annotation))
    if annotation.source is not None:
        fields["source"] = annotation.source
    if annotation.point_coords:
        fields["point_coords"] = [[plain(v) for v in point] for point in annotation.point_coords]
    if annotation.crop_box is not None:
        fields["crop_box"] = [plain(v) for v in box_to_xywh(annotation.crop_box)]
    return fields


def nested(extra: Mapping[str, Any], taken: Container[str]) -> dict[str, Any]:
    """`extra` for a table with keys of its own: those that are `taken` go one level down, under NESTED."""
    free = {k: v for k, v in extra.items() if k not in taken and k != NESTED}
    return free if len(free) == len(extra) else {**free, NESTED: {k: v for k, v in extra.items() if k not in free}}


def unnested(table: Mapping[str, Any]) -> dict[str, Any]:
    """What `nested` was given."""
    inner = table.get(NESTED)
    if not isinstance(inner, dict):
        return dict(table)
    return {**{k: v for k, v in table.items() if k != NESTED}, **inner}


def annotation_of(fields: Mapping[str, Any], category_id: int, mask: Mask | None, box: Box, where: str) -> Annotation:
    """The object that `fields` describe; `box` where they have none. What is not read goes to `extra`."""
    if fields.get("bbox") is not None:
        with coded("bad-box"):
            box = box_from_xywh(numbers(fields["bbox"], where, "bbox", length=4))
    if box[2] < box[0] or box[3] < box[1]:
        raise broken("bad-box", f"{where}: a box of negative width or height")
    return described(fields, category_id, mask, box, where)


def described(
    fields: Mapping[str, Any],
    category_id: int,
    mask: Mask | None,
    box: Box,
    where: str,
    *,
    read: Container[str] = READ,
    area: float | None = None,
) -> Annotation:
    """The object of this mask and box that `fields` say more of; what is not among `read` goes to `extra`."""
    extra = {k: v for k, v in fields.items() if k not in read}
    key = id_of(fields.get("id"))
    if isinstance(key, str):
        extra["id"] = key
    source = fields.get("source")
    if source is not None and not isinstance(source, str):
        extra["source"], source = source, None
    points = points_of(fields.get("point_coords") or [], where)
    crop = fields.get("crop_box")
    return Annotation(
        category_id,
        box,
        mask,
        score=score_of(fields, "score", where),
        predicted_iou=score_of(fields, "predicted_iou", where),
        stability_score=score_of(fields, "stability_score", where),
        iscrowd=bool(fields.get("iscrowd")),
        source=source,
        point_coords=points,
        crop_box=None if crop is None else box_from_xywh(numbers(crop, where, "crop_box", length=4)),
        id=key if isinstance(key, int) else None,
        extra=extra,
        area=area,
    )
