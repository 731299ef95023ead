"""Writing instance masks as PNG."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from converters.fields.annotation import fields_of, nested
from converters.fields.values import (
    category_table,
    check_listed,
    further,
    plain,
)
from converters.format import WriteReport
from converters.imagewise import Made, Update, over_images
from converters.io.files import dump_json, place_image, refuse_existing
from converters.io.folders import files_below
from converters.io.painting import Painting, painted, save
from converters.options import FormatOptions
from samlabel.files import OutputFolder
from samlabel.types import Dataset, ImageRecord

from .reader import OBJECT_KEYS, PICTURE_KEYS, TABLE

LAST = 65535  # the highest number of 16 bits


def write(dataset: Dataset, path: Path, options: FormatOptions, update: Update) -> WriteReport:
    """Write `masks/` and `objects.json` below the folder `path`; images go to `images/`.

    An image without masks has no picture. A table is written picture by picture, so memory does not grow with them.
    """
    images, files = options.images, dataset.images_in()
    refuse_existing(existing(path), options.overwrite)
    folder = OutputFolder(path)
    report = WriteReport("png", str(path))
    known = frozenset(category.id for category in dataset.categories)
    written: set[str] = set()

    def make(record: ImageRecord, name: str) -> Made:
        check_listed(record, known)
        place = f"images/{record.path}" if images != "none" else None
        if place is not None:
            place_image(files, record.path, folder, place, images)
        mask_name = f"masks/{PurePosixPath(name).with_suffix('.png')}"
        picture, entries = _objects(record)
        height, width = (int(side) for side in record.size)
        entry: dict[str, Any] = {"file_name": record.path, "height": height, "width": width}
        entry.update({} if record.id is None else {"id": record.id})
        if picture is not None:
            with folder.replacing(mask_name) as file:
                save(picture, file, bits=16)
            entry["mask"] = mask_name
        entry = {**entry, "objects": entries, **nested(record.extra, PICTURE_KEYS - {"id"})}
        masks = () if picture is None else (mask_name,)
        return Made(record.path, name, masks, len(entries), place, line=dump_json(entry))

    with folder.replacing(TABLE) as out:
        out.write(f'{{"categories":{dump_json(category_table(dataset.categories))},\n"pictures":['.encode())
        for made in over_images(update, report, make):
            written.update(made.files)
            out.write(((",\n" if report.images > 1 else "\n") + made.line).encode())
        out.write(b"]")
        for key, value in further(dataset).items():
            out.write(f",\n{dump_json(key)}:{dump_json(value)}".encode())
        out.write(b"}\n")
    found = (file.relative_to(path).as_posix() for file in files_below(path / "masks", ".png"))
    report.losses["left-over-label"] = sum(name not in written for name in found)
    report.losses = +report.losses
    return report


def existing(path: Path) -> Path | None:
    """The label file that `write` would replace; None where there is none."""
    return path / TABLE if (path / TABLE).exists() else None


def _objects(record: ImageRecord) -> tuple[Painting | None, list[dict[str, Any]]]:
    """The picture of a record, None without masks, and the entries of its objects."""
    numbered = [(n, a.mask) for n, a in enumerate(record.annotations[:LAST], start=1) if a.mask is not None]
    masks = [(number, mask) for number, mask in numbered if mask.area]
    picture = painted(masks, record.size) if masks else None
    shown_pixels = picture.visible() if picture is not None else {}
    entries = []
    for number, annotation in enumerate(record.annotations, start=1):
        mask = annotation.mask
        entry: dict[str, Any] = {"category_id": annotation.category_id}
        visible = shown_pixels.get(number, 0)
        if visible:
            entry["number"] = number
        if mask is None:
            entry["box"] = [plain(v) for v in annotation.box]
        elif visible != mask.area or not mask.area:
            entry["segmentation"] = {"size": list(mask.size), "counts": mask.counts.decode("ascii")}
        entries.append({**entry, **nested(fields_of(annotation), OBJECT_KEYS)})
    return picture, entries
