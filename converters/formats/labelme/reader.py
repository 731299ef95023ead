"""Reading labelme JSON: polygons, mask bitmaps, rectangles and circles; see labelme.py."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from functools import partial
from math import hypot
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from converters.fields.annotation import annotation_of, bounded, unnested
from converters.fields.categories import NAMELESS, numbered
from converters.fields.shapes import bad_mask, ellipse, kept_aside, mask_of, number_in, ordered_box, rectangle, union
from converters.fields.values import size_of, whole
from converters.io.files import read_json, read_text, relative_name
from converters.io.folders import Once, beside, files_below, size_from_image
from converters.io.outline import is_json_with
from converters.io.png import read_numbered
from converters.lenient import Lenient, broken, coded, passing_over, surviving, unbroken
from converters.options import ReadOptions
from converters.records import RecordStream
from samlabel.errors import FormatError, brief, shown
from samlabel.geometry import mask_runs, paste
from samlabel.reach import Reach
from samlabel.types import Annotation, Dataset, ImageRecord, Mask, Size

from .xml import is_old, read_old

LABELS = "labels.txt"

_RESERVED = ("__ignore__", "_background_")  # lines of labels.txt that are no classes
SHAPE_KEYS = frozenset(
    ["label", "points", "group_id", "shape_type", "flags", "description", "mask", "line_color", "fill_color"]
)
FILE_KEYS = frozenset(
    [
        "version",
        "flags",
        "shapes",
        "imagePath",
        "imageData",
        "imageHeight",
        "imageWidth",
        "image_id",
        "lineColor",
        "fillColor",
    ]
)
_TURNED = ("oriented_rectangle", "rotation", "quadrilateral")  # boxes by their corners: labelme's, X-AnyLabeling's
_REGIONS = ("polygon", "rectangle", "circle", "mask", *_TURNED)


def recognize(path: Path) -> str | None:
    """Why `path` is labelme JSON, or the XML of the older LabelMe; None when it is neither."""
    file = path if path.is_file() else next(files_below(path, ".json", ".xml"), None)
    if file is None:
        return None
    if file.suffix.lower() == ".xml":
        return f"{file.name} describes one image as the older LabelMe did" if is_old(file) else None
    if file.suffix.lower() != ".json":
        return None
    if not is_json_with(file, "{", _is_labelme):
        return None
    return f"{file.name} holds the shapes of one image, as labelme writes them"


def _is_labelme(keys: Set[str]) -> bool | None:
    if not keys.isdisjoint(("images", "annotations", "pictures")):
        return False
    return ("shapes" in keys and not keys.isdisjoint(("imagePath", "shapes.shape_type"))) or None


def read(path: Path, options: ReadOptions) -> Dataset:
    """The dataset of a folder of labelme files, or of one file; records sorted by the paths of the files.

    Shapes of one label and one `group_id` are one object. A rectangle alone is a box without a mask. Points and lines
    are no objects: they are kept in the record's `extra`. Raises FormatError with file, shape and rule. A folder of
    the older LabelMe's XML is read too.
    """
    image_root, lenient, reach = options.image_root, options.lenient, options.reach_of(path)
    oldest = path if path.is_file() else next(files_below(path, ".json", ".xml"), None)
    if oldest is not None and oldest.suffix.lower() == ".xml":
        return read_old(path, image_root, lenient, reach)
    base = path if path.is_dir() else path.parent
    files = tuple(files_below(path, ".json")) if path.is_dir() else (path,)
    listed = base / LABELS
    if not files and not listed.is_file():
        raise FormatError(f"{path}: no labelme files here; wanted JSON files, one an image")
    names = [line.strip() for line in read_text(reach.check(listed)).splitlines()] if listed.is_file() else []
    loaded = unbroken((partial(_load, reach.check(file)) for file in files), lenient)
    used = {_label(shape) for content in loaded for shape in content["shapes"] if not _is_other(shape)}
    categories = numbered((n for n in names if n and n not in _RESERVED), used)
    ids = {category.name: category.id for category in categories}
    return Dataset(categories, _Records(base, files, ids, image_root, lenient, reach), image_root or base, reach=reach)


@dataclass(frozen=True)
class _Records(RecordStream):
    base: Path
    files: tuple[Path, ...]
    ids: dict[str, int]
    image_root: Path | None
    lenient: Lenient | None
    reach: Reach

    def makes(self, once: Once) -> Iterator[Callable[[], ImageRecord]]:
        return (partial(self._record, file, once) for file in self.files)

    def _record(self, file: Path, once: Once) -> ImageRecord:
        with coded("bad-file"):
            content = _load(self.reach.check(file))
        label = file.relative_to(self.base).as_posix()
        name = _image_name(content.get("imagePath"), label, file, self.image_root)
        once.check(name, str(file))
        if content.get("imageHeight") is None or content.get("imageWidth") is None:
            size = size_from_image(self.image_root or self.base, name, str(file), self.reach)
        else:
            size = size_of(content["imageHeight"], content["imageWidth"], str(file))
        extra = unnested({k: v for k, v in content.items() if k not in FILE_KEYS})
        extra.update({"flags": content["flags"]} if content.get("flags") else {})
        aside, left_out = kept_aside([shape for shape in content["shapes"] if _is_other(shape)])
        extra.update(aside)
        objects = passing_over(_objects(content["shapes"], size, self.ids, file, self.lenient), self.lenient)
        return ImageRecord(name, size, bounded(objects, str(file)), whole(content.get("image_id")), extra, left_out)


def _load(file: Path) -> dict[str, Any]:
    content = read_json(file)
    shapes = content.get("shapes") if isinstance(content, dict) else None
    if (
        not isinstance(content, dict)
        or not isinstance(shapes, list)
        or not all(isinstance(shape, dict) for shape in shapes)
    ):
        raise FormatError(f"{file}: not labelme: wanted an object with a list of shapes")
    return content


def _image_name(raw: Any, label: str, file: Path, image_root: Path | None) -> str:
    where = f"{file}: imagePath"
    if not isinstance(raw, str) or not raw.strip():
        raise FormatError(f"{where} is {shown(raw)}, wanted the name of an image file")
    plain_name = raw.replace("\\", "/")
    if PurePosixPath(plain_name).is_absolute() or plain_name[1:2] == ":":
        return relative_name(raw, where, image_root)
    name = beside(label, plain_name)
    if image_root is not None:
        while name.startswith("../"):
            name = name[3:]
    elif name.startswith("../"):
        raise FormatError(
            f"{where} {shown(raw)} leads out of {file.parent}; read the folder above, or name the images' folder"
        )
    return relative_name(name, where)


def _kind(shape: dict[str, Any]) -> Any:
    return shape.get("shape_type") or "polygon"


def _is_other(shape: dict[str, Any]) -> bool:
    """Whether a shape is no object: a point, a line, or what labelme may invent."""
    return isinstance(_kind(shape), str) and _kind(shape) not in _REGIONS


def _label(shape: dict[str, Any]) -> str:
    label = shape.get("label")
    return label if isinstance(label, str) and label else NAMELESS


def _objects(
    shapes: list[dict[str, Any]], size: Size, ids: dict[str, int], file: Path, lenient: Lenient | None
) -> Iterator[Callable[[], Annotation]]:
    """A call for each object, made of the shapes of its group."""
    groups: dict[Any, list[tuple[int, dict[str, Any]]]] = {}
    for number, shape in enumerate(shapes):
        if not _is_other(shape):
            group = shape.get("group_id")
            key = (_label(shape), group) if isinstance(group, (int, float, str)) else (number,)
            groups.setdefault(key, []).append((number, shape))
    return (partial(_object, members, size, ids, file, lenient) for members in groups.values())


def _check(shape: dict[str, Any], where: str) -> None:
    """FormatError for a label, group or kind that is none."""
    if not isinstance(shape.get("label"), (str, type(None))):
        raise broken("bad-category", f"{where}: label is {shown(shape['label'])}, wanted a text")
    if not isinstance(shape.get("group_id"), (int, float, str, type(None))):
        raise FormatError(f"{where}: group_id is {shown(shape['group_id'])}, wanted a number")
    if not isinstance(_kind(shape), str):
        raise FormatError(f"{where}: shape_type is {shown(_kind(shape))}, wanted a name such as polygon")


def _object(
    members: list[tuple[int, dict[str, Any]]], size: Size, ids: dict[str, int], file: Path, lenient: Lenient | None
) -> Annotation:
    for number, shape in members:
        _check(shape, f"{file}: shape {number}")
    number, first = members[0]
    where = f"{file}: shape {number}"
    mask = None
    if len(members) == 1 and _kind(first) == "rectangle":
        with coded("bad-box"):
            box = ordered_box(*_points(first, where, 2, 4))
    else:
        with coded("bad-mask"):
            mask = union(
                surviving((partial(_mask, shape, size, f"{file}: shape {n}") for n, shape in members), lenient), where
            )
        box = mask.box
    fields = unnested({k: v for k, v in first.items() if k not in SHAPE_KEYS})
    flags = first.get("flags")
    if isinstance(flags, dict) and flags:
        fields["iscrowd"] = flags.get("iscrowd") is True or fields.get("iscrowd")
        rest = {k: v for k, v in flags.items() if k != "iscrowd"}
        fields.update({"flags": rest} if rest else {})
    if first.get("description"):
        fields["description"] = first["description"]
    return annotation_of(fields, ids[_label(first)], mask, box, where)


def _points(shape: dict[str, Any], where: str, *counts: int) -> list[float]:
    """Flat coordinates of a shape; the first and third of four points where a rectangle has them all."""
    points = shape.get("points")
    if not isinstance(points, list) or not all(isinstance(p, list) and len(p) == 2 for p in points):
        raise FormatError(f"{where}: points is not a list of [x, y]")
    if counts and len(points) not in counts:
        raise FormatError(f"{where}: {len(points)} points; a {shape.get('shape_type')} has {counts[0]}")
    chosen = points[0::2] if counts == (2, 4) and len(points) == 4 else points
    return [number_in(value, where, "a coordinate") for point in chosen for value in point]


def _mask(shape: dict[str, Any], size: Size, where: str) -> Mask:
    kind = shape.get("shape_type") or "polygon"
    if kind == "mask":
        return _bitmap(shape, size, where)
    if kind == "rectangle":
        return mask_of([rectangle(*ordered_box(*_points(shape, where, 2, 4)))], size, where)
    if kind == "circle":  # its centre, and a point on it
        cx, cy, x, y = _points(shape, where, 2)
        radius = hypot(x - cx, y - cy)
        return mask_of([ellipse(cx, cy, radius, radius)], size, where)
    return mask_of([_points(shape, where)], size, where)


def _bitmap(shape: dict[str, Any], size: Size, where: str) -> Mask:
    """A shape of type mask: a PNG in base64 that fills the pixels from the first point to the second, both inside."""
    x0, y0, x1, y1 = (int(v) for v in _points(shape, where, 2))
    inner = (y1 - y0 + 1, x1 - x0 + 1)
    if not 0 < inner[0] <= size[0] or not 0 < inner[1] <= size[1]:
        raise FormatError(f"{where}: a mask of {inner[1]}x{inner[0]} pixels in an image of {size[1]}x{size[0]}")
    try:
        data = base64.b64decode(shape.get("mask") or "", validate=True)
    except (ValueError, TypeError) as error:
        raise FormatError(f"{where}: mask is no PNG in base64: {brief(error)}") from error
    found = read_numbered(data, f"{where}: mask", lambda part: np.asarray(part.convert("L")) > 0, size=inner).mask(1)
    runs = np.array([inner[0] * inner[1]]) if found is None else mask_runs(found)
    with bad_mask(where):
        return paste(runs, inner, (x0, y0), size)
