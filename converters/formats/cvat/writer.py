"""Writing CVAT for images 1.1."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from converters.fields.annotation import scores_of
from converters.fields.categories import RenumberedAudit, names_of
from converters.fields.shapes import as_polygon, others_of, tight_box, writing
from converters.fields.values import Numbers, check_listed, plain
from converters.format import WriteReport
from converters.io.files import place_image, refuse_existing
from converters.io.xml import text
from converters.options import FormatOptions, option
from samlabel.files import OutputFolder
from samlabel.geometry import mask_rows
from samlabel.types import Annotation, Dataset, ImageRecord

from .reader import FILE

MADE_BY = ("manual", "auto", "semi-auto", "file")  # what CVAT itself says in `source`
_WORD = re.compile("[A-Za-z_][A-Za-z0-9_.-]*")


@dataclass(frozen=True, kw_only=True)
class CvatOptions(FormatOptions):
    shapes: Literal["auto", "polygon", "mask"] = option(
        "auto", "auto is a polygon where an object is one part without a hole, else a mask"
    )


def write(dataset: Dataset, path: Path, options: CvatOptions) -> WriteReport:
    """Write one CVAT file: `path` itself when it ends in .xml, else `path/annotations.xml`; images go to `images/`.

    `shapes` is "polygon" (holes as zero-width seams, parts as a group), "mask", or "auto": polygons where an object is
    one part without a hole, masks elsewhere. Both come back exactly.
    """
    images, shapes, files = options.images, options.shapes, dataset.images_in()
    file = _file(path)
    refuse_existing(existing(path), options.overwrite)
    names = names_of(dataset.categories, "cvat")
    folder = OutputFolder(file.parent)
    report = WriteReport("cvat", str(file))
    numbers = Numbers()
    with folder.replacing(file.name) as out:
        labels = "".join(f"        <label><name>{text(name)}</name></label>\n" for name in names.values())
        out.write(
            '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n  <meta>\n    <task>\n'
            f"      <mode>annotation</mode>\n      <labels>\n{labels}      </labels>\n    </task>\n  </meta>\n".encode()
        )
        for record in dataset.records:
            check_listed(record, names)
            if images != "none":
                place_image(files, record.path, folder, f"images/{record.path}", images)
            number = numbers.take(record.id)
            report.losses["image-ids-changed"] += record.id not in (None, number)
            with writing(record, "cvat"):
                text_of_image = _image(record, number, names, shapes)
            out.write(text_of_image.encode())
            report.images += 1
            report.objects += len(record.annotations)
        out.write(b"</annotations>\n")
    report.losses.update(RenumberedAudit(dataset.categories).losses())
    report.losses = +report.losses
    return report


def existing(path: Path) -> Path | None:
    """The label file that `write` would replace; None where there is none."""
    file = _file(path)
    return file if file.exists() else None


def _file(path: Path) -> Path:
    return path if path.suffix.lower() == ".xml" else path / FILE


def _image(record: ImageRecord, number: int, names: Mapping[int, str], shapes: str) -> str:
    height, width = record.size
    lines = [f'  <image id="{number}" name="{text(record.path)}" width="{int(width)}" height="{int(height)}">\n']
    for group, annotation in enumerate(record.annotations, start=1):
        lines += _shapes(annotation, names[annotation.category_id], group, shapes)
    for other in others_of(record.extra):
        if is_element(other):
            plainly = {key: str(value) for key, value in other.items() if _WORD.fullmatch(key) and key != "attributes"}
            plainly.pop("type")
            lines.append(_element(other["type"], plainly, _attributes_in(other)))
    return "".join(lines) + "  </image>\n"


def is_element(other: Mapping[str, Any]) -> bool:
    """Whether a shape that is no object can stand in an image of CVAT."""
    return other.get("type") in ("points", "polyline", "cuboid", "tag")


def _shapes(annotation: Annotation, label: str, group: int, shapes: str) -> list[str]:
    mask = annotation.mask
    extra = annotation.extra
    common = {"label": label, "occluded": "1" if extra.get("occluded") is True else "0", "z_order": _z_order(extra)}
    attributes = _attributes_in(extra)
    if annotation.source in MADE_BY:
        common["source"] = annotation.source
    elif annotation.source is not None:
        attributes["source"] = annotation.source
    attributes.update({key: repr(score) for key, score in scores_of(annotation).items()})
    attributes.update({"iscrowd": "1"} if annotation.iscrowd else {})
    if mask is None:
        corners = zip(("xtl", "ytl", "xbr", "ybr"), annotation.box, strict=True)
        return [_element("box", {**common, **{key: str(plain(value)) for key, value in corners}}, attributes)]
    if as_polygon(mask, shapes):
        polygons = mask.to_polygons()
        common.update({"group_id": str(group)} if len(polygons) > 1 else {})
        flat = [";".join(f"{x},{y}" for x, y in zip(p[0::2], p[1::2], strict=True)) for p in polygons]
        return [_element("polygon", {**common, "points": points}, attributes) for points in flat]
    x0, y0, x1, y1 = box = tight_box(mask)
    place = {"left": x0, "top": y0, "width": x1 - x0, "height": y1 - y0}
    runs = ", ".join(map(str, mask_rows(mask, box).tolist()))
    return [_element("mask", {**common, "rle": runs, **{k: str(v) for k, v in place.items()}}, attributes)]


def _z_order(extra: Mapping[str, Any]) -> str:
    layer = extra.get("z_order")
    return str(layer) if isinstance(layer, int) else "0"


def _attributes_in(table: Mapping[str, Any]) -> dict[str, str]:
    found = table.get("attributes")
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, Mapping) else {}


def _element(tag: str, values: Mapping[str, str], attributes: Mapping[str, Any]) -> str:
    words = "".join(f' {key}="{text(value)}"' for key, value in values.items())
    if not attributes:
        return f"    <{tag}{words}/>\n"
    inner = "".join(f'<attribute name="{text(k)}">{text(str(v))}</attribute>' for k, v in attributes.items())
    return f"    <{tag}{words}>{inner}</{tag}>\n"
