"""Reading Pascal VOC: XML files, and the pictures of objects beside them where there are any; see voc.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import degrees
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from converters.fields.annotation import bounded
from converters.fields.categories import NAMELESS, numbered
from converters.fields.shapes import mask_of, number_in, rectangle
from converters.fields.values import size_of, whole
from converters.io.files import IMAGE_SUFFIXES, leaves, read_text, relative_name
from converters.io.folders import Once, beside, files_below, head_of, size_from_image
from converters.io.png import Numbered, read_numbered
from converters.io.xml import is_annotation, read_xml
from converters.lenient import Lenient, broken, coded, passing_over, unbroken
from converters.options import ReadOptions
from converters.records import RecordStream
from samlabel.errors import FormatError
from samlabel.reach import Reach
from samlabel.types import Annotation, Box, Dataset, ImageRecord, Mask, Size

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

VOID = 255  # the index of pixels that belong to nobody: borders between objects
MAP = "labelmap.txt"
OBJECTS = "SegmentationObject"
_SUFFIXES = (".jpg", *sorted(IMAGE_SUFFIXES), ".JPG", ".JPEG", ".PNG")  # of an image that is named by its stem
CLASSES = tuple(
    [
        "aeroplane",
        "bicycle",
        "bird",
        "boat",
        "bottle",
        "bus",
        "car",
        "cat",
        "chair",
        "cow",
        "diningtable",
        "dog",
        "horse",
        "motorbike",
        "person",
        "pottedplant",
        "sheep",
        "sofa",
        "train",
        "tvmonitor",
    ]
)


def palette() -> np.ndarray:
    """The (256, 3) colours of VOC's pictures: an index's bits, three by three, from each channel's highest bit down."""
    index = np.arange(256)
    colours = np.zeros((256, 3), dtype=np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (((index >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    return colours


def recognize(path: Path) -> str | None:
    """Why `path` is Pascal VOC, None when it is not."""
    file = path if path.is_file() else next(files_below(_annotations(path), ".xml"), None)
    if file is not None and file.suffix.lower() == ".xml":
        head = head_of(file)
        ours = any(
            tag in head for tag in (b"<filename>", b"<size>", b"<bndbox>", b"<robndbox>")
        )  # the first is left out at times
        if is_annotation(head) and b"<imagesize>" not in head and b"<pt>" not in head and ours:
            return f"{file.name} describes the objects of one image, as Pascal VOC does"
    if path.is_dir() and (path / MAP).is_file() and any((path / one).is_dir() for one in ("Annotations", OBJECTS)):
        return f"{MAP} lists the classes of Pascal VOC's pictures"
    return None


def _annotations(path: Path) -> Path:
    return path / "Annotations" if (path / "Annotations").is_dir() else path


def read(path: Path, options: ReadOptions) -> Dataset:
    """The dataset of a VOC folder, of any folder of such XML files, or of one file; records sorted by path.

    The n-th object's mask is where SegmentationObject/ has the index n. Without that picture, or where the index does
    not occur, it is a box alone, unless its XML holds a polygon. Raises FormatError with file, object and rule.
    """
    image_root, lenient, reach = options.image_root, options.lenient, options.reach_of(path)
    files: tuple[Path, ...]
    if path.is_file():
        folder, files = path.parent, (path,)
        base = folder.parent if folder.name == "Annotations" else folder
    else:
        folder = _annotations(path)
        files, base = tuple(files_below(folder, ".xml")), path
    if not files and not (base / MAP).is_file():
        raise FormatError(f"{path}: no Pascal VOC files here; wanted XML files, one an image")
    if not files and (base / OBJECTS).is_dir() and not (base / "Annotations").is_dir():
        raise FormatError(f"{path}: an archive of masks alone, which say of no object what it is; export as Pascal VOC")
    jpegs = base / "JPEGImages"
    root = image_root or (jpegs if jpegs.is_dir() or folder.name == "Annotations" else base)
    roots = unbroken((partial(_root, reach.check(file)) for file in files), lenient)
    used = {_class(item) for entry in roots for item in entry.findall("object")}
    listed = list(_listed(reach.check(base / MAP), used)) if (base / MAP).is_file() else []
    if not listed and used <= set(CLASSES) and (base / "SegmentationClass").is_dir():
        listed = list(CLASSES)
    categories = numbered(listed, used)
    ids = {category.name: category.id for category in categories}
    records = _Records(folder, files, base / OBJECTS, root, ids, lenient, reach, image_root)
    return Dataset(categories, records, root, reach=reach)


def _listed(file: Path, used: set[str]) -> Iterator[str]:
    """Class names of `name:r,g,b:parts:actions`; background and void are classes only where objects say so."""
    for line, text in enumerate(read_text(file).splitlines(), start=1):
        if not text.strip() or (text.startswith("#") and "color_rgb" in text):
            continue
        name, *rest = text.rsplit(":", 3)  # from the right: names may hold colons
        if len(rest) != 3:
            raise FormatError(f"{file}:{line}: {text[:40]!r} is not name:red,green,blue:parts:actions")
        reserved = (name == "background" and rest[0] == "0,0,0") or (name == "ignored" and rest[0] == "224,224,192")
        if name in used or not reserved:
            yield name


@dataclass(frozen=True)
class _Records(RecordStream):
    folder: Path
    files: tuple[Path, ...]
    pictures: Path
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
        name = self._image_name(entry, label, file)
        once.check(name, str(file))
        high, wide = _value(entry, "size/height", file), _value(entry, "size/width", file)
        told = size_of(high, wide, str(file)) if high and wide else None
        size = told or size_from_image(self.root, name, str(file), self.reach)
        picture = (self.pictures / label).with_suffix(".png")
        indices = _read_indices(self.reach.check(picture), size) if picture.is_file() else None
        return ImageRecord(
            name, size, bounded(passing_over(self._objects(entry, indices, size, file), self.lenient), str(file))
        )

    def _image_name(self, entry: Element, label: str, file: Path) -> str:
        raw = (entry.findtext("filename") or "").strip()
        if not raw:
            raw = f"{file.stem}.jpg"
        if PurePosixPath(raw).suffix.lower() not in IMAGE_SUFFIXES:  # some tools write the stem alone
            raw += next(
                (end for end in _SUFFIXES if (self.root / PurePosixPath(label).parent / (raw + end)).is_file()), ".jpg"
            )
        name = relative_name(raw, f"{file}: filename", self.named_root)
        return name if "/" in name or leaves(raw) else relative_name(beside(label, name), str(file))

    def _objects(
        self, entry: Element, indices: Numbered | None, size: Size, file: Path
    ) -> Iterator[Callable[[], Annotation]]:
        for number, item in enumerate(entry.findall("object"), start=1):
            yield partial(self._object, item, number, indices, size, f"{file}: object {number}")

    def _object(self, item: Element, number: int, indices: Numbered | None, size: Size, where: str) -> Annotation:
        mask = None
        if item.find("polygon") is not None:
            with coded("bad-mask"):
                mask = _polygon(item, size, where)
        elif item.find("robndbox") is not None:
            with coded("bad-box"):
                mask = _turned(item, size, where)
        elif indices is not None and number < VOID:
            mask = indices.mask(number)
        box = _box(item, where) if mask is None or item.find("bndbox") is not None else mask.box
        return Annotation(self.ids[_class(item)], box, mask, extra=_further(item))


def _root(file: Path) -> Element:
    root = read_xml(file)
    if root.tag != "annotation":
        raise FormatError(f"{file}: not Pascal VOC: the root is <{root.tag[:40]}>, wanted <annotation>")
    return root


def _class(item: Element) -> str:
    return (item.findtext("name") or "").strip() or NAMELESS


def _further(item: Element) -> dict[str, Any]:
    """What else an object says: difficult, truncated and occluded where they are 1; pose, parts and actions."""
    further: dict[str, Any] = {}
    for child in item:
        value = _nested(child, 0)
        if child.tag in ("name", "bndbox", "polygon", "robndbox") or value in ("", "0", "Unspecified"):
            continue
        further.setdefault(child.tag, []).append(value)
    return {tag: values if tag == "part" or len(values) > 1 else values[0] for tag, values in further.items()}


def _nested(element: Element, depth: int) -> Any:
    if len(element) == 0 or depth > 8:
        return (element.text or "").strip()
    return {child.tag: _nested(child, depth + 1) for child in element}


def _value(entry: Element, place: str, file: Path) -> int | None:
    text = entry.findtext(place)
    return None if text is None or not text.strip() else whole(number_in(text, str(file), place))


def _box(item: Element, where: str) -> Box:
    """VOC counts pixels from 1 and includes the last, so 1 1 1 1 is the first pixel: 0 0 1 1 here."""
    with coded("bad-box"):
        sides = [number_in(item.findtext(f"bndbox/{side}"), where, side) for side in ("xmin", "ymin", "xmax", "ymax")]
    if sides[2] < sides[0] - 1 or sides[3] < sides[1] - 1:
        raise broken("bad-box", f"{where}: a box of negative width or height")
    # Tools that count from 0 write xmin 0, which would begin outside the image.
    return (max(sides[0] - 1, 0.0), max(sides[1] - 1, 0.0), max(sides[2], 0.0), max(sides[3], 0.0))


def _polygon(item: Element, size: Size, where: str) -> Mask:
    """Polygons in the XML, as Roboflow and supervision write them: x1, y1, x2, y2, ..., counted from 1 like boxes."""
    outlines = []
    for polygon in item.findall("polygon"):
        table = {child.tag: child.text for child in polygon}
        count = 0
        while f"x{count + 1}" in table and f"y{count + 1}" in table:
            count += 1
        keys = [f"{axis}{n}" for n in range(1, count + 1) for axis in "xy"]
        outlines.append([number_in(table[key], where, key) - 1 for key in keys])
    return mask_of(outlines, size, where)


def _turned(item: Element, size: Size, where: str) -> Mask:
    """A rotated box of roLabelImg, its angle in radians."""
    cx, cy, w, h, angle = (
        number_in(item.findtext(f"robndbox/{key}"), where, key) for key in ("cx", "cy", "w", "h", "angle")
    )
    corners = rectangle(cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2, degrees=degrees(angle))
    return mask_of([corners], size, where)


def _read_indices(file: Path, size: Size) -> Numbered:
    """The indices of a picture with VOC's palette, or of its colors; FormatError when it is none."""
    table = palette().astype(np.int32) @ (1 << 16, 1 << 8, 1)
    order = np.argsort(table)

    def numbers_in(part: Any) -> np.ndarray:
        if part.mode in ("P", "L", "1"):
            return np.asarray(part.convert("L") if part.mode == "1" else part)
        key = np.asarray(part.convert("RGB")).astype(np.int32) @ (1 << 16, 1 << 8, 1)
        found = order[np.minimum(np.searchsorted(table[order], key), 255)]
        if (odd := table[found] != key).any():
            raise FormatError(f"{file}: the color {int(key[odd][0]):06x} is none of VOC's palette")
        return found.astype(np.uint8)

    return read_numbered(file, str(file), numbers_in, size=size)
