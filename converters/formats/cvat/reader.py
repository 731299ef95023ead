"""Reading CVAT for images 1.1: boxes, polygons, ellipses and masks, one image in memory at a time; see cvat.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from converters.fields.annotation import SCORES, annotation_of, bounded
from converters.fields.categories import NAMELESS, numbered
from converters.fields.shapes import (
    bad_mask,
    ellipse,
    kept_aside,
    mask_of,
    number_in,
    ordered_box,
    rectangle,
    union,
)
from converters.fields.values import size_of, whole
from converters.io.files import find_image_root, relative_name
from converters.io.folders import Once, head_of
from converters.io.xml import stream_xml
from converters.lenient import Lenient, coded, passing_over, surviving, unbroken
from converters.options import ReadOptions
from converters.records import RecordStream
from samlabel.errors import FormatError, shown
from samlabel.geometry import mask_from_rows
from samlabel.types import Annotation, Dataset, ImageRecord, Mask, Size

from .skeleton import box_of, is_placed, keypoints_of, names_of

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

FILE = "annotations.xml"
_REGIONS = ("box", "polygon", "ellipse", "mask")
Joints = dict[str, dict[str, None]]  # class of skeletons -> the names of its points, in their order
_LONGEST = 30_000_000  # characters of one run-length text; one run a pixel of a large photo


def recognize(path: Path) -> str | None:
    """Why `path` is CVAT for images, None when it is not."""
    files = [path] if path.is_file() else [path / FILE, *sorted(path.glob("*.xml"))]
    for file in files:
        if file.suffix.lower() == ".xml" and b"<annotations" in head_of(file):
            return f"{file.name} has the root <annotations> of a CVAT export"
    return None


def _find(path: Path) -> Path:
    if path.is_file():
        return path
    found = [file for file in sorted(path.glob("*.xml")) if b"<annotations" in head_of(file)]
    if len(found) > 1:
        raise FormatError(f"{path}: several CVAT files ({', '.join(f.name for f in found)}); name one of them")
    if not found and not (path / FILE).is_file():
        raise FormatError(f"{path}: no {FILE}")
    return found[0] if found else path / FILE


def read(path: Path, options: ReadOptions) -> Dataset:
    """The dataset of a CVAT file, or of the folder that holds one; records in the order of the file.

    Shapes of one label and one group are one object. An upright box is a box without a mask, a turned one is a mask.
    A skeleton is a box with COCO's keypoints. Points, lines, cuboids and tags are no objects: they are kept in the
    record's `extra`, and counted. Attributes of an object go to its `extra`. Raises FormatError with file, image and
    rule.
    """
    image_root, lenient, reach = options.image_root, options.lenient, options.reach_of(path)
    file = reach.check(_find(path))
    named_root = image_root
    listed: list[str] = []
    used: set[str] = set()
    names: list[str] = []
    joints: Joints = {}
    for element in stream_xml(file, "meta", "image", "track"):
        if element.tag == "track":
            raise FormatError(f"{file}: CVAT for video, with tracks; export the task as CVAT for images 1.1")
        if element.tag == "meta":
            labels = [label for label in element.iter("label") if label.find("parent") is None]  # else of a point
            listed += [(name.text or "").strip() for label in labels for name in label.findall("name")]
            continue
        for name in unbroken([partial(_name, element, file, named_root)], lenient):
            names.append(name)
        for shape in filter(_is_region, element):
            used.add(_label(shape))
            if shape.tag == "skeleton":
                joints.setdefault(_label(shape), {}).update(dict.fromkeys(names_of(shape)))
    if not names and b"<annotations" not in head_of(file):
        raise FormatError(f"{file}: not CVAT: wanted the root <annotations>")
    plain = numbered((name for name in listed if name), used)
    categories = tuple(replace(c, extra={"keypoints": [*joints[c.name]]} if c.name in joints else {}) for c in plain)
    ids = {category.name: category.id for category in categories}
    if image_root is None:
        image_root = find_image_root(names, [file.parent / "images", file.parent], reach)
    return Dataset(categories, _Records(file, ids, joints, lenient, named_root), image_root, reach=reach)


@dataclass(frozen=True)
class _Records(RecordStream):
    file: Path
    ids: dict[str, int]
    joints: Joints
    lenient: Lenient | None
    named_root: Path | None  # the folder of the images, where the user named it

    def makes(self, once: Once) -> Iterator[Callable[[], ImageRecord]]:
        return (partial(self._record, image, once) for image in stream_xml(self.file, "image"))

    def _record(self, image: Element, once: Once) -> ImageRecord:
        name = _name(image, self.file, self.named_root)
        once.check(name, str(self.file))
        where = f"{self.file}: image {shown(name)}"
        size = size_of(_whole(image, "height", where), _whole(image, "width", where), where)
        extra, left_out = kept_aside([_as_table(shape) for shape in image if not _is_region(shape)])
        number = None if image.get("id") is None else _whole(image, "id", where)
        makes = _objects(image, size, self.ids, self.joints, where, self.lenient)
        objects = bounded(passing_over(makes, self.lenient), where)
        return ImageRecord(name, size, objects, number, extra, left_out)


def _name(image: Element, file: Path, image_root: Path | None) -> str:
    name = relative_name(image.get("name"), f"{file}: image {shown(image.get('id'))}", image_root)
    subset = image.get("subset")
    if subset and not name.startswith(f"{subset}/"):  # a project's export: images/<subset>/<name>
        name = relative_name(f"{subset}/{name}", f"{file}: image {shown(name)}")
    return name


def _is_region(shape: Element) -> bool:
    """Whether a shape is an object or a part of one."""
    return shape.tag in _REGIONS or is_placed(shape)


def _label(shape: Element) -> str:
    return shape.get("label") or NAMELESS


def _number(shape: Element, key: str, where: str) -> float:
    return number_in(shape.get(key), where, key)


def _whole(shape: Element, key: str, where: str) -> int:
    number = whole(_number(shape, key, where))
    if number is None:
        raise FormatError(f"{where}: {key} is {shown(shape.get(key))}, wanted a whole number")
    return number


def _as_table(shape: Element) -> dict[str, Any]:
    table: dict[str, Any] = {"type": shape.tag, **shape.attrib}
    attributes = _attributes(shape)
    return {**table, "attributes": attributes} if attributes else table


def _attributes(shape: Element) -> dict[str, str]:
    return {entry.get("name", ""): entry.text or "" for entry in shape.findall("attribute")}


def _objects(
    image: Element, size: Size, ids: dict[str, int], joints: Joints, where: str, lenient: Lenient | None
) -> Iterator[Callable[[], Annotation]]:
    """A call for each object, made of the shapes of its group."""
    groups: dict[Any, list[tuple[str, Element]]] = {}
    for number, shape in enumerate(filter(_is_region, image)):
        group = shape.get("group_id", "0")
        key = (number,) if group == "0" or shape.tag in ("box", "skeleton") else (_label(shape), group)
        groups.setdefault(key, []).append((f"{where}: {shape.tag} {number}", shape))
    return (partial(_object, members, size, ids, joints, lenient) for members in groups.values())


def _object(
    members: list[tuple[str, Element]], size: Size, ids: dict[str, int], joints: Joints, lenient: Lenient | None
) -> Annotation:
    here, first = members[0]
    fields = _fields(first, here)
    mask: Mask | None = None
    if first.tag == "skeleton":
        with coded("bad-annotation"):
            points = keypoints_of(first, [*joints[_label(first)]], here)
        fields["keypoints"], fields["num_keypoints"] = points, sum(seen > 0 for seen in points[2::3])
        return annotation_of(fields, ids[_label(first)], mask, box_of(points), here)
    if first.tag == "box" and not _number_or(first, "rotation", 0, here):
        with coded("bad-box"):
            box = ordered_box(*(_number(first, key, here) for key in ("xtl", "ytl", "xbr", "ybr")))
    else:
        with coded("bad-mask"):
            mask = union(surviving((partial(_mask, shape, size, at) for at, shape in members), lenient), here)
        box = mask.box
    return annotation_of(fields, ids[_label(first)], mask, box, here)


def _number_or(shape: Element, key: str, default: float, where: str) -> float:
    return default if shape.get(key) is None else _number(shape, key, where)


def _fields(shape: Element, where: str) -> dict[str, Any]:
    attributes = _attributes(shape)
    fields: dict[str, Any] = {}
    for key in SCORES:
        if key in attributes:
            fields[key] = number_in(attributes.pop(key), where, key)
    for key in ("iscrowd", "is_crowd"):  # the second is what Datumaro writes
        if attributes.get(key, "").lower() in ("0", "1", "true", "false"):
            fields["iscrowd"] = attributes.pop(key).lower() in ("1", "true")
    source = attributes.pop("source", None) or shape.get("source")
    fields.update({"source": source} if source else {})
    fields.update({"occluded": True} if shape.get("occluded") == "1" else {})
    if (layer := whole(_number_or(shape, "z_order", 0, where))) not in (None, 0):
        fields["z_order"] = layer
    fields.update({"attributes": attributes} if attributes else {})
    return fields


def _mask(shape: Element, size: Size, where: str) -> Mask:
    if shape.tag == "mask":
        return _bitmap(shape, size, where)
    if shape.tag == "ellipse":
        cx, cy, rx, ry = (_number(shape, key, where) for key in ("cx", "cy", "rx", "ry"))
        outline = ellipse(cx, cy, rx, ry, degrees=_number_or(shape, "rotation", 0, where))
    elif shape.tag == "box":
        corners = ordered_box(*(_number(shape, key, where) for key in ("xtl", "ytl", "xbr", "ybr")))
        outline = rectangle(*corners, degrees=_number_or(shape, "rotation", 0, where))
    else:
        pairs = [pair.split(",") for pair in (shape.get("points") or "").split(";")]
        if any(len(pair) != 2 for pair in pairs):
            raise FormatError(f"{where}: points is not x,y;x,y;...")
        outline = [number_in(value, where, "a coordinate") for pair in pairs for value in pair]
    return mask_of([outline], size, where)


def _bitmap(shape: Element, size: Size, where: str) -> Mask:
    left, top, width, height = (_whole(shape, key, where) for key in ("left", "top", "width", "height"))
    if width <= 0 or height <= 0 or width > size[1] or height > size[0]:
        raise FormatError(f"{where}: a mask of {width}x{height} in an image of {size[1]}x{size[0]}")
    text = shape.get("rle") or ""
    words = text.replace(",", " ").split() if len(text) <= _LONGEST else []
    if not words or not all(word.isascii() and word.isdigit() and len(word) < 12 for word in words):
        raise FormatError(f"{where}: rle is not a list of whole numbers")
    with bad_mask(where):
        return mask_from_rows(np.array(words, dtype=np.int64), (height, width), corner=(left, top), whole=size)
