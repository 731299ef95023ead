"""Box datasets as a lookup from image to rows: COCO JSON, YOLO label folders, Pascal VOC folders."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import FormatError
from ..reach import Reach
from ..types import Box, Size


@dataclass(frozen=True, slots=True)
class Row:
    """One box of a dataset; `score` is None where a person drew it."""

    category_id: int
    box: Box
    score: float | None = None


@dataclass(slots=True)
class BoxFile:
    """Rows by key; a key is an image's path, or that path without its suffix where labels lie in files of their own."""

    path: Path
    names: dict[int, str]  # by category id
    rows: dict[str, Any]  # by key: (size, rows), or the file to read them from
    read: Callable[[Any, Size], tuple[Size | None, list[Row]]]
    by_stem: bool  # keys carry no suffix
    first_number: int = 1  # what the dataset calls the class of category id 1: YOLO says 0
    supercategories: dict[int, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    @property
    def class_numbers(self) -> dict[int, str]:
        """Names by the number that the dataset itself gives a class."""
        return {category_id - 1 + self.first_number: name for category_id, name in self.names.items()}

    def category_of(self, number: int) -> int:
        return number + 1 - self.first_number

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows)

    def has(self, key: str) -> bool:
        return key in self.rows

    def key_of(self, image_path: str) -> str:
        return str(PurePosixPath(image_path).with_suffix("")) if self.by_stem else image_path

    def boxes(self, key: str, size: Size) -> tuple[Size | None, list[Row]]:
        """The size that the labels were made for (None where they do not say) and the rows, XYXY pixels."""
        return self.read(self.rows[key], size)


def read_coco(path: Path) -> BoxFile:
    """Boxes of a COCO detection or instances file; crowds are left out and counted in the remarks.

    https://cocodataset.org/#format-data
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise FormatError(f"{path}: not readable as JSON: {error}") from error
    if isinstance(content, list):
        raise FormatError(f"{path}: a bare list of results names no image files; wanted COCO with 'images'")
    if not isinstance(content, dict) or not all(isinstance(content.get(k), list) for k in ("images", "annotations")):
        raise FormatError(f"{path}: wanted a COCO file with the lists 'images', 'annotations' and 'categories'")
    names: dict[int, str] = {}
    supercategories: dict[int, str] = {}
    try:
        for entry in content.get("categories", []):
            names[int(entry["id"])] = str(entry["name"])
            if entry.get("supercategory"):
                supercategories[int(entry["id"])] = str(entry["supercategory"])
        images = {entry["id"]: entry for entry in content["images"]}
        rows: dict[str, tuple[Size | None, list[Row]]] = {}
        for entry in images.values():
            size = (int(entry["height"]), int(entry["width"])) if "height" in entry and "width" in entry else None
            key = str(PurePosixPath(str(entry["file_name"]).replace("\\", "/")))
            if key in rows:
                raise FormatError(f"{path}: two images are called {key}")
            rows[key] = (size, [])
            entry["key"] = key
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FormatError(f"{path}: a broken entry in 'images' or 'categories': {error!r}") from error
    crowds = 0
    for number, entry in enumerate(content["annotations"]):
        where = f"{path}: annotation {entry.get('id', number) if isinstance(entry, dict) else number}"
        try:
            if entry.get("iscrowd"):
                crowds += 1
                continue
            x, y, width, height = (float(value) for value in entry["bbox"])
            category_id, image = int(entry["category_id"]), images[entry["image_id"]]
            score = float(entry["score"]) if entry.get("score") is not None else None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FormatError(f"{where}: {error!r}; wanted image_id, category_id and a bbox of four numbers") from error
        if category_id not in names:
            raise FormatError(f"{where}: category {category_id} is not among the categories")
        if not all(map(math.isfinite, (x, y, width, height))) or width < 0 or height < 0:
            raise FormatError(f"{where}: bbox {entry['bbox']} is not x y width height, finite and not negative")
        rows[image["key"]][1].append(Row(category_id, (x, y, x + width, y + height), score))
    remarks = [f"{crowds} crowd region{'s' * (crowds > 1)} left out: a box around many is no prompt"] if crowds else []
    return BoxFile(
        path,
        names,
        rows,
        lambda found, size: found,
        by_stem=False,
        supercategories=supercategories,
        remarks=remarks,
    )


def read_yolo(folder: Path, reach: Reach) -> BoxFile:
    """Boxes of YOLO label files, one line `class cx cy w h [score]` an object, parts of width and height.

    Names come from data.yaml (here or up to two folders above) or classes.txt; a polygon line gives its box.
    https://docs.ultralytics.com/datasets/detect/#ultralytics-yolo-format
    """
    listing = folder / "classes.txt"
    files = {
        file.relative_to(folder).with_suffix("").as_posix(): file
        for file in sorted(folder.rglob("*.txt"))
        if file != listing
    }
    names = _yolo_names(folder, reach)
    if names is None:
        highest = max((row.category_id for file in files.values() for row in _yolo_rows(file, (1, 1), None)), default=1)
        names = {category_id: f"class {category_id - 1}" for category_id in range(1, highest + 1)}
    known = names
    return BoxFile(
        folder,
        names,
        files,
        lambda file, size: (None, _yolo_rows(file, size, known)),
        by_stem=True,
        first_number=0,
    )


def _yolo_names(folder: Path, reach: Reach) -> dict[int, str] | None:
    import yaml

    reach = reach.plus(folder, folder.parent, folder.parent.parent)
    for home in (folder, folder.parent, folder.parent.parent):
        for file in (home / "data.yaml", home / "dataset.yaml"):
            if not file.is_file():
                continue
            reach.check(file)
            try:
                listed = yaml.safe_load(file.read_text(encoding="utf-8"))["names"]
                pairs = listed.items() if isinstance(listed, dict) else enumerate(listed)
                return {int(index) + 1: str(name) for index, name in pairs}
            except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
                reason = " ".join(str(error).split())
                raise FormatError(f"{file}: no readable list 'names' ({reason})") from error
        if (home / "classes.txt").is_file():
            lines = reach.check(home / "classes.txt").read_text(encoding="utf-8-sig").splitlines()
            return {index: line.strip() for index, line in enumerate(lines, start=1) if line.strip()}
    return None


def _yolo_rows(file: Path, size: Size, names: dict[int, str] | None) -> list[Row]:
    height, width = size
    rows = []
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{file}: not readable as text: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            index, *values = [float(word) for word in line.split()]
        except ValueError as error:
            raise FormatError(f"{file}:{number}: {error}; wanted numbers only") from error
        if not all(map(math.isfinite, [index, *values])) or index < 0 or index != int(index):
            raise FormatError(f"{file}:{number}: wanted a class index from 0 and finite numbers")
        if names is not None and int(index) + 1 not in names:
            raise FormatError(f"{file}:{number}: class {int(index)}, but the names end at {max(names) - 1}")
        score = None
        if len(values) in (4, 5):
            cx, cy, w, h = values[:4]
            score = values[4] if len(values) == 5 else None
            corners = (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)
        elif len(values) >= 6 and len(values) % 2 == 0:
            corners = (min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2]))
        else:
            raise FormatError(f"{file}:{number}: {len(values)} numbers after the class; wanted a box (4) or x y pairs")
        box = (corners[0] * width, corners[1] * height, corners[2] * width, corners[3] * height)
        rows.append(Row(int(index) + 1, box, score))
    return rows


def read_voc(folder: Path) -> BoxFile:
    """Boxes of Pascal VOC XML files; classes are sorted by name and counted from 1.

    VOC counts pixels from 1 and includes the last, so (1, 1, 1, 1) is the first pixel: (0, 0, 1, 1) here.
    http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html#SECTION00092000000000000000
    """
    found: dict[str, tuple[Size | None, list[tuple[str, Box]]]] = {}
    for file in sorted(folder.rglob("*.xml")):
        found[file.relative_to(folder).with_suffix("").as_posix()] = _voc_objects(file)
    classes = sorted({name for _, objects in found.values() for name, _ in objects})
    ids = {name: category_id for category_id, name in enumerate(classes, start=1)}
    rows = {key: (size, [Row(ids[name], box) for name, box in objects]) for key, (size, objects) in found.items()}
    return BoxFile(folder, {v: k for k, v in ids.items()}, rows, lambda found, size: found, by_stem=True)


def _voc_objects(file: Path) -> tuple[Size | None, list[tuple[str, Box]]]:
    try:
        text = file.read_text(encoding="utf-8-sig")
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise FormatError(f"{file}: declares entities, which VOC files never need; not opened")
        root = ElementTree.fromstring(text)
    except (OSError, ValueError, ElementTree.ParseError) as error:
        raise FormatError(f"{file}: not readable as XML: {error}") from error
    try:
        size = (int(root.findtext("size/height", "0")), int(root.findtext("size/width", "0")))
        objects = []
        for entry in root.iter("object"):
            x0, y0, x1, y1 = (float(entry.findtext(f"bndbox/{side}", "")) for side in ("xmin", "ymin", "xmax", "ymax"))
            if not all(map(math.isfinite, (x0, y0, x1, y1))):
                raise ValueError("a side of a bndbox is not finite")
            objects.append(((entry.findtext("name") or "").strip(), (x0 - 1, y0 - 1, x1, y1)))
    except ValueError as error:
        raise FormatError(f"{file}: a size or bndbox that is no number ({error})") from error
    return (size if all(size) else None), objects
