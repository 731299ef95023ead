"""Writing YOLO segmentation and boxes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from converters.fields.values import check_listed
from converters.format import WriteReport
from converters.io.files import Names, files_below, place_image, refuse_existing
from converters.parallel import Part, in_parts
from samlabel.files import OutputFolder
from samlabel.image_files import ImageFiles
from samlabel.types import Annotation, Category, Dataset, ImageRecord, Size

from .encoder import rows_of
from .layout import label_path
from .options import YoloOptions
from .rows import box_row_as_polygon

SPLITS = ("train", "val", "test")


class YoloAudit:
    """Losses that only the whole dataset shows: classes renumbered, boxes among masks."""

    def __init__(self, categories: Iterable[Category]) -> None:
        self._categories = sorted(categories, key=lambda c: c.id)
        self._boxes = self._masks = 0

    def add(self, record: ImageRecord) -> None:
        without = sum([annotation.mask is None for annotation in record.annotations])
        self._boxes += without
        self._masks += len(record.annotations) - without

    def join(self, other: YoloAudit) -> None:
        self._boxes += other._boxes
        self._masks += other._masks

    def losses(self) -> Mapping[str, int]:
        renumbered = sum(category.id != index for index, category in enumerate(self._categories))
        return {"category-ids-changed": renumbered, "box-became-mask": self._boxes if self._masks else 0}


def write(dataset: Dataset, path: Path, options: YoloOptions) -> WriteReport:
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
    refuse_existing(existing(path), options.overwrite)
    folder = OutputFolder(path)
    for name in ("images", "labels"):
        if folder.kind(name) is None:  # a link to images that nothing is placed among may stay
            folder.mkdir(name)
    categories = tuple(sorted(dataset.categories, key=lambda c: c.id))
    done, *others = in_parts(_Labels(path, categories, dataset.images_in(), options), dataset.records)
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


@dataclass
class _Done:
    """What was written, as far as the files beside the labels and the report need to know."""

    report: WriteReport
    audit: YoloAudit
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
    options: YoloOptions

    def __call__(self, records: Iterable[ImageRecord]) -> _Done:
        index = {category.id: place for place, category in enumerate(self.categories)}
        done = _Done(WriteReport("yolo", str(self.path)), YoloAudit(self.categories))
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
        if crowd and self.options.crowds == "drop":
            kept = [a for a in kept if not a.iscrowd]
            report.losses["object-lost"] += crowd
        done.audit.add(record if kept is record.annotations else ImageRecord(record.path, record.size, tuple(kept)))
        check_listed(record, index)
        name = names.take(record.path)
        report.losses["image-renamed"] += name != record.path
        done.tops.add(name.partition("/")[0] if "/" in name else "")
        label = label_path(f"images/{name}")
        rows = rows_of(kept, index, record.size, self.options, report.losses)
        without = sum([a.mask is None for a in kept])
        if without and without == len(kept):
            done.box_files.append((label, record.size))
        elif without:
            rows = [box_row_as_polygon(row, record.size) if row and len(row.split()) == 5 else row for row in rows]
        rows = [row for row in rows if row]
        report.images += 1
        report.objects += len(rows)
        if self.options.images != "none":
            place_image(self.files, record.path, out, f"images/{name}", self.options.images)
        out.write(label, "".join([f"{row}\n" for row in rows]))
        done.written.add(label)


def _data_yaml(categories: Sequence[Category], tops: set[str]) -> str:
    """The dataset file; without `path`, which ultralytics then takes to be the file's own folder, wherever it is."""
    import yaml

    split = {"train", "val"} <= tops <= set(SPLITS)
    content: dict[str, Any] = {name: f"images/{name}" for name in SPLITS if name in tops} if split else {}
    content = content or {"train": "images", "val": "images"}
    content["names"] = {index: category.name for index, category in enumerate(categories)}
    return yaml.safe_dump(content, allow_unicode=True, sort_keys=False, width=1 << 30)
