"""Writing SA-1B records."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Any

from converters.fields.values import (
    category_table,
    check_listed,
    further,
    plain,
)
from converters.format import WriteReport
from converters.imagewise import Made, Update, over_images
from converters.io.files import dump_json, place_image, refuse_existing
from converters.options import FormatOptions, ImageMode, option
from samlabel.files import OutputFolder
from samlabel.geometry import box_to_xywh, innermost_point
from samlabel.types import Annotation, Dataset, ImageRecord

from .reader import SIDECAR, json_files

_IMAGES = 1 << 40  # images that ids tell apart


@dataclass(frozen=True, kw_only=True)
class Sa1bOptions(FormatOptions):
    images: ImageMode = "copy"
    sidecar: bool = option(True, "write classes, crowds and scores into samlabel.jsonl beside the records")


def write(dataset: Dataset, path: Path, options: Sa1bOptions, update: Update) -> WriteReport:
    """Write SA-1B records below the folder `path`: `sub/a.json` for the image `sub/a.jpg`, placed beside it.

    The format insists on values that some objects lack. A mask that nothing predicted gets the scores 1.0; one that no
    point prompted gets its innermost point; one without a crop gets the whole image. `sidecar` writes samlabel.jsonl:
    classes, crowd flags, detector scores, and which values were filled in. An image or object without an id gets one
    that depends on this image alone.
    """
    images, files = options.images, dataset.images_in()
    refuse_existing(existing(path), options.overwrite)
    folder = OutputFolder(path).make()
    report = WriteReport("sa1b", str(path))
    known = frozenset(category.id for category in dataset.categories)
    written: set[str] = set()

    def make(record: ImageRecord, name: str) -> Made:
        check_listed(record, known)
        label = str(PurePosixPath(name).with_suffix(".json"))
        place_image(files, record.path, folder, name, images)
        masked = [annotation for annotation in record.annotations if annotation.mask is not None]
        image_id, numbers = ids_of(record, masked)
        both = [_entries(one, number, record) for one, number in zip(masked, numbers, strict=True)]
        shown = name if images != "none" else record.path
        content = {
            "image": {
                "image_id": image_id,
                "width": int(record.size[1]),
                "height": int(record.size[0]),
                "file_name": PurePosixPath(shown).name,
            },
            "annotations": [entry for entry, _ in both],
        }
        folder.write(label, dump_json(content) + "\n")
        extras = [extra for _, extra in both]
        losses = {
            "image-renamed": int(name != record.path),
            "no-mask-lost": len(record.annotations) - len(masked),
            "score-filled": sum("predicted_iou" in extra.get("filled", ()) for extra in extras),
        }
        line = dump_json({"file": label, "objects": extras}) if extras else ""
        return Made(record.path, name, (label,), len(masked), name if images != "none" else None, losses, line=line)

    with folder.replacing(SIDECAR) if options.sidecar else _nowhere() as aside:
        head = {"categories": category_table(dataset.categories), **further(dataset)}
        aside.write(f"{dump_json(head)}\n".encode())
        for made in over_images(update, report, make):
            written.update(made.files)
            if made.line:
                aside.write(f"{made.line}\n".encode())
    report.losses["sidecar-only"] = report.objects if options.sidecar else 0
    report.losses["left-over-label"] = sum(f.relative_to(path).as_posix() not in written for f in json_files(path))
    report.losses = +report.losses
    return report


def existing(path: Path) -> Path | None:
    """A label file that `write` would replace or leave beside its own; None where there is none."""
    return next(json_files(path), None) if path.is_dir() else None


def ids_of(record: ImageRecord, annotations: Sequence[Annotation]) -> tuple[int, list[int]]:
    """The id of an image and those of its objects: their own, else made from the image's path and the object's place.

    They fit a float's 53 bits: 40 of the path's hash, and 12 to count the objects of the image from 1.
    """
    path = record.path.encode("utf-8", "surrogateescape")
    image_id = int(hashlib.sha256(path).hexdigest()[:10], 16) if record.id is None else record.id
    own = {annotation.id for annotation in annotations}
    free = (number for number in count((image_id % _IMAGES << 12) + 1) if number not in own)
    ids: dict[int, None] = {}  # in order
    for annotation in annotations:
        is_own = annotation.id is not None and annotation.id not in ids
        ids[annotation.id if annotation.id is not None and is_own else next(free)] = None
    return image_id, list(ids)


def _entries(annotation: Annotation, number: int, record: ImageRecord) -> tuple[dict[str, Any], dict[str, Any]]:
    """The SA-1B annotation, and beside it what SA-1B has no place for."""
    mask = annotation.mask
    assert mask is not None
    height, width = record.size
    filled = []
    iou, stability = annotation.predicted_iou, annotation.stability_score
    points, crop = annotation.point_coords, annotation.crop_box
    filled += ["id"] if annotation.id is None else []
    filled += ["predicted_iou"] if iou is None else []
    filled += ["stability_score"] if stability is None else []
    if not points:
        filled.append("point_coords")
        points = (innermost_point(mask),) if mask.area else ()
    if crop is None:
        filled.append("crop_box")
        crop = (0.0, 0.0, float(width), float(height))
    box = mask.box if annotation.id is None else annotation.box
    entry = {
        "id": number,
        "segmentation": {"size": [int(height), int(width)], "counts": mask.counts.decode("ascii")},
        "bbox": [plain(v) for v in box_to_xywh(box)],
        "area": mask.area,
        "predicted_iou": 1.0 if iou is None else float(iou),
        "stability_score": 1.0 if stability is None else float(stability),
        "crop_box": [plain(v) for v in box_to_xywh(crop)],
        "point_coords": [[plain(v) for v in point] for point in points],
    }
    extra: dict[str, Any] = {"id": number, "category_id": annotation.category_id}
    if annotation.iscrowd:
        extra["iscrowd"] = 1
    if annotation.score is not None:
        extra["score"] = float(annotation.score)
    if annotation.source is not None:
        extra["source"] = annotation.source
    if filled:
        extra["filled"] = filled
    return entry, extra


class _nowhere:
    """Stands in for the file beside the labels when none is wanted."""

    def __enter__(self) -> _nowhere:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def write(self, _: bytes) -> None:
        return None
