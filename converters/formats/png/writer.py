"""Instance masks as 16-bit PNG: a picture of object numbers for each image, and one table of what they are.

`masks/sub/a.png` holds 0 for background and n for the n-th object of `sub/a.jpg`; `objects.json` holds the classes and,
for each picture, its objects. A pixel has one number: where objects overlap the smaller is in front, and the table
holds the whole mask of the one behind as COCO RLE, so nothing is lost. Folders of such pictures without a table are
read too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from converters.fields.annotation import annotation_of, fields_of, nested, unnested
from converters.fields.categories import NAMELESS
from converters.fields.values import (
    category_table,
    check_listed,
    further,
    further_of,
    numbers,
    plain,
    read_categories,
    read_mask,
    size_of,
    whole,
)
from converters.io.files import (
    IMAGE_SUFFIXES,
    Names,
    check_transfer,
    dump_json,
    find_image_root,
    place_image,
    read_json,
    refuse_existing,
    relative_name,
)
from converters.io.folders import Once, files_below, head_of
from converters.io.painting import Painting, painted, save
from converters.io.png import Numbered, read_numbered
from converters.lenient import Lenient, broken, coded, passing_over, unbroken
from converters.receipt import FEATURES, WriteReport
from samlabel.errors import FormatError, shown
from samlabel.files import OutputFolder
from samlabel.reach import Reach
from samlabel.types import Annotation, Category, Dataset, ImageRecord, Size

KEEPS = frozenset(FEATURES)
TABLE = "objects.json"
LAST = 65535  # the highest number of 16 bits

_PICTURE_KEYS = frozenset(["file_name", "mask", "height", "width", "id", "objects"])
_OBJECT_KEYS = frozenset(["number", "category_id", "box", "segmentation"])


def recognise(path: Path) -> str | None:
    """Why `path` is a folder of instance masks with their table, None when it is not."""
    file = path / TABLE if path.is_dir() else path
    head = head_of(file) if file.suffix.lower() == ".json" else b""
    if head[:1] != b"{" or b'"pictures"' not in head or b'"categories"' not in head:
        return None
    return f"{file.name} is the table of a folder of instance masks"


def read(
    path: Path, *, image_root: Path | None = None, lenient: Lenient | None = None, reach: Reach | None = None
) -> Dataset:
    """The dataset of a table and its pictures, or of a bare folder of pictures; records in the table's order.

    In a bare folder (itself, or its `masks/`), every number of a picture is an object of the class "object", and the
    image is the one of the same name in `images/`. Raises FormatError with file, picture, object and rule.
    """
    path = Path(path)
    reach = reach or Reach.of(path, image_root=image_root)
    table = path / TABLE if path.is_dir() else path
    if path.is_dir() and not table.is_file():
        return _read_bare(path, image_root, lenient, reach)
    content = read_json(reach.check(table))
    pictures = content.get("pictures") if isinstance(content, dict) else None
    if not isinstance(pictures, list) or not (lenient or all(isinstance(picture, dict) for picture in pictures)):
        raise FormatError(f"{table}: not a table of instance masks: wanted an object with categories and pictures")
    categories = read_categories(content.get("categories"), table)
    makes = (partial(_name, picture, table, n, image_root) for n, picture in enumerate(pictures))
    names = list(unbroken(makes, lenient))
    root = image_root or find_image_root(names, [table.parent / "images", table.parent], reach)
    known = frozenset(category.id for category in categories)
    records = _Records(table, pictures, known, lenient, reach, image_root)
    return Dataset(categories, records, root, further_of(content, table), reach)


def _name(picture: Any, table: Path, place: int, image_root: Path | None) -> str:
    raw = picture.get("file_name") if isinstance(picture, dict) else None
    return relative_name(raw, f"{table}: picture {place}", image_root)


@dataclass(frozen=True)
class _Records:
    table: Path
    pictures: list[dict[str, Any]]
    categories: frozenset[int]
    lenient: Lenient | None
    reach: Reach
    named_root: Path | None  # the folder of the images, where the user named it

    def __iter__(self) -> Iterator[ImageRecord]:
        if self.lenient is not None:
            self.lenient.restart()
        once = Once()
        makes = (partial(self._record, place, picture, once) for place, picture in enumerate(self.pictures))
        yield from passing_over(makes, self.lenient, "bad-image")

    def _record(self, place: int, picture: Any, once: Once) -> ImageRecord:
        name = _name(picture, self.table, place, self.named_root)
        where = f"{self.table}: {name}"
        once.check(name, where)
        size = size_of(picture.get("height"), picture.get("width"), where)
        entries = picture.get("objects")
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise FormatError(f"{where}: objects is not a list of objects")
        indices = None
        if any("number" in entry and entry.get("segmentation") is None for entry in entries):
            mask_file = self.reach.check(self.table.parent / relative_name(picture.get("mask"), where))
            indices = _read_numbers(mask_file, size)
        makes = [partial(self._object, entry, size, indices, f"{where}: object {n}") for n, entry in enumerate(entries)]
        extra = unnested({k: v for k, v in picture.items() if k not in _PICTURE_KEYS})
        if isinstance(picture.get("id"), str):
            extra["id"] = picture["id"]
        return ImageRecord(name, size, tuple(passing_over(makes, self.lenient)), whole(picture.get("id")), extra)

    def _object(self, entry: dict[str, Any], size: Size, indices: Numbered | None, where: str) -> Annotation:
        category = whole(entry.get("category_id"))
        if category not in self.categories:
            raise broken(
                "bad-category", f"{where}: category_id {shown(entry.get('category_id'))} is not a listed category"
            )
        mask = read_mask(entry.get("segmentation"), size, where)
        if mask is None and "number" in entry:
            number = whole(entry["number"])
            assert indices is not None
            mask = indices.mask(number)
            if mask is None:
                raise broken("bad-mask", f"{where}: number {shown(entry['number'])} does not occur in the picture")
        if mask is None and "box" not in entry:
            raise broken("bad-box", f"{where}: neither number, segmentation nor box")
        if mask is not None:
            box = mask.box
        else:
            with coded("bad-box"):
                x0, y0, x1, y1 = numbers(entry["box"], where, "box", length=4)
            box = (x0, y0, x1, y1)
        fields = unnested({k: v for k, v in entry.items() if k not in _OBJECT_KEYS})
        return annotation_of(fields, category, mask, box, where)


def _read_numbers(file: Path, size: Size | None) -> Numbered:
    """The object numbers of a picture of 1, 8 or 16 bits; FormatError when it is none, or of another size."""
    if not file.is_file():
        raise FormatError(f"{file}: no such picture of object numbers")
    modes = ("1", "L", "P", "I", "I;16", "I;16B")
    return read_numbered(file, str(file), _numbers_in, size=size, modes=modes)


def _numbers_in(part: Any) -> np.ndarray:
    return np.asarray(part.convert("L") if part.mode == "1" else part)


def _read_bare(path: Path, image_root: Path | None, lenient: Lenient | None, reach: Reach) -> Dataset:
    folder = path / "masks" if (path / "masks").is_dir() else path
    files = tuple(files_below(folder, ".png"))
    if not files:
        raise FormatError(f"{path}: neither {TABLE} nor PNG files here")
    root = image_root or (path / "images" if (path / "images").is_dir() else None)
    names = (image.relative_to(root) for image in files_below(root, *IMAGE_SUFFIXES)) if root else ()
    known = {name.with_suffix("").as_posix(): name.as_posix() for name in names}
    return Dataset((Category(1, NAMELESS),), _Bare(folder, files, known, lenient, reach), root, reach=reach)


@dataclass(frozen=True)
class _Bare:
    folder: Path
    files: tuple[Path, ...]
    known: dict[str, str]  # image without its suffix -> image
    lenient: Lenient | None
    reach: Reach

    def __iter__(self) -> Iterator[ImageRecord]:
        if self.lenient is not None:
            self.lenient.restart()
        yield from passing_over((partial(self._record, file) for file in self.files), self.lenient, "bad-file")

    def _record(self, file: Path) -> ImageRecord:
        indices = _read_numbers(self.reach.check(file), None)
        masks = [mask for number in indices.numbers if (mask := indices.mask(number)) is not None]
        name = file.relative_to(self.folder).with_suffix("").as_posix()
        objects = tuple(Annotation(1, mask.box, mask) for mask in masks)
        return ImageRecord(self.known.get(name, f"{name}.png"), indices.size, objects)


def write(dataset: Dataset, path: Path, *, overwrite: bool = False, images: str = "none") -> WriteReport:
    """Write `masks/` and `objects.json` below the folder `path`; images go to `images/`.

    An image without masks has no picture. A table is written picture by picture, so memory does not grow with them.
    """
    check_transfer(images)
    files = dataset.images_in()
    path = Path(path)
    refuse_existing(existing(path), overwrite)
    folder = OutputFolder(path)
    report = WriteReport("png", str(path))
    known = frozenset(category.id for category in dataset.categories)
    taken, written = Names(), set()
    with folder.replacing(TABLE) as out:
        out.write(f'{{"categories":{dump_json(category_table(dataset.categories))},\n"pictures":['.encode())
        for record in dataset.records:
            check_listed(record, known)
            if images != "none":
                place_image(files, record.path, folder, f"images/{record.path}", images)
            mask_name = f"masks/{PurePosixPath(taken.take(record.path)).with_suffix('.png')}"
            picture, entries = _objects(record)
            height, width = (int(side) for side in record.size)
            entry: dict[str, Any] = {"file_name": record.path, "height": height, "width": width}
            entry.update({} if record.id is None else {"id": record.id})
            if picture is not None:
                with folder.replacing(mask_name) as file:
                    save(picture, file, bits=16)
                written.add(mask_name)
                entry["mask"] = mask_name
            entry = {**entry, "objects": entries, **nested(record.extra, _PICTURE_KEYS - {"id"})}
            out.write(((",\n" if report.images else "\n") + dump_json(entry)).encode())
            report.images += 1
            report.objects += len(entries)
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
        entries.append({**entry, **nested(fields_of(annotation), _OBJECT_KEYS)})
    return picture, entries
