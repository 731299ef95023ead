"""Reading YOLO folders: `data.yaml` with splits and list files, or bare folders of images and labels."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from converters.io.files import IMAGE_SUFFIXES, Names, leaves, read_text
from converters.io.folders import Once, files_below, head_of
from converters.io.yaml import load_yaml
from converters.lenient import Lenient, broken, passing_over, unbroken
from converters.options import ReadOptions
from converters.records import RecordStream
from samlabel.decoders import measure
from samlabel.errors import FormatError, ImageError, shown
from samlabel.reach import Reach
from samlabel.types import Category, Dataset, ImageRecord

from .decoder import class_of, lines_of, objects_of
from .layout import LABEL_FOLDERS, NAME_FILES, find_labels, looks_like_rows, refuse_lost
from .pose import kpt_shape

DATA_FILES = ("data.yaml", "data.yml", "dataset.yaml")
SPLIT_KEYS = ("train", "val", "validation", "test", "minival")


def recognize(path: Path) -> str | None:
    """Why `path` is a YOLO dataset, None when it is not."""
    yaml_file = yaml_of(path)
    if yaml_file is not None:
        head = head_of(yaml_file).decode("utf-8", "replace")
        if any(line.startswith(("names:", "nc:")) for line in head.lstrip("\ufeff").splitlines()):
            return f"{yaml_file.name} names the classes of a YOLO dataset"
        return None
    if not path.is_dir():
        return None
    for name in NAME_FILES[:3]:
        if (path / name).is_file():
            return f"{name} names the classes of a YOLO dataset"
    for name in LABEL_FOLDERS:
        first = next((f for f in files_below(path / name, ".txt") if looks_like_rows(f)), None)
        if first is not None:
            return f"{first.relative_to(path).as_posix()} holds YOLO rows"
    return None


def yaml_of(path: Path) -> Path | None:
    if path.is_file():
        return path if path.suffix.lower() in (".yaml", ".yml") else None
    for name in DATA_FILES:
        if (path / name).is_file():
            return path / name
    found = sorted(path.glob("*.yaml"))
    return found[0] if len(found) == 1 else None


def read(path: Path, options: ReadOptions) -> Dataset:
    """The dataset of a `data.yaml`, of the folder that holds one, or of a folder of images with labels.

    Image sizes come from the headers of the images, upright. Rows of four numbers after the class are boxes, with no
    mask; a further number is the object's score. Where data.yaml has a `kpt_shape`, all rows are boxes with keypoints.
    An image without a label file has no objects. With `image_root`, images are taken from there, and their labels from
    `labels/` here under the same names. Raises FormatError with file, line and rule; with `lenient`, broken rows and
    images are left out and counted there.
    """
    image_root, lenient, reach = options.image_root, options.lenient, options.reach_of(path)
    yaml_file = yaml_of(path)
    base = path if path.is_dir() else path.parent
    keypoints = None
    if yaml_file is None:
        if not path.is_dir():
            raise FormatError(f"{path}: not a YOLO dataset; wanted its data.yaml or its folder")
        names = None
        images = [] if image_root else sorted(_walk(base))
    else:
        content = load_data(reach.check(yaml_file))
        names, keypoints = names_in(content, yaml_file), kpt_shape(content, yaml_file)
        base = base_of(content, yaml_file, reach)
        images = [] if image_root else sorted(_listed(content, base, yaml_file, lenient, reach))
    if image_root is not None:
        root = image_root
        taken = Names()
        relative = sorted(_below(image, root, path) for image in _walk(root))
        places = {name: f"images/{taken.take(name)}" for name in relative}
        found = find_labels(base, places.values())
        labels = {name: found[place] for name, place in places.items()}
    else:
        home = base
        base = root = _common(base, images)
        relative = [_below(image, base, path) for image in images]
        labels = find_labels(base, relative)
        if relative and all(name.startswith("images/") for name in relative):
            root = base / "images"
            labels = {name[len("images/") :]: label for name, label in labels.items()}
    if not labels and (yaml_file is None or any(looks_like_rows(f) for f in base.rglob("*.txt"))):
        where = image_root or path
        raise FormatError(f"{where}: no images here; YOLO labels say nothing about an image's size without it")
    if image_root is not None or base == home:  # else the folder that holds all of them may hold anything besides
        refuse_lost(base, labels, bare=yaml_file is None, lenient=lenient)
    if names is None:
        names = bare_names(base, labels.values(), lenient, reach)
    categories = tuple(Category(index, name) for index, name in sorted(names.items()))
    return Dataset(
        categories, _Records(base, root, labels, frozenset(names), keypoints, lenient, reach), root, reach=reach
    )


@dataclass(frozen=True)
class _Records(RecordStream):
    base: Path
    root: Path
    labels: dict[str, str]  # image below root -> label below base
    classes: frozenset[int]
    keypoints: tuple[int, int] | None  # of each object, and numbers of each
    lenient: Lenient | None
    reach: Reach

    def makes(self, once: Once) -> Iterator[Callable[[], ImageRecord]]:
        return (partial(self._record, image) for image in sorted(self.labels))

    def _record(self, image: str) -> ImageRecord:
        try:
            size = measure(self.reach.check(self.root / image))
        except ImageError as error:
            raise broken("bad-image", str(error)) from error
        label = self.reach.check(self.base / self.labels[image])
        if not label.is_file():
            return ImageRecord(image, size)
        return ImageRecord(image, size, objects_of(label, size, self.classes, self.keypoints, self.lenient))


def load_data(file: Path) -> dict[str, Any]:
    content = load_yaml(file)
    if not isinstance(content, dict):
        raise FormatError(f"{file}: not a YOLO data file; wanted names and the places of images")
    return content


def names_in(content: dict[str, Any], file: Path) -> dict[int, str]:
    names, count = content.get("names"), content.get("nc")
    if isinstance(names, list):
        names = dict(enumerate(names))
    if isinstance(names, dict):  # keys in quotation marks are texts
        names = {
            int(k) if isinstance(k, str) and k.isascii() and k.isdigit() and len(k) < 9 else k: v
            for k, v in names.items()
        }
    if names is None and isinstance(count, int) and 0 <= count <= 100_000:
        return {index: f"class_{index}" for index in range(count)}
    if not isinstance(names, dict) or not all(isinstance(k, int) and k >= 0 for k in names):
        raise FormatError(f"{file}: names is neither a list nor a table from class index to name")
    if isinstance(count, int) and count != len(names):
        raise FormatError(f"{file}: nc is {count}, but there are {len(names)} names")
    for index, name in names.items():
        if not isinstance(name, (str, int, float)):
            raise FormatError(f"{file}: the name of class {index} is no text")
    return {index: str(name) for index, name in names.items()}


def base_of(content: dict[str, Any], file: Path, reach: Reach) -> Path:
    root = content.get("path")
    if root is None or root == "":
        return file.parent
    if not isinstance(root, str):
        raise FormatError(f"{file}: path is {shown(root)}, wanted the name of a folder")
    # A relative path is meant from the file, though ultralytics reads it from where it was started.
    if not (file.parent / root).is_dir():
        return file.parent
    return reach.check(file.parent / root, f"{file}: path: {root}")


def _listed(content: dict[str, Any], base: Path, file: Path, lenient: Lenient | None, reach: Reach) -> set[Path]:
    places: list[tuple[str, Any]] = []
    for key in SPLIT_KEYS:
        value = content.get(key)
        places += [(key, entry) for entry in (value if isinstance(value, list) else [value]) if entry]
    found: set[Path] = set()
    for key, entry in places:
        if not isinstance(entry, str):
            raise FormatError(f"{file}: {key} is {shown(entry)}, wanted a folder or a list file")
        place = base / entry
        if entry.startswith("../") and not (place.exists() and reach.holds(place)):
            inner = base / entry[3:]  # as Roboflow writes it; ultralytics forgives it too
            place = inner if inner.exists() or not place.exists() else place
        if not place.exists() and key == "val":  # Roboflow again: data.yaml says valid, the folder is called val
            place = place.parent.parent / "val" / place.name if place.parent.name == "valid" else place
        if place.exists():
            reach.check(place, f"{file}: {key}: {entry}")
        if place.is_dir():
            found.update(_walk(place))
        elif place.suffix.lower() == ".txt" and place.is_file():
            found.update(passing_over(_from_list(place, base), lenient, "bad-image"))
        elif place.is_file():
            found.add(place)
        elif key != "test":  # a declared test split is often not shipped; any other would lose objects in silence
            raise FormatError(f"{file}: {key}: {entry} does not exist below {base}")
    return found if places else set(_walk(base))


def _from_list(file: Path, base: Path) -> Iterator[Callable[[], Path]]:
    return (partial(_image_of, text.strip().replace("\\", "/"), file, base, where) for where, text in lines_of(file))


def _image_of(name: str, file: Path, base: Path, where: str) -> Path:
    places = [file.parent / name, base / name]
    if name.startswith("data/"):  # the prefix of CVAT and Datumaro, which stands for the dataset's own folder
        places += [file.parent / name[len("data/") :], base / name[len("data/") :]]
    image = next((one for one in places if one.is_file()), None)
    if image is None:
        raise FormatError(f"{where}: no such image {name}")
    if leaves(name) and not _is_below(image, base):
        raise FormatError(f"{where}: image {name} lies outside {base}; name the folder of the images (--image-root)")
    return image


def _is_below(image: Path, base: Path) -> bool:
    return not os.path.relpath(os.path.abspath(image), os.path.abspath(base)).startswith("..")


def _common(base: Path, images: list[Path]) -> Path:
    """The folder that image names start from: `base`, or where some lie elsewhere the one above all of them."""
    outside = [image for image in images if not _is_below(image, base)]
    if not outside:
        return base
    return Path(os.path.commonpath([os.path.abspath(one) for one in (base, *outside)]))


def _walk(folder: Path) -> Iterator[Path]:
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(where, f) for f in files if Path(f).suffix.lower() in IMAGE_SUFFIXES and f[0] != ".")


def _below(image: Path, base: Path, path: Path) -> str:
    """`image` from `base`, '..' worked out in words only, so that links inside the dataset stay what they are."""
    name = os.path.relpath(os.path.abspath(image), os.path.abspath(base))
    if name.startswith(".."):
        raise FormatError(f"{path}: image {image} lies outside {base}")
    return Path(name).as_posix()


def bare_names(base: Path, labels: Iterable[str], lenient: Lenient | None, reach: Reach) -> dict[int, str]:
    """Class names of a folder without data.yaml: from a names file, else class_0, class_1, ... as far as used."""
    listed = listed_names((base, *(base / name for name in LABEL_FOLDERS)), reach)
    return used_names(base, labels, lenient, reach) if listed is None else listed


def listed_names(folders: Iterable[Path], reach: Reach) -> dict[int, str] | None:
    """Class names of the first names file in these folders, None where there is none."""
    for folder in folders:
        for name in NAME_FILES:
            if (folder / name).is_file():
                lines = [line.strip() for line in read_text(reach.check(folder / name)).splitlines()]
                return dict(enumerate(line for line in lines if line))
    return None


def used_names(base: Path, labels: Iterable[str], lenient: Lenient | None, reach: Reach) -> dict[int, str]:
    """class_0, class_1, ... up to the highest class of the rows in these label files below `base`."""
    highest = -1
    there = (reach.check(base / name) for name in labels if (base / name).is_file())
    for rows in unbroken((partial(lines_of, label) for label in there), lenient):
        highest = max([highest, *unbroken((partial(class_of, text, where) for where, text in rows), lenient)])
    if highest > 100_000:
        raise FormatError(f"{base}: a class number of {highest}; wanted at most 100000")
    return {index: f"class_{index}" for index in range(highest + 1)}
