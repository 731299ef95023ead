"""Reading instance masks as PNG."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from converters.fields.annotation import annotation_of, bounded, unnested
from converters.fields.categories import NAMELESS
from converters.fields.values import (
    further_of,
    numbers,
    read_categories,
    read_mask,
    size_of,
    whole,
)
from converters.io.files import (
    IMAGE_SUFFIXES,
    find_image_root,
    read_json,
    relative_name,
)
from converters.io.folders import Once, files_below
from converters.io.outline import is_json_with
from converters.io.png import Numbered, read_numbered
from converters.lenient import Lenient, broken, coded, passing_over, unbroken
from converters.options import ReadOptions
from converters.records import RecordStream
from samlabel.errors import FormatError, shown
from samlabel.reach import Reach
from samlabel.types import Annotation, Category, Dataset, ImageRecord, Size

TABLE = "objects.json"

PICTURE_KEYS = frozenset(["file_name", "mask", "height", "width", "id", "objects"])
OBJECT_KEYS = frozenset(["number", "category_id", "box", "segmentation"])


def recognize(path: Path) -> str | None:
    """Why `path` is a folder of instance masks with their table, None when it is not."""
    file = path / TABLE if path.is_dir() else path
    if file.suffix.lower() != ".json" or not is_json_with(file, "{", _is_table):
        return None
    return f"{file.name} is the table of a folder of instance masks"


def _is_table(keys: Set[str]) -> bool | None:
    if not keys.isdisjoint(("images", "annotations", "shapes")):
        return False
    return keys >= {"categories", "pictures"} or None


def read(path: Path, options: ReadOptions) -> Dataset:
    """The dataset of a table and its pictures, or of a bare folder of pictures; records in the table's order.

    In a bare folder (itself, or its `masks/`), every number of a picture is an object of the class "object", and the
    image is the one of the same name in `images/`. Raises FormatError with file, picture, object and rule.
    """
    image_root, lenient, reach = options.image_root, options.lenient, options.reach_of(path)
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
class _Records(RecordStream):
    table: Path
    pictures: list[dict[str, Any]]
    categories: frozenset[int]
    lenient: Lenient | None
    reach: Reach
    named_root: Path | None  # the folder of the images, where the user named it

    def makes(self, once: Once) -> Iterator[Callable[[], ImageRecord]]:
        return (partial(self._record, place, picture, once) for place, picture in enumerate(self.pictures))

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
        extra = unnested({k: v for k, v in picture.items() if k not in PICTURE_KEYS})
        if isinstance(picture.get("id"), str):
            extra["id"] = picture["id"]
        return ImageRecord(
            name, size, bounded(passing_over(makes, self.lenient), where), whole(picture.get("id")), extra
        )

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
        fields = unnested({k: v for k, v in entry.items() if k not in OBJECT_KEYS})
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
class _Bare(RecordStream):
    folder: Path
    files: tuple[Path, ...]
    known: dict[str, str]  # image without its suffix -> image
    lenient: Lenient | None
    reach: Reach

    def makes(self, once: Once) -> Iterator[Callable[[], ImageRecord]]:
        return (partial(self._record, file) for file in self.files)

    def _record(self, file: Path) -> ImageRecord:
        with coded("bad-file"):
            indices = _read_numbers(self.reach.check(file), None)
        masks = [mask for number in indices.numbers if (mask := indices.mask(number)) is not None]
        name = file.relative_to(self.folder).with_suffix("").as_posix()
        objects = tuple(Annotation(1, mask.box, mask) for mask in masks)
        return ImageRecord(self.known.get(name, f"{name}.png"), indices.size, objects)
