"""Reading Label Studio's JSON: tasks with polygon, brush, rectangle and ellipse regions; see labelstudio.py."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from converters.fields.annotation import annotation_of, bounded
from converters.fields.categories import NAMELESS, numbered
from converters.fields.shapes import bad_mask, ellipse, kept_aside, mask_of, number_in, rectangle
from converters.fields.values import size_of, whole
from converters.io.files import IMAGE_SUFFIXES, find_image_root, read_json, relative_name
from converters.io.folders import Once, head_of, size_from_image
from converters.io.outline import is_json_with
from converters.io.xml import read_xml
from converters.lenient import Lenient, broken, coded, passing_over, unbroken
from converters.options import ReadOptions
from converters.records import RecordStream
from samlabel.errors import FormatError, shown
from samlabel.geometry import mask_from_rows
from samlabel.reach import Reach
from samlabel.types import Annotation, Box, Category, Dataset, ImageRecord, Mask, Size

from .bitmask import bitmask_of, corners_of
from .brush import brush_decode

FILE = "tasks.json"
CONFIG = ".label_config.xml"
_UPLOADED = re.compile(r"^(.*/)?[0-9a-f]{8}-(?=[^/]+$)")
_RESULT_KEYS = frozenset(
    [
        "id",
        "from_name",
        "to_name",
        "type",
        "value",
        "origin",
        "original_width",
        "original_height",
        "image_rotation",
        "meta",
        "parentID",
    ]
)


def recognize(path: Path) -> str | None:
    """Why `path` is Label Studio JSON, None when it is not."""
    for file in [path] if path.is_file() else _candidates(path):
        if file.suffix.lower() == ".json" and is_json_with(file, "[", _is_tasks):
            return f"{file.name} is a list of tasks with annotations, as Label Studio exports them"
    return None


def _is_tasks(keys: Set[str]) -> bool | None:
    told = not keys.isdisjoint(("data", "annotations.result", "predictions.result"))
    listed = not keys.isdisjoint(("annotations", "predictions"))
    # JSON-MIN, which `read` refuses by its name
    least = "annotator" in keys and any(key.endswith(".original_width") for key in keys)
    return (told and listed) or least or None


def _candidates(path: Path) -> list[Path]:
    return [path / FILE] if (path / FILE).is_file() else sorted(path.glob("*.json"))


def _find(path: Path) -> Path:
    if path.is_file():
        return path
    found = [file for file in _candidates(path) if head_of(file, 64)[:1] == b"["]
    if len(found) != 1:
        problem = f"several ({', '.join(f.name for f in found)}); name one of them" if found else f"none; wanted {FILE}"
        raise FormatError(f"{path}: files of Label Studio tasks: {problem}")
    return found[0]


def read(path: Path, options: ReadOptions) -> Dataset:
    """The dataset of a Label Studio export, or of the folder that holds one; records in the order of the tasks.

    A task's first annotation that nobody cancelled counts, or, without any, its first prediction; how many others there
    were is kept in the record's `extra`. Raises FormatError with file, task, region and rule.
    """
    image_root, lenient, reach = options.image_root, options.lenient, options.reach_of(path)
    file = reach.check(_find(path))
    named_root = image_root
    tasks = read_json(file)
    if not isinstance(tasks, list) or not (lenient or all(isinstance(task, dict) for task in tasks)):
        raise FormatError(f"{file}: not Label Studio: wanted a list of tasks")
    makes = (partial(_image_name, task, _where(file, n, task), named_root) for n, task in enumerate(tasks))
    told = list(unbroken(makes, lenient))
    names = [*told, *map(_as_uploaded, told)]
    found = unbroken((partial(_labels_in, task, _where(file, n, task)) for n, task in enumerate(tasks)), lenient)
    used = {label for labels in found for label in labels}
    listed = _listed(reach.check(file.with_name(file.stem + CONFIG)))
    categories = _categories(listed, used)
    ids = {category.name: category.id for category in categories}
    if image_root is None:
        image_root = find_image_root(names, [file.parent / "images", file.parent], reach)
    records = _Records(file, tasks, ids, image_root, lenient, reach, named_root)
    return Dataset(categories, records, image_root, reach=reach)


def _listed(config: Path) -> dict[str, int | None]:
    """Class name -> its number, where the labelling configuration gives one in `category`."""
    listed: dict[str, int | None] = {}
    if config.is_file():
        for entry in read_xml(config).iter("Label"):
            name, number = entry.get("value"), entry.get("category") or ""
            if name:
                listed.setdefault(
                    name, int(number) if number.isascii() and number.isdigit() and len(number) < 18 else None
                )
    return listed


def _categories(listed: dict[str, int | None], used: set[str]) -> tuple[Category, ...]:
    numbers = list(listed.values())
    if None in numbers or len(set(numbers)) < len(numbers):
        return numbered(listed, used)
    top = max([number for number in numbers if number is not None], default=0)
    rest = [(name, top + place) for place, name in enumerate(sorted(used - set(listed)), start=1)]
    table = [Category(number or 0, name) for name, number in [*listed.items(), *rest]]
    return tuple(sorted(table, key=lambda c: c.id))


@dataclass(frozen=True)
class _Records(RecordStream):
    file: Path
    tasks: list[dict[str, Any]]
    ids: dict[str, int]
    image_root: Path | None
    lenient: Lenient | None
    reach: Reach
    named_root: Path | None  # the folder of the images, where the user named it

    def makes(self, once: Once) -> Iterator[Callable[[], ImageRecord]]:
        return (partial(self._record, place, task, once) for place, task in enumerate(self.tasks))

    def _record(self, place: int, task: Any, once: Once) -> ImageRecord:
        where = _where(self.file, place, task)
        name = _image_name(task, where, self.named_root)
        if self.image_root is not None and (plain := _as_uploaded(name)) != name:
            home = self.image_root
            name = plain if (home / plain).is_file() and not (home / name).is_file() else name
        once.check(name, where)
        items = list(_items(task, where))
        size = self._size(task, items, name, where)
        meta = task.get("meta")
        extra = dict(meta) if isinstance(meta, dict) else {}
        aside, left_out = kept_aside([item for item, _ in items if not _kind(item)])
        extra.update(aside)
        _, *others = _finished(task, where) or [{}]
        if others:
            extra["other_annotations"] = len(others)
            left_out["annotator-lost"] = sum(1 for entry in others for item in _results(entry, where) if _kind(item))
        objects = [partial(_object, item, size, self.ids, here) for item, here in items if _kind(item)]
        return ImageRecord(
            name, size, bounded(passing_over(objects, self.lenient), where), whole(task.get("id")), extra, left_out
        )

    def _size(self, task: dict[str, Any], items: list[tuple[dict[str, Any], str]], name: str, where: str) -> Size:
        sources = [(item.get("original_height"), item.get("original_width")) for item, _ in items]
        sources.append((task["data"].get("height"), task["data"].get("width")))
        told = {
            (high, wide) for high, wide in sources if isinstance(high, (int, float)) and isinstance(wide, (int, float))
        }
        if not told:
            return size_from_image(self.image_root, name, where, self.reach)
        if len(told) > 1:
            raise FormatError(f"{where}: regions of images of different sizes {sorted(told)}; wanted one image a task")
        return size_of(*told.pop(), where)


def _where(file: Path, place: int, task: Any) -> str:
    return f"{file}: task {shown(task.get('id', place) if isinstance(task, dict) else place)}"


def _labels_in(task: Any, where: str) -> set[str]:
    """The classes of a task's regions; of one whose label is no text, what its error will not need."""
    items = [item for item, _ in _items(task, where) if _kind(item)] if isinstance(task, dict) else []
    return {label for item in items if isinstance(label := (_labels(item) or [NAMELESS])[0] or NAMELESS, str)}


def _image_name(task: Any, where: str, image_root: Path | None) -> str:
    data = task.get("data") if isinstance(task, dict) else None
    if not isinstance(data, dict):
        if isinstance(task, dict) and "annotator" in task:
            raise FormatError(f"{where}: Label Studio's JSON-MIN, without ids and tools; export the project as JSON")
        raise FormatError(f"{where}: no data with the address of an image")
    texts = [data.get(key) for key in ("image", "img", "image_url")]
    texts += [
        value for value in data.values() if isinstance(value, str) and Path(value).suffix.lower() in IMAGE_SUFFIXES
    ]
    address = next((text for text in texts if isinstance(text, str) and text), None)
    if address is None:
        raise FormatError(f"{where}: no data with the address of an image")
    try:
        parts = urlsplit(address)
    except ValueError as error:
        raise FormatError(f"{where}: image {shown(address)} is no address: {error}") from error
    if parts.query.startswith("d=") and "local-files" in parts.path:
        name = unquote(address.partition("?d=")[2])  # a '#' is a part of it
    elif parts.scheme and len(parts.scheme) > 1:
        name = unquote(parts.path).lstrip("/")
    elif address.startswith("/data/upload/"):
        name = unquote(parts.path).rpartition("/")[2]
    else:
        name = address[len("/data/") :] if address.startswith("/data/") else address
    return relative_name(name, f"{where}: image", image_root)


def _as_uploaded(name: str) -> str:
    """The name that a file had before Label Studio put eight letters of its own before it."""
    return _UPLOADED.sub(r"\1", name)


def _finished(task: dict[str, Any], where: str) -> list[dict[str, Any]]:
    """The annotations that count, the one that is taken first: ground truth, else the newest; or else a prediction.

    A task that was skipped is an image without objects. Predictions may be bare numbers, in exports without them.
    """
    for key in ("annotations", "completions", "predictions"):
        found = task.get(key) or []
        if key == "predictions" and isinstance(found, list):
            found = [entry for entry in found if whole(entry) is None][:1]
        if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
            raise FormatError(f"{where}: {key} is not a list of objects")
        kept = [entry for entry in found if not entry.get("was_cancelled")]
        if kept:
            return sorted(kept, key=_rank, reverse=True)  # stable also in reverse: of equals the first stays first
        if found:
            return []
    return []


def _rank(entry: dict[str, Any]) -> tuple[bool, str]:
    """Ground truth ranks above the newest, whose time is written so that text sorts it."""
    times = [entry.get(key) for key in ("updated_at", "created_at")]
    return entry.get("ground_truth") is True, next((time for time in times if isinstance(time, str)), "")


def _results(entry: dict[str, Any], where: str) -> list[dict[str, Any]]:
    items = entry.get("result")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise FormatError(f"{where}: result is not a list of regions")
    return items


def _items(task: dict[str, Any], where: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Regions with what to call them; of two that share an id, one without labels is the other's bare shape."""
    for entry in _finished(task, where)[:1]:
        items = _results(entry, where)
        labelled = {item["id"] for item in items if isinstance(item.get("id"), str) and _labels(item)}
        for place, item in enumerate(items):
            if not _labels(item) and isinstance(item.get("id"), str) and item["id"] in labelled:
                continue
            yield item, f"{where}: region {place}"


def _value(item: dict[str, Any]) -> dict[str, Any]:
    value = item.get("value")
    return value if isinstance(value, dict) else {}


def _kind(item: dict[str, Any]) -> str | None:
    """What shape a region is by what it has; None for text, points, choices and the like."""
    value = _value(item)
    if "rle" in value:
        return "brush"
    if "imageDataURL" in value:
        return "bitmask"
    if "vertices" in value:
        return "vector" if value.get("closed") is True else None
    if "points" in value and item.get("type") not in ("vector", "vectorlabels"):
        return "polygon"
    if "radiusX" in value:
        return "ellipse"
    if "width" in value and "height" in value and not str(item.get("type")).startswith("keypoint"):
        return "rectangle"
    return None


def _labels(item: dict[str, Any]) -> list[Any]:
    value, kind = _value(item), item.get("type")
    found = value.get(kind) if isinstance(kind, str) else None
    found = found or value.get("labels")
    return found if isinstance(found, list) else []


def _label(item: dict[str, Any], where: str) -> str:
    labels = _labels(item)
    if labels and not isinstance(labels[0], str):
        raise broken("bad-category", f"{where}: label {shown(labels[0])} is no text")
    return labels[0] if labels and labels[0] else NAMELESS


def _object(item: dict[str, Any], size: Size, ids: dict[str, int], where: str) -> Annotation:
    if item.get("image_rotation"):
        raise FormatError(
            f"{where}: image_rotation {shown(item['image_rotation'])}; turn the image itself, then label it"
        )
    with coded("bad-mask"):
        mask, box = _shape(item, size, where)
    meta = item.get("meta")
    fields = {**meta} if isinstance(meta, dict) else {}
    fields.update({k: v for k, v in item.items() if k not in _RESULT_KEYS and k not in fields})
    if len(_labels(item)) > 1:
        fields["labels"] = _labels(item)
    return annotation_of(fields, ids[_label(item, where)], mask, box, where)


def _shape(item: dict[str, Any], size: Size, where: str) -> tuple[Mask | None, Box]:
    value, kind = _value(item), _kind(item)
    height, width = size

    def pixels(key: str, side: int) -> float:
        return number_in(value.get(key), where, key) * side / 100

    if kind == "brush":
        rle = value["rle"]
        if not isinstance(rle, list) or not all(type(byte) is int and 0 <= byte <= 255 for byte in rle):
            raise FormatError(f"{where}: rle is not a list of bytes")
        with bad_mask(where):
            mask = mask_from_rows(brush_decode(bytes(rle), size), size, whole=size)
        return mask, mask.box
    if kind == "bitmask":
        mask = bitmask_of(value["imageDataURL"], size, where)
        return mask, mask.box
    if kind in ("polygon", "vector"):
        points = value["points"] if kind == "polygon" else corners_of(value["vertices"])
        if not isinstance(points, list) or not all(isinstance(p, list) and len(p) == 2 for p in points):
            raise FormatError(f"{where}: {'points' if kind == 'polygon' else 'vertices'} is not a list of [x, y]")
        sides = (width, height)
        outline = [
            number_in(v, where, "a coordinate") * side / 100
            for point in points
            for v, side in zip(point, sides, strict=True)
        ]
    elif kind == "ellipse":
        outline = ellipse(
            pixels("x", width),
            pixels("y", height),
            pixels("radiusX", width),
            pixels("radiusY", height),
            degrees=_turn(value, where),
        )
    else:
        x, y = pixels("x", width), pixels("y", height)
        x1, y1 = x + pixels("width", width), y + pixels("height", height)
        if not _turn(value, where):
            corners = (round(min(x, x1), 6), round(min(y, y1), 6), round(max(x, x1), 6), round(max(y, y1), 6))
            return None, corners
        outline = rectangle(x, y, x1, y1, degrees=_turn(value, where), about="corner")
    mask = mask_of([outline], size, where)
    return mask, mask.box


def _turn(value: dict[str, Any], where: str) -> float:
    return number_in(value.get("rotation") or 0, where, "rotation")
