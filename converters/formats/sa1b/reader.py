"""Reading SA-1B records."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from converters.fields.annotation import bounded
from converters.fields.values import (
    further_of,
    id_of,
    numbers,
    points_of,
    read_categories,
    read_mask,
    score_of,
    size_of,
    whole,
)
from converters.io.files import (
    leaves,
    opened,
    parse_json,
    read_json,
    relative_name,
)
from converters.io.folders import Once
from converters.io.outline import is_json_with
from converters.lenient import Lenient, broken, coded, passing_over
from converters.options import ReadOptions
from converters.records import RecordStream
from samlabel.errors import FormatError, brief, shown
from samlabel.geometry import box_from_xywh
from samlabel.reach import Reach
from samlabel.types import Annotation, Category, Dataset, ImageRecord, Size

SIDECAR = "samlabel.jsonl"
OBJECT = Category(1, "object")


def recognize(path: Path) -> str | None:
    """Why `path` is SA-1B, None when it is not."""
    file = path if path.is_file() else next(json_files(path), None)
    if file is None or file.suffix.lower() != ".json":
        return None
    if not is_json_with(file, "{", _is_record):
        return None
    return f"{file.name} is a record of one image and its annotations"


def _is_record(keys: Set[str]) -> bool | None:
    if not keys.isdisjoint(("images", "shapes", "pictures", "annotations.image_id")):
        return False
    return ("image" in keys and not keys.isdisjoint(("image.image_id", "annotations"))) or None


def json_files(folder: Path) -> Iterator[Path]:
    """JSON files below a folder in the order of their paths; nothing hidden."""
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(where, f) for f in sorted(files) if f.lower().endswith(".json") and not f.startswith("."))


def read(path: Path, options: ReadOptions) -> Dataset:
    """The dataset of a folder of SA-1B records, or of one such file.

    Without the file beside them that `write` makes, every object is of the category 1, "object". Raises FormatError
    with file, annotation and rule; with `lenient`, what is broken is left out and counted there.
    """
    image_root, lenient, reach = options.image_root, options.lenient, options.reach_of(path)
    base = path if path.is_dir() else path.parent
    files = tuple(json_files(path)) if path.is_dir() else (path,)
    categories, extra, lines = _read_sidecar(reach.check(base / SIDECAR))
    if not files and not (base / SIDECAR).is_file():
        raise FormatError(f"{path}: no SA-1B records here; wanted JSON files, one an image")
    records = _Records(base, files, frozenset(c.id for c in categories), lines, lenient, reach, image_root)
    return Dataset(categories, records, image_root or base, extra, reach)


@dataclass(frozen=True)
class _Records(RecordStream):
    base: Path
    files: tuple[Path, ...]
    categories: frozenset[int]
    lines: dict[str, int]  # label file -> where its line starts in the file beside them
    lenient: Lenient | None
    reach: Reach
    named_root: Path | None  # the folder of the images, where the user named it

    def makes(self, once: Once) -> Iterator[Callable[[], ImageRecord]]:
        return (partial(self._record, file, once) for file in self.files)

    def _record(self, file: Path, once: Once) -> ImageRecord:
        name = file.relative_to(self.base).as_posix()
        with coded("bad-file"):
            image, raws = _load(self.reach.check(file))
        where = f"{file}: image {shown(image.get('image_id'))}"
        size = size_of(image.get("height"), image.get("width"), where)
        path = relative_name(image.get("file_name"), where, self.named_root)
        path = path if leaves(image["file_name"]) else str(PurePosixPath(name).parent / path)
        once.check(path, str(file))
        aside = self._aside(name)
        seen: set[Any] = set()
        makes = (partial(_read_object, raw, seen, size, aside, self.categories, file) for raw in raws)
        objects = bounded(passing_over(makes, self.lenient), where)
        ids = [id_of(raw.get("id")) for raw in raws if isinstance(raw, dict) and raw.get("id") is not None]
        repeated = len(ids) - len(set(ids))
        left_out = {"annotation-ids-changed": repeated} if repeated else {}
        return ImageRecord(path, size, objects, whole(image.get("image_id")), left_out=left_out)

    def _aside(self, name: str) -> dict[Any, dict[str, Any]]:
        if name not in self.lines:
            return {}
        with opened(self.base / SIDECAR) as file:
            file.seek(self.lines[name])
            entry = parse_json(file.readline(), f"{self.base / SIDECAR}: {name}")
        return {id_of(item.get("id")): _checked(item, f"{self.base / SIDECAR}: {name}") for item in entry["objects"]}


def _checked(item: dict[str, Any], where: str) -> dict[str, Any]:
    """An entry of the file beside, its values of the kinds that `write` puts there."""
    filled, source = item.get("filled", []), item.get("source")
    if not isinstance(filled, list) or not all(isinstance(word, str) for word in filled):
        raise FormatError(f"{where}: filled is {shown(filled)}, wanted a list of field names")
    if source is not None and not isinstance(source, str):
        raise FormatError(f"{where}: source is {shown(source)}, wanted a text")
    return {**item, "category_id": whole(item.get("category_id", OBJECT.id))}


def _read_sidecar(file: Path) -> tuple[tuple[Category, ...], dict[str, Any], dict[str, int]]:
    """Categories, the dataset's fields, and where each label file's line starts, so that memory holds no objects."""
    if not file.is_file():
        return (OBJECT,), {}, {}
    extra: dict[str, Any] = {}
    categories: tuple[Category, ...] | None = None
    lines: dict[str, int] = {}
    at = 0
    with opened(file) as handle:
        for number, line in enumerate(handle, start=1):
            try:
                entry = parse_json(line, f"{file}:{number}")
                if categories is None:
                    categories, extra = read_categories(entry["categories"], file), further_of(entry, file)
                elif isinstance(entry["objects"], list) and all(isinstance(item, dict) for item in entry["objects"]):
                    lines[str(entry["file"])] = at
                else:
                    raise ValueError("objects is not a list of objects")
            except (ValueError, KeyError, TypeError) as error:
                raise FormatError(f"{file}:{number}: not a line that samlabel wrote: {brief(error)}") from error
            at += len(line)
    return categories or (OBJECT,), extra, lines


def _load(file: Path) -> tuple[dict[str, Any], list[Any]]:
    """The image of a record, and its annotations as they are."""
    content = read_json(file)
    image = content.get("image") if isinstance(content, dict) else None
    raws = content.get("annotations") if isinstance(content, dict) else None
    if not isinstance(image, dict) or not isinstance(raws, list):
        raise FormatError(f"{file}: not SA-1B: wanted an object with image and a list of annotations")
    return image, raws


def _sized(segmentation: Any, size: Size) -> Any:
    """A segmentation without a pixel says nothing by its size, so a turned one of those is taken as meant."""
    if isinstance(segmentation, dict) and segmentation.get("size") == [size[1], size[0]] != list(size):
        turned = read_mask(segmentation, (size[1], size[0]), "")
        if turned is not None and not turned.area:
            return {"size": list(size), "counts": segmentation["counts"]}
    return segmentation


def _read_object(
    raw: Any, seen: set[Any], size: Size, asides: dict[Any, dict[str, Any]], categories: frozenset[int], file: Path
) -> Annotation:
    if not isinstance(raw, dict):
        raise FormatError(f"{file}: annotation {shown(raw)} is not an object")
    key = id_of(raw.get("id"))
    where = f"{file}: annotation {shown(raw.get('id'))}"
    is_repeated = key is not None and key in seen
    seen.add(key)
    mask = read_mask(_sized(raw.get("segmentation"), size), size, where)
    if mask is None:
        raise broken("bad-mask", f"{where}: no segmentation")
    aside = asides.get(key, {})
    filled = aside.get("filled", ())
    category = aside.get("category_id", OBJECT.id)
    if category not in categories:
        raise broken("bad-category", f"{where}: category_id {shown(category)} is not among the categories in {SIDECAR}")
    with coded("bad-box"):
        box = mask.box if raw.get("bbox") is None else box_from_xywh(numbers(raw["bbox"], where, "bbox", length=4))
    if box[2] < box[0] or box[3] < box[1]:
        raise broken("bad-box", f"{where}: bbox {raw['bbox']} has a negative width or height")
    points = raw.get("point_coords") if "point_coords" not in filled else None
    crop = raw.get("crop_box") if "crop_box" not in filled else None
    return Annotation(
        category,
        box,
        mask,
        score=score_of(aside, "score", where),
        predicted_iou=None if "predicted_iou" in filled else score_of(raw, "predicted_iou", where),
        stability_score=None if "stability_score" in filled else score_of(raw, "stability_score", where),
        iscrowd=bool(aside.get("iscrowd", 0)),
        source=aside.get("source"),
        point_coords=() if points is None else points_of(points, where),
        crop_box=None if crop is None else box_from_xywh(numbers(crop, where, "crop_box", length=4)),
        id=key if isinstance(key, int) and "id" not in filled and not is_repeated else None,
    )
