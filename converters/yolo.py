"""YOLO segmentation and boxes: `images/`, `labels/` with one text file an image, and `data.yaml`.

https://docs.ultralytics.com/datasets/segment/. A row is a class index and either `cx cy w h` or the points of one
closed polygon, all divided by the image's width and height. Holes and parts of an object share its row, joined by
zero-width seams; samlabel reads its own rows back bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from samlabel.errors import UsageError
from samlabel.geometry import mask_to_contours
from samlabel.types import Annotation, Category, Dataset, ImageRecord, Size

from ._files import Names, check_transfer, inside, place_image, refuse_existing, write_text
from ._report import WriteReport
from ._values import check_listed
from ._yolo_read import label_path, read, recognise
from ._yolo_rows import TRACED, box_row, box_row_as_polygon, mask_row

__all__ = ["KEEPS", "Audit", "read", "recognise", "write"]

KEEPS = frozenset("exact_masks holes parts boxes_without_mask empty_images category_names".split())
SPLITS = ("train", "val", "test")


class Audit:
    """Losses that only the whole dataset shows: classes renumbered, boxes among masks."""

    def __init__(self, categories: Iterable[Category]) -> None:
        self._categories = sorted(categories, key=lambda c: c.id)
        self._boxes = self._masks = 0

    def add(self, record: ImageRecord) -> None:
        without = sum(annotation.mask is None for annotation in record.annotations)
        self._boxes += without
        self._masks += len(record.annotations) - without

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
) -> WriteReport:
    """Write a YOLO dataset below the folder `path`; sub-folders of images are mirrored.

    A class's index is its place among the categories by id. An image without objects gets an empty file. ultralytics
    wants polygons alone or boxes alone: when any object has a mask, those without one become rectangles (code
    box-became-mask). Crowds are ordinary objects here, or left out with `crowds="drop"`.
    """
    check_transfer(images)
    if crowds not in ("keep", "drop"):
        raise UsageError(f"unknown choice for crowds {crowds!r}; known: keep, drop")
    path = Path(path)
    labels = path / "labels"
    refuse_existing(_existing(path), overwrite)
    for folder in ("images", "labels"):
        (path / folder).mkdir(parents=True, exist_ok=True)
    categories = sorted(dataset.categories, key=lambda c: c.id)
    index = {category.id: place for place, category in enumerate(categories)}
    report = WriteReport("yolo", str(path))
    audit = Audit(categories)
    names, written, box_files = Names(), set(), []
    tops: set[str] = set()
    for record in dataset.records:
        kept = [a for a in record.annotations if not (a.iscrowd and crowds == "drop")]
        report.losses["crowd-lost"] += sum(a.iscrowd for a in record.annotations)
        report.losses["object-lost"] += len(record.annotations) - len(kept)
        audit.add(ImageRecord(record.path, record.size, kept))
        check_listed(record, index)
        name = names.take(record.path)
        report.losses["image-renamed"] += name != record.path
        tops.add(name.partition("/")[0] if "/" in name else "")
        label = label_path(f"images/{name}")
        rows = [_row(a, index[a.category_id], record.size, report) for a in kept]
        if kept and all(a.mask is None for a in kept):
            box_files.append((label, record.size))
        elif any(a.mask is None for a in kept):
            rows = [box_row_as_polygon(row, record.size) if row and len(row.split()) == 5 else row for row in rows]
        rows = [row for row in rows if row]
        report.images += 1
        report.objects += len(rows)
        place_image(dataset.image_root, record.path, inside(path, f"images/{name}"), images)
        write_text(inside(path, label), "".join(f"{row}\n" for row in rows))
        written.add(label)
    losses = audit.losses()
    if losses["box-became-mask"]:
        for label, size in box_files:
            rows = (path / label).read_text(encoding="utf-8").splitlines()
            write_text(inside(path, label), "".join(f"{box_row_as_polygon(row, size)}\n" for row in rows))
    report.losses.update(losses)
    present = (file.relative_to(path).as_posix() for file in labels.rglob("*.txt"))
    report.losses["left-over-label"] += sum(name not in written for name in present)
    write_text(inside(path, "data.yaml"), _data_yaml(categories, tops))
    report.losses = +report.losses
    return report


def _existing(path: Path) -> Path | None:
    if (path / "data.yaml").exists():
        return path / "data.yaml"
    labels = path / "labels"
    return next(labels.rglob("*.txt"), None) if labels.is_dir() else None


def _row(annotation: Annotation, index: int, size: Size, report: WriteReport) -> str:
    """The label row of one object; empty for a mask without a pixel, which no polygon can say."""
    mask = annotation.mask
    if mask is None:
        return box_row(annotation.box, index, size)
    contours = mask_to_contours(mask, inset=TRACED)
    if not contours:
        report.losses["empty-mask-lost"] += 1
        return ""
    report.losses["parts-bridged"] += len(contours) > 1
    return mask_row(contours, index, size)


def _data_yaml(categories: list[Category], tops: set[str]) -> str:
    """The dataset file; without `path`, which ultralytics then takes to be the file's own folder, wherever it is."""
    import yaml

    split = {"train", "val"} <= tops <= set(SPLITS)
    content: dict[str, Any] = {name: f"images/{name}" for name in SPLITS if name in tops} if split else {}
    content = content or {"train": "images", "val": "images"}
    content["names"] = {index: category.name for index, category in enumerate(categories)}
    return yaml.safe_dump(content, allow_unicode=True, sort_keys=False, width=1 << 30)
