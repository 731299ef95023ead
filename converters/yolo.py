"""YOLO segmentation and boxes: `images/`, `labels/` with one text file an image, and `data.yaml`.

https://docs.ultralytics.com/datasets/segment/. A row is a class index and either `cx cy w h` or the points of one
closed polygon, all divided by the image's width and height. Holes and parts of an object share its row, joined by
zero-width seams; samlabel reads its own rows back bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from samlabel.errors import UsageError
from samlabel.files import OutputFolder
from samlabel.geometry import PolygonMask, bounding_points, mask_to_contours, simplify_to
from samlabel.image_files import ImageFiles
from samlabel.types import Annotation, Category, Dataset, ImageRecord, Mask, Size

from ._budget import Budget
from ._files import Names, check_transfer, files_below, place_image, refuse_existing
from ._parts import Part, in_parts
from ._report import WriteReport
from ._values import check_listed
from ._yolo_fill import as_ultralytics_fills, iou_in_ultralytics
from ._yolo_layout import label_path
from ._yolo_read import read, recognise
from ._yolo_rows import TRACED, box_row, box_row_as_polygon, mask_row, plain_row, polygon_rows, read_polygon
from ._yolo_unsized import read_unsized

__all__ = [
    "KEEPS",
    "OPTIONS",
    "READER",
    "Audit",
    "as_read",
    "dropped",
    "keeps",
    "read",
    "read_unsized",
    "reader_ious",
    "recognise",
    "write",
]

KEEPS = frozenset(["exact_masks", "holes", "parts", "boxes_without_mask", "empty_images", "category_names"])
OPTIONS = {
    "crowds": "keep|drop: as ordinary objects, or not at all",
    "outline": "traced|given: so that ultralytics fills the mask's own pixels, or polygons as they came",
    "max_points": "most points of a row",
    "tolerance": "pixels that a polygon may leave the outline",
}
SPLITS = ("train", "val", "test")


class Audit:
    """Losses that only the whole dataset shows: classes renumbered, boxes among masks."""

    def __init__(self, categories: Iterable[Category]) -> None:
        self._categories = sorted(categories, key=lambda c: c.id)
        self._boxes = self._masks = 0

    def add(self, record: ImageRecord) -> None:
        without = sum([annotation.mask is None for annotation in record.annotations])
        self._boxes += without
        self._masks += len(record.annotations) - without

    def join(self, other: Audit) -> None:
        self._boxes += other._boxes
        self._masks += other._masks

    def losses(self) -> Mapping[str, int]:
        renumbered = sum(category.id != index for index, category in enumerate(self._categories))
        return {"category-ids-changed": renumbered, "box-became-mask": self._boxes if self._masks else 0}


def write(
    dataset: Dataset,
    path: Path,
    *,
    overwrite: bool = False,
    images: str = "copy",
    crowds: str = "keep",
    outline: str = "given",
    max_points: int | None = None,
    tolerance: float = 0.0,
) -> WriteReport:
    """Write a YOLO dataset below the folder `path`; sub-folders of images are mirrored.

    A class's index is its place among the categories by id. An image without objects gets an empty file. ultralytics
    wants polygons alone or boxes alone: when any object has a mask, those without one become rectangles (code
    box-became-mask). Crowds are ordinary objects here, or left out with `crowds="drop"`.

    `outline` "given" writes an object of one polygon with the points that it came with: they come back as they were
    drawn, and samlabel reads them to the same pixels, but ultralytics cuts them down to whole pixels and paints the
    outline too (mean IoU 0.958 on discs of 8 to 90 pixels across; the receipt tells yours). "traced" follows the
    pixels of every mask, so that ultralytics fills these very pixels: three times the text and many times the work.
    `max_points` a row and `tolerance` in pixels make rows smaller at a cost, counted as mask-changed.
    """
    how = _How(outline, Budget(max_points, tolerance))
    check_transfer(images)
    if crowds not in ("keep", "drop"):
        raise UsageError(f"unknown choice for crowds {crowds!r}; known: keep, drop")
    path = Path(path)
    refuse_existing(existing(path), overwrite)
    folder = OutputFolder(path)
    for name in ("images", "labels"):
        if folder.kind(name) is None:  # a link to images that nothing is placed among may stay
            folder.mkdir(name)
    categories = tuple(sorted(dataset.categories, key=lambda c: c.id))
    done, *others = in_parts(_Labels(path, categories, dataset.images_in(), images, crowds, how), dataset.records)
    for other in others:
        done.join(other)
    report, losses = done.report, done.audit.losses()
    if losses["box-became-mask"]:
        for label, size in done.box_files:
            rows = (folder.read(label) or b"").decode("utf-8").splitlines()
            folder.write(label, "".join(f"{box_row_as_polygon(row, size)}\n" for row in rows))
    report.losses.update(losses)
    report.losses["left-over-label"] += sum(name not in done.written for name in files_below(path, "labels", ".txt"))
    folder.write("data.yaml", _data_yaml(categories, done.tops))
    report.losses = +report.losses
    return report


def existing(path: Path) -> Path | None:
    """A label file that `write` would replace or leave beside its own; None where there is none."""
    if (path / "data.yaml").exists():
        return path / "data.yaml"
    labels = path / "labels"
    return next(labels.rglob("*.txt"), None) if labels.is_dir() else None


def keeps(*, max_points: int | None = None, tolerance: float = 0.0, **_: Any) -> frozenset[str]:
    """What survives with these options of `write`."""
    return KEEPS - {"exact_masks"} if Budget(max_points, tolerance).is_set else KEEPS


def dropped(annotation: Annotation) -> str | None:
    """The code under which `write` leaves an object out; None when it writes it."""
    mask = annotation.mask
    if mask is None or (isinstance(mask, PolygonMask) and len(mask.packed) == 1):  # its points are written anyway
        return None
    return None if mask.area else "empty-mask-lost"


READER = "ultralytics"


def as_read(
    annotation: Annotation,
    *,
    outline: str = "given",
    max_points: int | None = None,
    tolerance: float = 0.0,
    **_: Any,
) -> Mask | None:
    """The mask that ultralytics' loader makes of the object as `write` puts it down, at the image's own size."""
    if annotation.mask is None:
        return None
    size = annotation.mask.size
    how = _How(outline, Budget(max_points, tolerance))
    (row,) = _rows([annotation], {annotation.category_id: 0}, size, how, WriteReport("yolo", ""))
    return as_ultralytics_fills(row, size) if row else None


def reader_ious(
    annotations: Sequence[Annotation],
    size: Size,
    *,
    outline: str = "given",
    max_points: int | None = None,
    tolerance: float = 0.0,
    crowds: str = "keep",
    **_: Any,
) -> list[float | None]:
    """IoU of every mask with that of `as_read`, many at a time; None of one too large to be measured."""
    how = _How(outline, Budget(max_points, tolerance))
    rows = _rows(annotations, {a.category_id: 0 for a in annotations}, size, how, WriteReport("yolo", ""))
    return [
        iou_in_ultralytics(a.mask, row) if a.mask and row and not (a.iscrowd and crowds == "drop") else 0.0
        for a, row in zip(annotations, rows, strict=True)
    ]


@dataclass(frozen=True)
class _How:
    """How masks become rows."""

    outline: str
    budget: Budget

    def simpler(self, mask: PolygonMask) -> PolygonMask:
        """The polygon within the budget."""
        points = simplify_to(mask.polygons[0], max_points=self.budget.max_points, tolerance=self.budget.tolerance)
        return PolygonMask((points.tobytes(),), mask.size, bounding_points(points))

    def __post_init__(self) -> None:
        if self.outline not in ("given", "traced"):
            raise UsageError(f"unknown outline {self.outline!r}; known: given, traced")


@dataclass
class _Done:
    """What was written, as far as the files beside the labels and the report need to know."""

    report: WriteReport
    audit: Audit
    written: set[str] = field(default_factory=set)  # label files
    box_files: list[tuple[str, Size]] = field(default_factory=list)  # those of them that hold boxes alone
    tops: set[str] = field(default_factory=set)  # first folders of the images' names

    def join(self, other: _Done) -> None:
        self.report.images += other.report.images
        self.report.objects += other.report.objects
        self.report.losses.update(other.report.losses)
        self.audit.join(other.audit)
        self.written |= other.written
        self.box_files += other.box_files
        self.tops |= other.tops


@dataclass(frozen=True)
class _Labels:
    """Writes the label files of records, and places their images."""

    path: Path
    categories: tuple[Category, ...]  # sorted by id
    files: ImageFiles
    images: str
    crowds: str
    how: _How

    def __call__(self, records: Iterable[ImageRecord]) -> _Done:
        index = {category.id: place for place, category in enumerate(self.categories)}
        done = _Done(WriteReport("yolo", str(self.path)), Audit(self.categories))
        names, out = Names(), OutputFolder(self.path)
        for before in records.paths_before if isinstance(records, Part) else ():
            names.take(before)
        for record in records:
            self._write(record, index, names, out, done)
        return done

    def _write(
        self, record: ImageRecord, index: Mapping[int, int], names: Names, out: OutputFolder, done: _Done
    ) -> None:
        report = done.report
        kept: Sequence[Annotation] = record.annotations
        crowd = sum([a.iscrowd for a in kept])
        report.losses["crowd-lost"] += crowd
        if crowd and self.crowds == "drop":
            kept = [a for a in kept if not a.iscrowd]
            report.losses["object-lost"] += crowd
        done.audit.add(record if kept is record.annotations else ImageRecord(record.path, record.size, tuple(kept)))
        check_listed(record, index)
        name = names.take(record.path)
        report.losses["image-renamed"] += name != record.path
        done.tops.add(name.partition("/")[0] if "/" in name else "")
        label = label_path(f"images/{name}")
        rows = _rows(kept, index, record.size, self.how, report)
        without = sum([a.mask is None for a in kept])
        if without and without == len(kept):
            done.box_files.append((label, record.size))
        elif without:
            rows = [box_row_as_polygon(row, record.size) if row and len(row.split()) == 5 else row for row in rows]
        rows = [row for row in rows if row]
        report.images += 1
        report.objects += len(rows)
        if self.images != "none":
            place_image(self.files, record.path, out, f"images/{name}", self.images)
        out.write(label, "".join([f"{row}\n" for row in rows]))
        done.written.add(label)


def _rows(
    annotations: Sequence[Annotation], index: Mapping[int, int], size: Size, how: _How, report: WriteReport
) -> list[str]:
    """The label row of every object; empty for a mask without a pixel, which no polygon can say."""
    rows: list[str | None] = [None] * len(annotations)
    if how.outline == "given":
        masks = [(place, a.mask) for place, a in enumerate(annotations) if _is_one_polygon(a.mask)]
        if masks:
            places = [place for place, _ in masks]
            polygons = [how.simpler(mask) for _, mask in masks] if how.budget.is_set else [mask for _, mask in masks]
            indices = [index[annotations[place].category_id] for place in places]
            for place, row in zip(places, polygon_rows(polygons, indices, size), strict=True):
                rows[place] = row
    found = [
        _row(annotation, index[annotation.category_id], size, how, report) if row is None else row
        for annotation, row in zip(annotations, rows, strict=True)
    ]
    if how.budget.is_set:
        for annotation, row in zip(annotations, found, strict=True):
            if annotation.mask is not None and row:
                values = [float(word) for word in row.split()[1:]]
                report.losses["mask-changed"] += read_polygon(values, size) != annotation.mask
                report.losses["over-budget"] += how.budget.is_exceeded(len(values) // 2)
    return found


def _is_one_polygon(mask: Mask | None) -> TypeGuard[PolygonMask]:
    return isinstance(mask, PolygonMask) and len(mask.packed) == 1


def _row(annotation: Annotation, index: int, size: Size, how: _How, report: WriteReport) -> str:
    mask = annotation.mask
    if mask is None:
        return box_row(annotation.box, index, size)
    contours = mask_to_contours(mask, inset=TRACED)
    if not contours:
        if _is_one_polygon(mask):  # thinner than a pixel: its points, as near as may be
            return plain_row(mask.polygons[0], index, size)
        report.losses["empty-mask-lost"] += 1
        return ""
    report.losses["parts-bridged"] += len(contours) > 1
    return mask_row(contours, index, size, how.budget)


def _data_yaml(categories: Sequence[Category], tops: set[str]) -> str:
    """The dataset file; without `path`, which ultralytics then takes to be the file's own folder, wherever it is."""
    import yaml

    split = {"train", "val"} <= tops <= set(SPLITS)
    content: dict[str, Any] = {name: f"images/{name}" for name in SPLITS if name in tops} if split else {}
    content = content or {"train": "images", "val": "images"}
    content["names"] = {index: category.name for index, category in enumerate(categories)}
    return yaml.safe_dump(content, allow_unicode=True, sort_keys=False, width=1 << 30)
