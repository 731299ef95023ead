"""Reading the XML of the older LabelMe, the web tool of MIT: polygons, boxes, and masks in pictures beside them.

http://labelme.csail.mit.edu/Release3.0/. Annotations/, Images/ and Masks/ hold the same sub-folders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from converters.fields.annotation import bounded
from converters.fields.categories import NAMELESS, numbered
from converters.fields.shapes import mask_of, number_in
from converters.fields.values import size_of, whole
from converters.io.files import leaves, relative_name
from converters.io.folders import Once, beside, files_below, head_of, size_from_image
from converters.io.png import read_numbered
from converters.io.xml import is_annotation, read_xml
from converters.lenient import Lenient, coded, passing_over, unbroken
from converters.records import RecordStream
from samlabel.errors import FormatError
from samlabel.geometry import bounding_points, polygons_to_mask
from samlabel.reach import Reach
from samlabel.types import Annotation, Dataset, ImageRecord, Mask, Size

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


def is_old(file: Path) -> bool:
    """Whether `file` looks like LabelMe's XML rather than Pascal VOC's, which has the same root."""
    head = head_of(file)
    return is_annotation(head) and (b"<imagesize>" in head or b"<pt>" in head or b"<sourceAnnotation>" in head)


def read_old(path: Path, image_root: Path | None, lenient: Lenient | None, reach: Reach) -> Dataset:
    """The dataset of a folder of LabelMe XML files, or of one; objects marked as deleted are left out."""
    folder = path if path.is_dir() else path.parent
    if (folder / "Annotations").is_dir():
        folder = folder / "Annotations"
    files = tuple(files_below(folder, ".xml")) if path.is_dir() else (path,)
    base = folder if _is_flat(folder) else folder.parent
    named_root, usual = image_root, base / "Images"
    image_root = image_root or (usual if usual.is_dir() and reach.holds(usual) else folder)
    roots = unbroken((partial(_root, reach.check(file)) for file in files), lenient)
    used = {_class(item) for root in roots for item in _objects(root)}
    categories = numbered((), used)
    ids = {category.name: category.id for category in categories}
    records = _Records(folder, files, base / "Masks", image_root, ids, lenient, reach, named_root)
    return Dataset(categories, records, image_root, reach=reach)


@dataclass(frozen=True)
class _Records(RecordStream):
    folder: Path
    files: tuple[Path, ...]
    masks: Path
    root: Path
    ids: dict[str, int]
    lenient: Lenient | None
    reach: Reach
    named_root: Path | None  # the folder of the images, where the user named it

    def makes(self, once: Once) -> Iterator[Callable[[], ImageRecord]]:
        return (partial(self._record, file, once) for file in self.files)

    def _record(self, file: Path, once: Once) -> ImageRecord:
        with coded("bad-file"):
            entry = _root(self.reach.check(file))
        label = file.relative_to(self.folder).as_posix()
        raw = (entry.findtext("filename") or "").strip() or f"{file.stem}.jpg"
        name = relative_name(raw, f"{file}: filename", self.named_root)
        name = name if leaves(raw) else relative_name(beside(label, name), str(file))
        once.check(name, str(file))
        rows, columns = entry.findtext("imagesize/nrows"), entry.findtext("imagesize/ncols")
        if rows and columns:
            high, wide = (whole(number_in(text, str(file), "imagesize")) for text in (rows, columns))
            size = size_of(high, wide, str(file))
        else:
            size = size_from_image(self.root, name, str(file), self.reach)
        makes = (partial(self._object, item, n, label, size, file) for n, item in enumerate(_objects(entry)))
        return ImageRecord(name, size, bounded(passing_over(makes, self.lenient), str(file)))

    def _object(self, item: Element, number: int, label: str, size: Size, file: Path) -> Annotation:
        where = f"{file}: object {item.findtext('id') or number}"
        extra: dict[str, Any] = {}
        if (item.findtext("occluded") or "").strip() == "yes":
            extra["occluded"] = True
        if (item.findtext("attributes") or "").strip():
            extra["attributes"] = item.findtext("attributes")
        mask = None
        with coded("bad-mask"):
            if item.find("segm") is not None:
                picture = relative_name((item.findtext("segm/mask") or "").strip(), f"{where}: mask")
                mask = _mask(self.masks / relative_name(beside(label, picture), where), size, self.reach)
                box = mask.box
            else:
                points = item.findall("polygon/pt")
                pairs = [(point.findtext(axis), axis) for point in points for axis in "xy"]
                outline = [number_in(text, where, axis) for text, axis in pairs]
                if item.findtext("type") == "bounding_box" and outline:
                    box = bounding_points(outline)
                else:
                    mask = mask_of([outline], size, where)
                    box = mask.box
        return Annotation(self.ids[_class(item)], box, mask, extra=extra)


def _is_flat(folder: Path) -> bool:
    """Whether Masks/ lies beside the XML files, as CVAT and Datumaro write them."""
    return folder.name != "Annotations" and (folder / "Masks").is_dir()


def _root(file: Path) -> Element:
    root = read_xml(file)
    if root.tag != "annotation":
        raise FormatError(f"{file}: not LabelMe: the root is <{root.tag[:40]}>, wanted <annotation>")
    return root


def _objects(entry: Element) -> list[Element]:
    return [item for item in entry.findall("object") if (item.findtext("deleted") or "0").strip() != "1"]


def _class(item: Element) -> str:
    return (item.findtext("name") or "").strip() or NAMELESS


def _mask(file: Path, size: Size, reach: Reach) -> Mask:
    if not file.is_file():
        raise FormatError(f"{file}: no such mask; name the folder that holds Annotations/, Images/ and Masks/")
    return read_numbered(reach.check(file), str(file), _colored, size=size).mask(1) or polygons_to_mask((), size)


def _colored(part: Any) -> np.ndarray:
    inside: np.ndarray = np.any(np.asarray(part.convert("RGB")), axis=2)
    return inside
