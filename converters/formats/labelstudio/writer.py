"""Writing Label Studio tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from converters.fields.annotation import fields_of
from converters.fields.categories import names_of
from converters.fields.shapes import divided, writing
from converters.fields.values import Numbers, check_listed
from converters.format import WriteReport
from converters.io.files import dump_json, place_image, refuse_existing
from converters.io.xml import text
from converters.options import FormatOptions, option
from samlabel.files import OutputFolder
from samlabel.geometry import count_parts_and_holes, mask_rows
from samlabel.types import Annotation, Dataset, ImageRecord

from .brush import brush_encode
from .reader import CONFIG, FILE

_HERE = "\0"  # stands in a task for its objects; nothing before them in a task can hold it
_COMMA = dump_json([0, 0])[2:-2]  # between two of them
LOCAL = "/data/local-files/?d="  # how Label Studio addresses a file below its local storage


@dataclass(frozen=True, kw_only=True)
class LabelStudioOptions(FormatOptions):
    shapes: Literal["auto", "polygon", "mask"] = option(
        "auto", "brushes (mask), polygons where an object is one part, auto: and without a hole"
    )
    into: Literal["annotations", "predictions"] = option("annotations", "the latter are shown as a model's")
    prefix: str = option(LOCAL, "what stands before the image's path in a task's data")


def write(dataset: Dataset, path: Path, options: LabelStudioOptions) -> WriteReport:
    """Write tasks to `path` when it ends in .json, else to `path/tasks.json`; images go to `images/`.

    `shapes` is "mask" (brushes), or "auto" and "polygon": polygons where an object is one part ("auto": and without a
    hole), brushes elsewhere. `into` is "annotations", or "predictions" to show them as a model's. `prefix` stands
    before the image's path in a task's data; Label Studio's local storage by default.
    """
    images, files = options.images, dataset.images_in()
    file = _file(path)
    refuse_existing(existing(path), options.overwrite)
    names = names_of(dataset.categories, "labelstudio")
    folder = OutputFolder(file.parent)
    report = WriteReport("labelstudio", str(file))
    numbers = Numbers()
    with folder.replacing(file.name) as out:
        out.write(b"[")
        for record in dataset.records:
            check_listed(record, names)
            if images != "none":
                place_image(files, record.path, folder, f"images/{record.path}", images)
            number = numbers.take(record.id)
            report.losses["image-ids-changed"] += record.id not in (None, number)
            out.write(b",\n" if report.images else b"\n")
            with writing(record, "labelstudio"):
                for part in _task(record, number, names, options):
                    out.write(part.encode())
            report.images += 1
            report.objects += len(record.annotations)
        out.write(b"\n]\n")
    folder.write(file.stem + CONFIG, _config(names))
    report.losses = +report.losses
    return report


def existing(path: Path) -> Path | None:
    """The label file that `write` would replace; None where there is none."""
    file = _file(path)
    return file if file.exists() else None


def _file(path: Path) -> Path:
    return path if path.suffix.lower() == ".json" else path / FILE


def _task(record: ImageRecord, number: int, names: Mapping[int, str], options: LabelStudioOptions) -> Iterator[str]:
    """The JSON of a task, an object at a time: a brush is a list of numbers, a hundred times as large as its mask."""
    height, width = (int(side) for side in record.size)
    extra = dict(record.extra)
    others, rest = divided(extra, is_region)
    extra.update(rest)
    entry: dict[str, Any] = {"result": [_HERE]}
    entry.update({"model_version": "samlabel"} if options.into == "predictions" else {})
    task: dict[str, Any] = {
        "id": number,
        "data": {
            "image": options.prefix + quote(record.path, errors="surrogateescape"),
            "width": width,
            "height": height,
        },
        "annotations": [],
        "predictions": [],
    }
    task[options.into] = [entry]
    before, _, after = dump_json({**task, "meta": extra} if extra else task).partition(dump_json(_HERE))
    yield before
    results = (_result(place, one, record, names, options) for place, one in enumerate(record.annotations, start=1))
    for place, result in enumerate(chain(results, others)):
        yield (_COMMA if place else "") + dump_json(result)
    yield after


def _result(
    place: int, annotation: Annotation, record: ImageRecord, names: Mapping[int, str], options: LabelStudioOptions
) -> dict[str, Any]:
    result = _region(annotation, names[annotation.category_id], record, options.shapes)
    fields = fields_of(annotation)
    score = {"score": fields.pop("score")} if "score" in fields else {}
    meta = {"meta": fields} if fields else {}
    return {"id": f"r{place}", "to_name": "image", **result, **score, **meta}


def is_region(other: Mapping[str, Any]) -> bool:
    """Whether a shape that is no object can stand among the results of Label Studio."""
    return isinstance(other.get("value"), dict)


def _region(annotation: Annotation, label: str, record: ImageRecord, shapes: str) -> dict[str, Any]:
    height, width = (int(side) for side in record.size)
    mask = annotation.mask
    if mask is None:
        x0, y0, x1, y1 = annotation.box
        value: dict[str, Any] = {"x": x0 * 100 / width, "y": y0 * 100 / height}
        value.update(width=(x1 - x0) * 100 / width, height=(y1 - y0) * 100 / height, rotation=0)
        kind, control = "rectanglelabels", "box"
    else:
        parts, holes = (2, 0) if shapes == "mask" else count_parts_and_holes(mask)
        if parts == 1 and (holes == 0 or shapes == "polygon"):
            (flat,) = mask.to_polygons()
            points = [[x * 100 / width, y * 100 / height] for x, y in zip(flat[0::2], flat[1::2], strict=True)]
            value, kind, control = {"points": points, "closed": True}, "polygonlabels", "polygon"
        else:
            value, kind, control = {"format": "rle", "rle": brush_encode(mask_rows(mask))}, "brushlabels", "brush"
    return {
        "from_name": control,
        "type": kind,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {**value, kind: [label]},
    }


def _config(names: Mapping[int, str]) -> str:
    """The labelling configuration of a project that takes these tasks."""
    labels = "".join(f'    <Label value="{text(name)}" category="{number}"/>\n' for number, name in names.items())
    controls = "".join(
        f'  <{tag} name="{name}" toName="image">\n{labels}  </{tag}>\n'
        for tag, name in (("PolygonLabels", "polygon"), ("BrushLabels", "brush"), ("RectangleLabels", "box"))
    )
    return f'<View>\n  <Image name="image" value="$image"/>\n{controls}</View>\n'
