"""Writing COCO instances."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from converters.fields.annotation import origin_of
from converters.fields.simplify import Budget
from converters.fields.values import Numbers, category_table, check_listed, plain
from converters.format import WriteReport
from converters.io.files import dump_json, place_image, refuse_existing
from converters.options import FormatOptions, option
from samlabel.errors import UsageError
from samlabel.files import OutputFolder, nameless
from samlabel.geometry import PolygonMask, box_to_xywh, mask_to_polygons, simplify_to
from samlabel.types import Annotation, Dataset, ImageRecord, Mask

from .reader import FILE


@dataclass(frozen=True, kw_only=True)
class CocoOptions(FormatOptions):
    segmentation: Literal["rle", "polygons"] = option("rle", "both are exact")
    keep_ids: bool = option(True, "keep the numbers of the source while they are free; else count from 1")
    max_points: int | None = option(None, "most points of a polygon, with segmentation=polygons")
    tolerance: float = option(0.0, "pixels that a polygon may leave the outline, with segmentation=polygons")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.budget.is_set and self.segmentation == "rle":
            raise UsageError("max_points and tolerance are for polygons; say --segmentation polygons")

    @property
    def budget(self) -> Budget:
        return Budget(self.max_points, self.tolerance)


def write(dataset: Dataset, path: Path, options: CocoOptions) -> WriteReport:
    """Write one COCO file: `path` itself when it ends in .json, else `path/annotations.json`.

    Annotations go to disk one by one, the table of images to a second file, so memory does not grow with them.
    `segmentation` is "rle" (exact) or "polygons" (exact too: those of the source as they are, others on pixel edges).
    `max_points` a polygon and `tolerance` in pixels make polygons smaller at a cost, counted as mask-changed. Ids of
    the source are kept while they are free; an image or object without one gets the next free number, from 1 in the
    order of the records. An area that a COCO file gave is kept unless polygons are made smaller; others are the mask's.
    """
    budget, images = options.budget, options.images
    files = dataset.images_in()
    file = _file(path)
    refuse_existing(existing(path), options.overwrite)
    folder = OutputFolder(file.parent).make()
    report = WriteReport("coco", str(file))
    ids = _Ids(options.keep_ids)
    known = frozenset(category.id for category in dataset.categories)
    with folder.replacing(file.name) as out, nameless(folder.path) as table:
        out.write(b"{")
        for key, value in dataset.extra.items():
            if key not in ("images", "annotations", "categories"):
                out.write(f"{dump_json(key)}:{dump_json(value)},\n".encode())
        out.write(f'"categories":{dump_json(category_table(dataset.categories))},\n"annotations":['.encode())
        for record in dataset.records:
            check_listed(record, known)
            number = ids.image(record)
            _write_line(table, report.images, _image_entry(record, number))
            report.images += 1
            for annotation in record.annotations:
                segments = _segmentation(annotation, options.segmentation, budget, report)
                area = None if budget.is_set and annotation.mask is not None else annotation.area
                entry = _object_entry(annotation, ids.annotation(annotation), number, segments, area)
                _write_line(out, report.objects, entry)
                report.objects += 1
            if images != "none":
                place_image(files, record.path, folder, f"images/{record.path}", images)
        out.write(b'],\n"images":[')
        table.seek(0)
        while chunk := table.read(1 << 20):
            out.write(chunk)
        out.write(b"]}\n")
    report.losses.update(+ids.changed)
    return report


def existing(path: Path) -> Path | None:
    """The label file that `write` would replace; None where there is none."""
    file = _file(path)
    return file if file.exists() else None


def _file(path: Path) -> Path:
    return path if path.suffix.lower() == ".json" else path / FILE


def rendered_mask(annotation: Annotation, options: CocoOptions) -> Mask | None:
    """The mask that pycocotools makes of the object as `write` puts it down."""
    mask = annotation.mask
    if mask is None or options.segmentation == "rle":
        return mask
    polygons = _polygons(annotation, options.budget)
    return Mask.from_polygons(polygons, mask.size) if polygons else mask


def _segmentation(annotation: Annotation, segmentation: str, budget: Budget, report: WriteReport) -> Any:
    """What goes into the field: polygons, RLE, or the empty list that COCO uses for a box alone."""
    mask = annotation.mask
    if mask is None:
        return []
    polygons = _polygons(annotation, budget) if segmentation == "polygons" else []
    if not polygons:
        return {"size": [int(v) for v in mask.size], "counts": mask.counts.decode("ascii")}
    if budget.is_set:
        report.losses["mask-changed"] += Mask.from_polygons(polygons, mask.size) != mask
        report.losses["over-budget"] += any(budget.is_exceeded(len(polygon) // 2) for polygon in polygons)
    return polygons


def _polygons(annotation: Annotation, budget: Budget) -> list[list[float]]:
    """The object's polygons within the budget; none where only RLE can say it."""
    mask = annotation.mask
    if mask is None or annotation.iscrowd:  # COCO's crowds are RLE
        return []
    if isinstance(mask, PolygonMask):
        rings = mask.polygons
    else:
        rings = [np.array(polygon, dtype=np.float64).reshape(-1, 2) for polygon in mask_to_polygons(mask)]
    if budget.is_set:
        rings = [simplify_to(points, max_points=budget.max_points, tolerance=budget.tolerance) for points in rings]
    return [[int(v) if v == int(v) else v for v in points.ravel().tolist()] for points in rings]


def _write_line(out: IO[bytes], before: int, entry: dict[str, Any]) -> None:
    out.write((",\n" if before else "\n").encode() + dump_json(entry).encode())


class _Ids:
    """Ids for images and objects, and how many of them are not those of the source."""

    def __init__(self, keep: bool) -> None:
        self._keep = keep
        self._images, self._annotations = Numbers(), Numbers()
        self.changed: Counter[str] = Counter()

    def image(self, record: ImageRecord) -> int | str:
        return self._take(record, self._images, "image-ids-changed")

    def annotation(self, annotation: Annotation) -> int | str:
        return self._take(annotation, self._annotations, "annotation-ids-changed")

    def _take(self, item: ImageRecord | Annotation, numbers: Numbers, code: str) -> int | str:
        own = item.extra.get("id")
        if isinstance(own, str):
            return own
        number = numbers.take(item.id if self._keep else None)
        self.changed[code] += item.id not in (None, number)
        return number


def _image_entry(record: ImageRecord, number: int | str) -> dict[str, Any]:
    height, width = record.size
    entry = {"id": number, "file_name": record.path, "width": int(width), "height": int(height)}
    return {**entry, **{k: v for k, v in record.extra.items() if k not in entry}}


def _object_entry(
    annotation: Annotation, number: int | str, image: int | str, segmentation: Any, area: float | None
) -> dict[str, Any]:
    mask = annotation.mask
    entry: dict[str, Any] = {"id": number, "image_id": image, "category_id": annotation.category_id}
    # A box that came with its object from a file is somebody's; one of our own runs is the mask's.
    box = annotation.box if mask is None or annotation.id is not None else mask.box
    entry["segmentation"] = segmentation
    if area is None:
        area = mask.area if mask is not None else plain((box[2] - box[0]) * (box[3] - box[1]))
    entry["area"] = area
    entry["bbox"] = [plain(v) for v in box_to_xywh(box)]
    entry["iscrowd"] = int(annotation.iscrowd)
    entry.update(origin_of(annotation))
    return {**entry, **{k: v for k, v in annotation.extra.items() if k not in entry}}
