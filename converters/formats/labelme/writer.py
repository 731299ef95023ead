"""Writing labelme JSON."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from converters.fields.annotation import fields_of, nested
from converters.fields.categories import RenumberedAudit, names_of
from converters.fields.shapes import divided, tight_box
from converters.fields.values import check_listed, plain
from converters.format import WriteReport
from converters.imagewise import Made, Update, over_images
from converters.io.files import dump_json, place_image, refuse_existing
from converters.io.folders import files_below
from converters.io.painting import painted, save
from converters.options import FormatOptions, ImageMode, option
from samlabel.files import OutputFolder
from samlabel.geometry import count_parts_and_holes, cropped, mask_to_contours
from samlabel.types import Annotation, Dataset, ImageRecord, Mask

from .reader import FILE_KEYS, LABELS, SHAPE_KEYS

VERSION = "5.4.1"  # the labelme whose files these are; it knows shapes of type mask
_CUT = 1 / 16  # corners lie this far inside their pixels: labelme cuts them down to pixels and paints the outline


@dataclass(frozen=True, kw_only=True)
class LabelmeOptions(FormatOptions):
    images: ImageMode = "copy"
    shapes: Literal["auto", "polygon", "mask"] = option("auto", "auto is polygons, and a bitmap where there are holes")


def write(dataset: Dataset, path: Path, options: LabelmeOptions, update: Update) -> WriteReport:
    """Write labelme files below the folder `path`: `sub/a.json` for the image `sub/a.jpg`, placed beside it.

    `shapes` is "polygon" (holes as zero-width seams), "mask" (bitmaps), or "auto": polygons, bitmaps for holes.
    """
    images, shapes, files = options.images, options.shapes, dataset.images_in()
    refuse_existing(existing(path), options.overwrite)
    names = names_of(dataset.categories, "labelme")
    folder = OutputFolder(path)
    report = WriteReport("labelme", str(path))

    def make(record: ImageRecord, name: str) -> Made:
        check_listed(record, names)
        label = str(PurePosixPath(name).with_suffix(".json"))
        place_image(files, record.path, folder, record.path, images)
        entries: list[dict[str, Any]] = []
        for group, annotation in enumerate(record.annotations, start=1):
            entries += _shapes(annotation, names[annotation.category_id], group, shapes)
        extra = dict(record.extra)
        lines, rest = divided(extra, is_shape)
        extra.update(rest)
        content = {
            "version": VERSION,
            "flags": extra.pop("flags") if _are_flags(extra.get("flags")) else {},
            "shapes": entries + lines,
            "imagePath": PurePosixPath(record.path).name,
            "imageData": None,
            "imageHeight": int(record.size[0]),
            "imageWidth": int(record.size[1]),
        }
        content.update({} if record.id is None else {"image_id": record.id})
        folder.write(label, dump_json({**content, **nested(extra, FILE_KEYS)}) + "\n")
        place = None if images == "none" else record.path
        return Made(record.path, name, (label,), len(record.annotations), place)

    written = {label for made in over_images(update, report, make) for label in made.files}
    listed = [name for name in names.values() if name and name == name.strip() and name.splitlines() == [name]]
    folder.write(LABELS, "".join(f"{line}\n" for line in listed))
    present_now = (file.relative_to(path).as_posix() for file in files_below(path, ".json"))
    report.losses["left-over-label"] = sum(name not in written for name in present_now)
    report.losses.update(RenumberedAudit(dataset.categories).losses())
    report.losses = +report.losses
    return report


def existing(path: Path) -> Path | None:
    """A label file that `write` would replace or leave beside its own; None where there is none."""
    found = next(files_below(path, ".json"), None) if path.is_dir() else None
    return found or (path / LABELS if (path / LABELS).exists() else None)


def _shapes(annotation: Annotation, label: str, group: int, shapes: str) -> list[dict[str, Any]]:
    """The shapes of one object; its further fields are on the first."""
    fields = fields_of(annotation)
    flags = dict(fields.pop("flags")) if _are_flags(fields.get("flags")) else {}
    flags.update({"iscrowd": True} if fields.pop("iscrowd", 0) else {})
    first = {"description": fields.pop("description") if isinstance(fields.get("description"), str) else ""}
    fields = nested(fields, SHAPE_KEYS)
    mask = annotation.mask
    bitmap = None
    if mask is None:
        kind, (x0, y0, x1, y1) = "rectangle", annotation.box
        outlines = [[[x0, y0], [x1, y1]]]
    elif mask.area and (shapes == "polygon" or (shapes == "auto" and not count_parts_and_holes(mask)[1])):
        kind = "polygon"
        outlines = [points.tolist() for points in mask_to_contours(mask, inset=_CUT)]
    else:
        kind, (x0, y0, x1, y1) = "mask", tight_box(mask)
        outlines, bitmap = [[[x0, y0], [x1 - 1, y1 - 1]]], _png(mask, (x0, y0, x1, y1))
    together = group if len(outlines) > 1 else None
    entries = []
    for points in outlines:
        entries.append(
            {
                "label": label,
                "points": [[plain(x), plain(y)] for x, y in points],
                "group_id": together,
                "description": "",
                "shape_type": kind,
                "flags": flags,
                "mask": bitmap,
            }
        )
    entries[0].update({**first, **fields})
    return entries


def is_shape(other: Mapping[str, Any]) -> bool:
    """Whether a shape that is no object can stand in labelme's files."""
    points = other.get("points")
    return isinstance(other.get("shape_type"), str) and isinstance(points, list) and len(points) > 0


def _are_flags(value: Any) -> bool:
    """labelme opens no file whose flags are anything but true or false."""
    return isinstance(value, dict) and all(isinstance(flag, bool) for flag in value.values())


def _png(mask: Mask, box: tuple[int, int, int, int]) -> str:
    x0, y0, x1, y1 = box
    out = io.BytesIO()
    save(painted([(1, cropped(mask, box))], (y1 - y0, x1 - x0)), out, bits=8)
    return base64.b64encode(out.getvalue()).decode("ascii")
