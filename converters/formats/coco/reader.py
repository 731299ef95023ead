"""Reading COCO as a stream: the table of images in memory, the objects in a spool, image by image."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from converters.fields.annotation import bounded, described
from converters.fields.values import id_of, numbers, read_categories, read_mask, size_of, whole
from converters.io.files import find_image_root, relative_name
from converters.io.folders import Once
from converters.io.json_stream import JsonFile
from converters.io.outline import END, is_json_with
from converters.io.spool import FAR, Spool, SpoolPart
from converters.lenient import Lenient, broken
from converters.options import ReadOptions
from converters.records import RecordStream
from samlabel.errors import FormatError, shown
from samlabel.geometry import box_from_xywh, polygon_masks
from samlabel.reach import Reach
from samlabel.types import Annotation, Box, Category, Dataset, ImageRecord, Mask, Size

_IMAGE_KEYS = frozenset(("id", "file_name", "width", "height"))
_READ_KEYS = frozenset(
    [
        "id",
        "image_id",
        "category_id",
        "segmentation",
        "area",
        "bbox",
        "iscrowd",
        "score",
        "predicted_iou",
        "stability_score",
        "source",
        "point_coords",
        "crop_box",
    ]
)
_PLAIN_KEYS = frozenset(["id", "image_id", "category_id", "segmentation", "area", "bbox", "iscrowd"])


FILE = "annotations.json"
_FEW = 20  # JSON files of a folder that are looked into


def recognize(path: Path) -> str | None:
    """Why `path` is COCO instances, None when it is not."""
    file = _find(path)
    if file is None:
        return None
    if not is_json_with(file, "{", _is_coco):
        return None
    return f"{file.name} is a JSON object with images, annotations and categories"


def _is_coco(keys: Set[str]) -> bool | None:
    if "images" in keys or "annotations.image_id" in keys:
        return True
    if "shapes" in keys or "image" in keys or "pictures" in keys:
        return False
    return keys >= {"annotations", "categories", END} or None


def _find(path: Path) -> Path | None:
    """The COCO file that `path` is or holds."""
    if path.is_file():
        return path if path.suffix.lower() == ".json" else None
    if not path.is_dir():
        return None
    named = [path / FILE, path / "_annotations.coco.json", path / "annotations" / FILE]
    files = [file for file in named if file.is_file()]
    files += sorted([*path.glob("instances_*.json"), *path.glob("annotations/instances_*.json")])
    files = files or _of_other_names(path)
    if len(files) > 1:
        listing = ", ".join(file.relative_to(path).as_posix() for file in files)
        raise FormatError(f"{path}: several COCO files ({listing}); name one of them, or join them: samlabel merge")
    return files[0] if files else None


def _of_other_names(path: Path) -> list[Path]:
    """Files that look as COCO's do, where there are few: person_keypoints_val.json, train.json."""
    for folder in (path, path / "annotations"):
        files = sorted(folder.glob("*.json"))
        found = [file for file in files if is_json_with(file, "{", _holds_instances)] if len(files) <= _FEW else []
        if found:
            return found
    return []


def _holds_instances(keys: Set[str]) -> bool | None:
    if not keys.isdisjoint(("annotations.segments_info", "annotations.caption", "shapes", "image", "pictures")):
        return False
    is_empty = keys >= {"images", "annotations", "categories"} and "annotations.image_id" not in keys
    return "annotations.category_id" in keys or (END in keys and (is_empty or "images.file_name" in keys)) or None


def read(path: Path, options: ReadOptions) -> Dataset:
    """The dataset of a COCO file, or of a folder with `annotations.json`; records sorted by file name.

    Memory holds the table of images and no objects: those wait in a temporary file, sorted by image. `image_root` is
    where file names start; without it, the folders where COCO is usually unpacked are tried. Raises FormatError with
    the file, the id and the rule that is broken; with `lenient`, broken objects are left out and counted there.
    """
    file = _find(path)
    if file is None:
        raise FormatError(f"{path}: no COCO file here; wanted a .json file or a folder with {FILE}")
    reach = options.reach_of(path)
    return _read_file(reach.check(file), options.image_root, options.lenient, reach)


def _read_file(file: Path, image_root: Path | None, lenient: Lenient | None, reach: Reach) -> Dataset:
    """The dataset of a COCO file, its records in the order of their names."""
    categories: tuple[Category, ...] = ()
    images: dict[Any, dict[str, Any]] | None = None
    extra: dict[str, Any] = {}
    spool = Spool()
    seen: set[str] = set()
    with JsonFile(file, lists=("images", "annotations")) as content:
        for key, value in content:
            if key in ("images", "annotations") and key in seen:
                raise FormatError(f"{file}: {key} is there twice")
            seen.add(key)
            if key == "images":
                if not isinstance(value, Iterator):
                    raise FormatError(f"{file}: not COCO: wanted an object with a list of images")
                images = _read_images(value, file, lenient, image_root)
            elif key == "annotations":
                if not isinstance(value, Iterator):
                    raise FormatError(f"{file}: annotations is not a list")
                _spool_objects(value, spool, file, lenient)
            elif key == "categories":
                categories = read_categories(value, file)
            else:
                extra[key] = value
    if images is None:
        raise FormatError(f"{file}: not COCO: wanted an object with a list of images")
    names = sorted((image["file_name"], key) for key, image in images.items())
    spool.close_entries({key: place for place, (_, key) in enumerate(names)}, file, lenient)
    if image_root is None:
        parent = file.parent
        usual = [parent, parent / "images", parent.parent, parent.parent / "images"]
        usual += [folder / file.stem.rpartition("_")[2] for folder in usual if "_" in file.stem]
        image_root = find_image_root([name for name, _ in names[:50]], usual, reach)
    known = frozenset(category.id for category in categories)
    return Dataset(categories, _Records(file, known, images, names, spool, lenient), image_root, extra, reach)


def _read_images(
    raw: Iterator[Any], file: Path, lenient: Lenient | None, image_root: Path | None
) -> dict[Any, dict[str, Any]]:
    """The table of images by id; `file_name`, `height` and `width` checked."""
    images: dict[Any, dict[str, Any]] = {}
    names: dict[str, Any] = {}
    for entry in raw:
        try:
            if not isinstance(entry, dict):
                raise broken("bad-image", f"{file}: image {shown(entry)} is not an object")
            key = id_of(entry.get("id"))
            where = f"{file}: image {shown(key)}"
            if key is None:
                raise broken("bad-image", f"{file}: image {shown(entry.get('file_name'))} has no id")
            if key in images:
                raise broken("duplicate-id", f"{where}: two images have this id")
            name = relative_name(entry.get("file_name"), where, image_root)
            if name in names:
                raise broken("duplicate-id", f"{where}: {name} is already image {shown(names[name])}")
            height, width = size_of(entry.get("height"), entry.get("width"), where)
        except FormatError as error:
            if lenient is None:
                raise
            lenient.note(error.code or "bad-image", error)
            continue
        images[key] = {**entry, "file_name": name, "height": height, "width": width}
        names[name] = key
    return images


def _spool_objects(raw: Iterator[Any], spool: Spool, file: Path, lenient: Lenient | None) -> None:
    add, ids = spool.add, spool.ids.append
    run: list[dict[str, Any]] = []  # objects of one image that follow one another
    owner: Any = None
    for entry in raw:
        if type(entry) is not dict:
            error = broken("bad-annotation", f"{file}: annotation {shown(entry)} is not an object")
            if lenient is None:
                raise error
            lenient.note("bad-annotation", error)
            continue
        image = entry.get("image_id")
        if type(image) is not int:
            image = id_of(image)
        if image != owner and run:
            add(owner, run)
            run = []
        owner = image
        key = entry.get("id")
        if type(key) is int and -FAR < key < FAR:
            ids(key)
        else:
            ids(FAR)
            spool.odd_id(id_of(key))
        segmentation = entry.get("segmentation")
        if type(segmentation) is list and segmentation:
            entry["segmentation"] = _packed(segmentation)
        run.append(entry)
    if run:
        add(owner, run)


def _packed(polygons: list[Any]) -> tuple[bytes, ...] | list[Any]:
    """The numbers of polygons as bytes: an eighth of the memory of a list of them, and quick to spool.

    As they are where one is no number, for the error that names the rule.
    """
    try:
        return tuple([_doubles(len(polygon))(*polygon) for polygon in polygons])
    except (TypeError, struct.error, OverflowError):
        return polygons


@lru_cache(maxsize=4096)
def _doubles(count: int) -> Callable[..., bytes]:
    """Packs so many numbers as float64, twice as fast as `array` does."""
    return struct.Struct(f"{count}d").pack


@dataclass(frozen=True)
class _Records(RecordStream):
    """Records in order of their names; iterate as often as you like."""

    file: Path
    categories: frozenset[int]
    images: dict[Any, dict[str, Any]]
    names: list[tuple[str, Any]]
    spool: Spool | SpoolPart
    lenient: Lenient | None
    paths_before: Sequence[str] = ()
    masks_before: int = 0
    descriptors: Sequence[int] = ()

    def divided(self, count: int) -> list[_Records]:
        if self.lenient is not None or count < 2 or not isinstance(self.spool, Spool):
            return []
        found = []
        for places, masks, part in self.spool.divided(count):
            names = self.names[places]
            images = {key: self.images[key] for _, key in names}
            before = [name for name, _ in self.names[: places.start]]
            found.append(_Records(self.file, self.categories, images, names, part, None, before, masks, [part.file]))
        return found

    def makes(self, once: Once) -> Iterator[Callable[[], ImageRecord]]:
        return (partial(self._record, place, name, key) for place, (name, key) in enumerate(self.names))

    def _record(self, place: int, name: str, key: Any) -> ImageRecord:
        image = self.images[key]
        size = (image["height"], image["width"])
        annotations = bounded(self._objects(self.spool.of_image(place), size), f"{self.file}: image {shown(name)}")
        repeated = self.spool.repeated(place)
        left_out = {"annotation-ids-changed": repeated} if repeated else {}
        extra = {k: v for k, v in image.items() if k not in _IMAGE_KEYS} if len(image) > 4 else {}
        number = key if isinstance(key, int) else None
        if number is None:
            extra["id"] = key  # ids of text: some tools write them; kept beside a number of ours
        return ImageRecord(name, size, annotations, number, extra, left_out)

    def _objects(self, raws: list[dict[str, Any]], size: Size) -> Iterator[Annotation]:
        polygons = [raw["segmentation"] for raw in raws if type(raw.get("segmentation")) is tuple]
        masks = polygon_masks(polygons, size) if polygons else []
        ready = iter(masks or ())
        for raw in raws:
            mask: Mask | None = None
            if masks and type(raw.get("segmentation")) is tuple:
                mask = next(ready)
            try:
                yield _read_object(raw, mask, size, self.categories, self.file, self.lenient)
            except FormatError as error:
                if self.lenient is None:
                    raise
                self.lenient.note(error.code or "bad-annotation", error)


def _read_object(
    raw: dict[str, Any],
    mask: Mask | None,
    size: Size,
    categories: frozenset[int],
    file: Path,
    lenient: Lenient | None,
) -> Annotation:
    """One annotation; `mask` is that of its polygons where they were found good."""
    category = raw.get("category_id")
    if type(category) is not int:
        category = whole(category)
    if category is None or category not in categories:
        wanted = f"category_id {shown(raw.get('category_id'))} is not a listed category"
        for sign, kind in (("segments_info", "panoptic segments"), ("caption", "a caption")):
            wanted = f"{kind}, while samlabel reads COCO instances" if sign in raw else wanted
        raise broken("bad-category", f"{_place(raw, file)}: {wanted}")
    if mask is None:
        mask = _read_mask(raw, size, file, lenient)
    box = _read_box(raw, mask, file)
    key = raw.get("id")
    if type(key) is not int:
        key = id_of(key)
    area = raw.get("area")
    if (type(area) is not float and type(area) is not int) or not 0 <= area < 1e15:
        area = None
    if raw.keys() <= _PLAIN_KEYS and type(key) is int:
        return Annotation(category, box, mask, iscrowd=bool(raw.get("iscrowd", 0)), id=key, area=area)
    return described(raw, category, mask, box, _place(raw, file), read=_READ_KEYS, area=area)


def _place(raw: dict[str, Any], file: Path) -> str:
    return f"{file}: annotation {shown(raw.get('id'))}"


def _read_mask(raw: dict[str, Any], size: Size, file: Path, lenient: Lenient | None) -> Mask | None:
    segmentation = raw.get("segmentation")
    if type(segmentation) is tuple:
        segmentation = [np.frombuffer(points).tolist() for points in segmentation]
    try:
        return read_mask(segmentation, size, _place(raw, file), lenient)
    except FormatError as error:
        raise broken("bad-mask", str(error)) from error


def _read_box(raw: dict[str, Any], mask: Mask | None, file: Path) -> Box:
    box: Any = raw.get("bbox")
    try:
        x, y, width, height = box
        if -1e15 < x < 1e15 and -1e15 < y < 1e15 and 0 <= width < 1e15 and 0 <= height < 1e15:
            return (x, y, x + width, y + height)
    except (TypeError, ValueError):
        pass  # the careful way says what is wrong
    if box is None:
        if mask is None:
            raise broken("bad-box", f"{_place(raw, file)}: neither segmentation nor bbox")
        return mask.box
    try:
        values = numbers(box, _place(raw, file), "bbox", length=4)
    except FormatError as error:
        raise broken("bad-box", str(error)) from error
    if values[2] < 0 or values[3] < 0:
        raise broken("bad-box", f"{_place(raw, file)}: bbox {box} has a negative width or height")
    return box_from_xywh(values)
