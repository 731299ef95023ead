"""Writing YOLO segmentation and boxes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from converters.fields.values import check_listed
from converters.format import WriteReport
from converters.imagewise import Made, Update, over_images
from converters.io.files import Names, files_below, place_image, refuse_existing
from converters.parallel import Part, in_parts
from samlabel.files import OutputFolder
from samlabel.image_files import ImageFiles
from samlabel.types import Annotation, Category, Dataset, ImageRecord, Size

from .encoder import rows_of
from .layout import label_path
from .options import YoloOptions
from .rows import box_row_as_polygon

_TALLIES = {"boxes", "masks", "height", "width"}
SPLITS = ("train", "val", "test")


class YoloAudit:
    """Losses that only the whole dataset shows: classes renumbered, boxes among masks."""

    def __init__(self, categories: Iterable[Category]) -> None:
        self._categories = sorted(categories, key=lambda c: c.id)
        self._boxes = self._masks = 0

    def add(self, record: ImageRecord) -> None:
        without = sum([annotation.mask is None for annotation in record.annotations])
        self.count(without, len(record.annotations) - without)

    def count(self, boxes: int, masks: int) -> None:
        self._boxes += boxes
        self._masks += masks

    def join(self, other: YoloAudit) -> None:
        self._boxes += other._boxes
        self._masks += other._masks

    def losses(self) -> Mapping[str, int]:
        renumbered = sum(category.id != index for index, category in enumerate(self._categories))
        return {"category-ids-changed": renumbered, "box-became-mask": self._boxes if self._masks else 0}


def write(dataset: Dataset, path: Path, options: YoloOptions, update: Update | None = None) -> WriteReport:
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
    work = _Labels(path, categories, dataset.images_in(), options)
    done, *others = in_parts(work, dataset.records) if update is None else [work.over(update, Names())]
    for other in others:
        done.join(other)
    report, losses = done.report, done.audit.losses()
    if losses["box-became-mask"]:
        for label, size in done.box_files:
            rows = (folder.read(label) or b"").decode("utf-8").splitlines()
            folder.write(label, "".join(f"{_as_polygon(row, size)}\n" for row in rows))
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

    def add(self, made: Made) -> None:
        boxes, masks = made.tallies["boxes"], made.tallies["masks"]
        self.audit.count(boxes, masks)
        self.written.update(made.files)
        self.tops.add(made.name.partition("/")[0] if "/" in made.name else "")
        if boxes and not masks:
            self.box_files += [(label, (made.tallies["height"], made.tallies["width"])) for label in made.files]

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
        names = Names()
        for before in records.paths_before if isinstance(records, Part) else ():
            names.take(before)
        return self.over(Update(records), names)

    def over(self, update: Update, names: Names) -> _Done:
        index = {category.id: place for place, category in enumerate(self.categories)}
        done = _Done(WriteReport("yolo", str(self.path)), YoloAudit(self.categories))
        write = partial(self._write, index, OutputFolder(self.path))
        became = update.losses.get("box-became-mask", 0) > 0  # rows of boxes were made rectangles, and may be no longer

        def may_keep(made: Made) -> bool:
            found = made.tallies
            return found.keys() == _TALLIES and not (became and found["boxes"] and not found["masks"])

        for made in over_images(update, done.report, write, names=names, may_keep=may_keep):
            done.add(made)
        return done

    def _write(self, index: Mapping[int, int], out: OutputFolder, record: ImageRecord, name: str) -> Made:
        kept: Sequence[Annotation] = record.annotations
        losses: Counter[str] = Counter()
        crowd = sum([a.iscrowd for a in kept])
        if crowd:
            losses["crowd-lost"] = crowd
        if crowd and self.options.crowds == "drop":
            kept = [a for a in kept if not a.iscrowd]
            losses["object-lost"] = crowd
        check_listed(record, index)
        if name != record.path:
            losses["image-renamed"] = 1
        label = label_path(place := f"images/{name}")
        rows = rows_of(kept, index, record.size, self.options, losses)
        without = sum([a.mask is None for a in kept])
        if 0 < without < len(kept):
            rows = [_as_polygon(row, record.size) for row in rows]
        rows = [row for row in rows if row]
        if self.options.images != "none":
            place_image(self.files, record.path, out, place, self.options.images)
        out.write(label, "".join([f"{row}\n" for row in rows]))
        tallies = {"boxes": without, "masks": len(kept) - without, "height": record.size[0], "width": record.size[1]}
        image = place if self.options.images != "none" else None
        return Made(record.path, name, (label,), len(rows), image, losses, tallies)


def _as_polygon(row: str, size: Size) -> str:
    """A row of a box as the rectangle that it is; others as they are."""
    return box_row_as_polygon(row, size) if row and len(row.split()) == 5 else row


def _data_yaml(categories: Sequence[Category], tops: set[str]) -> str:
    """The dataset file; without `path`, which ultralytics then takes to be the file's own folder, wherever it is."""
    import yaml

    split = {"train", "val"} <= tops <= set(SPLITS)
    content: dict[str, Any] = {name: f"images/{name}" for name in SPLITS if name in tops} if split else {}
    content = content or {"train": "images", "val": "images"}
    content["names"] = {index: category.name for index, category in enumerate(categories)}
    return yaml.safe_dump(content, allow_unicode=True, sort_keys=False, width=1 << 30)
