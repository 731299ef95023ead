"""COCO instances: one JSON file with images, annotations and categories.

https://cocodataset.org/#format-data; masks as compressed RLE with text counts, uncompressed RLE or polygons.
Fields that samlabel does not read pass through in `extra`.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from samlabel.errors import FormatError, UsageError
from samlabel.geometry import box_from_xywh, box_to_xywh
from samlabel.types import Annotation, Box, Dataset, ImageRecord, Size

from ._files import (
    check_transfer,
    dump_json,
    find_image_root,
    inside,
    place_image,
    read_json,
    refuse_existing,
    relative_name,
    replacing,
)
from ._report import FEATURES, WriteReport
from ._values import (
    Numbers,
    category_table,
    check_listed,
    id_of,
    numbers,
    plain,
    read_categories,
    read_mask,
    score_of,
    size_of,
    whole,
)

KEEPS = frozenset(FEATURES)
FILE = "annotations.json"

_IMAGE_KEYS = frozenset(("id", "file_name", "width", "height"))
_READ_KEYS = frozenset(
    "id image_id category_id segmentation area bbox iscrowd score predicted_iou stability_score source "
    "point_coords crop_box".split()
)


def recognise(path: Path) -> str | None:
    """Why `path` is COCO instances, None when it is not."""
    file = _find(path)
    if file is None:
        return None
    with open(file, "rb") as handle:
        head = handle.read(1 << 20).lstrip(b"\xef\xbb\xbf \t\r\n")
    if head[:1] != b"{" or not (b'"images"' in head or b'"annotations"' in head and b'"categories"' in head):
        return None
    return f"{file.name} is a JSON object with images, annotations and categories"


def _find(path: Path) -> Path | None:
    """The COCO file that `path` is or holds."""
    if path.is_file():
        return path if path.suffix.lower() == ".json" else None
    named = [path / FILE, path / "_annotations.coco.json", path / "annotations" / FILE]
    found = next((file for file in named if file.is_file()), None)
    if found is None and path.is_dir():
        files = sorted([*path.glob("instances_*.json"), *path.glob("annotations/instances_*.json")])
        if len(files) > 1:
            listing = ", ".join(file.name for file in files)
            raise FormatError(f"{path}: several COCO files ({listing}); name one of them")
        found = files[0] if files else None
    return found


def read(path: Path, *, image_root: Path | None = None) -> Dataset:
    """The dataset of a COCO file, or of a folder with `annotations.json`; records sorted by file name.

    `image_root` is where file names start; without it, the folders where COCO is usually unpacked are tried.
    Raises FormatError with the file, the id and the rule that is broken.
    """
    file = _find(Path(path))
    if file is None:
        raise FormatError(f"{path}: no COCO file here; wanted a .json file or a folder with {FILE}")
    content = read_json(file)
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise FormatError(f"{file}: not COCO: wanted an object with a list of images")
    categories = read_categories(content.get("categories", []), file)
    images, names = _read_images(content["images"], file)
    grouped = _group(content.get("annotations", []), images, file)
    if image_root is None:
        parent = file.parent
        usual = [parent, parent / "images", parent.parent, parent.parent / "images"]
        usual += [folder / file.stem.rpartition("_")[2] for folder in usual if "_" in file.stem]
        image_root = find_image_root(sorted(names), usual)
    extra = {key: value for key, value in content.items() if key not in ("images", "annotations", "categories")}
    known = frozenset(category.id for category in categories)
    return Dataset(categories, _Records(file, known, images, names, grouped), image_root, extra)


@dataclass(frozen=True)
class _Records:
    """Records in order of their names; iterate as often as you like."""

    file: Path
    categories: frozenset[int]
    images: dict[Any, dict[str, Any]]
    names: dict[str, Any]
    grouped: dict[Any, list[dict[str, Any]]]

    def __iter__(self) -> Iterator[ImageRecord]:
        for name in sorted(self.names):
            key = self.names[name]
            image = self.images[key]
            size = (image["height"], image["width"])
            raws = self.grouped.get(key, ())
            annotations = tuple(_read_object(raw, size, self.categories, self.file) for raw in raws)
            extra = {k: v for k, v in image.items() if k not in _IMAGE_KEYS}
            number = key if isinstance(key, int) else None
            if number is None:
                extra["id"] = key  # ids of text: some tools write them; kept beside a number of ours
            yield ImageRecord(name, size, annotations, number, extra)


def _read_images(raw: list[Any], file: Path) -> tuple[dict[Any, dict[str, Any]], dict[str, Any]]:
    images: dict[Any, dict[str, Any]] = {}
    names: dict[str, Any] = {}
    for entry in raw:
        if not isinstance(entry, dict):
            raise FormatError(f"{file}: image {entry!r:.80} is not an object")
        key = id_of(entry.get("id"))
        where = f"{file}: image {key!r}"
        if key is None:
            raise FormatError(f"{file}: image {entry.get('file_name')!r} has no id")
        if key in images:
            raise FormatError(f"{where}: two images have this id")
        name = relative_name(entry.get("file_name"), where)
        if name in names:
            raise FormatError(f"{where}: {name} is already image {names[name]!r}")
        height, width = size_of(entry.get("height"), entry.get("width"), where)
        images[key] = {**entry, "height": height, "width": width}
        names[name] = key
    return images, names


def _group(raw: Any, images: Mapping[Any, Any], file: Path) -> dict[Any, list[dict[str, Any]]]:
    """Annotations by image, each image's in the order of the file."""
    if not isinstance(raw, list):
        raise FormatError(f"{file}: annotations is not a list")
    grouped: dict[Any, list[dict[str, Any]]] = {}
    seen: set[Any] = set()
    for entry in raw:
        if not isinstance(entry, dict):
            raise FormatError(f"{file}: annotation {entry!r:.80} is not an object")
        key = id_of(entry.get("id"))
        if key is not None:
            if key in seen:
                raise FormatError(f"{file}: two annotations have the id {key!r}")
            seen.add(key)
        image = id_of(entry.get("image_id"))
        if image not in images:
            raise FormatError(f"{file}: annotation {key!r} is on image {entry.get('image_id')!r}, which is not listed")
        grouped.setdefault(image, []).append(entry)
    return grouped


def _read_object(raw: dict[str, Any], size: Size, categories: frozenset[int], file: Path) -> Annotation:
    where = f"{file}: annotation {raw.get('id')!r}"
    category = whole(raw.get("category_id"))
    if category is None or category not in categories:
        raise FormatError(f"{where}: category_id {raw.get('category_id')!r} is not a listed category")
    mask = read_mask(raw.get("segmentation"), size, where)
    box: Box
    if raw.get("bbox") is not None:
        values = numbers(raw["bbox"], where, "bbox", length=4)
        if values[2] < 0 or values[3] < 0:
            raise FormatError(f"{where}: bbox {raw['bbox']} has a negative width or height")
        box = box_from_xywh(values)
    elif mask is not None:
        box = mask.box
    else:
        raise FormatError(f"{where}: neither segmentation nor bbox")
    key = id_of(raw.get("id"))
    extra = {k: v for k, v in raw.items() if k not in _READ_KEYS}
    if key is not None and not isinstance(key, int):
        extra["id"] = key
    points = raw.get("point_coords")
    if points is not None:
        if not isinstance(points, list):
            raise FormatError(f"{where}: point_coords is not a list of points")
        points = tuple(tuple(numbers(point, where, "point_coords", length=2)) for point in points)
    crop = raw.get("crop_box")
    source = raw.get("source")
    if source is not None and not isinstance(source, str):
        extra["source"], source = source, None
    return Annotation(
        category,
        box,
        mask,
        score=score_of(raw, "score", where),
        predicted_iou=score_of(raw, "predicted_iou", where),
        stability_score=score_of(raw, "stability_score", where),
        iscrowd=bool(raw.get("iscrowd", 0)),
        source=source,
        point_coords=points or (),
        crop_box=None if crop is None else box_from_xywh(numbers(crop, where, "crop_box", length=4)),
        id=key if isinstance(key, int) else None,
        extra=extra,
    )


def write(
    dataset: Dataset,
    path: Path,
    *,
    overwrite: bool = False,
    images: str = "none",
    segmentation: str = "rle",
    keep_ids: bool = True,
) -> WriteReport:
    """Write one COCO file: `path` itself when it ends in .json, else `path/annotations.json`.

    Annotations go to disk one by one, the table of images to a second file, so memory does not grow with them.
    `segmentation` is "rle" (exact) or "polygons" (exact too, on pixel edges). Ids of the source are kept while they are
    free; an image or object without one gets the next free number, from 1 in the order of the records.
    """
    if segmentation not in ("rle", "polygons"):
        raise UsageError(f"unknown segmentation {segmentation!r}; known: rle, polygons")
    check_transfer(images)
    path = Path(path)
    file = path if path.suffix.lower() == ".json" else path / FILE
    refuse_existing(file if file.exists() else None, overwrite)
    file.parent.mkdir(parents=True, exist_ok=True)
    report = WriteReport("coco", str(file))
    ids = _Ids(keep_ids)
    known = frozenset(category.id for category in dataset.categories)
    with replacing(file) as out, tempfile.TemporaryFile(dir=file.parent) as table:
        out.write(b"{")
        for key, value in dataset.extra.items():
            if key not in ("images", "annotations", "categories"):
                out.write(f"{dump_json(key)}:{dump_json(value)},\n".encode())
        out.write(f'"categories":{dump_json(category_table(dataset.categories))},\n"annotations":['.encode())
        for record in dataset.records:
            check_listed(record, known)
            number = ids.image(record)
            _write_line(table, report.images, _image_entry(record, number))
            report.images += 1
            for annotation in record.annotations:
                entry = _object_entry(annotation, ids.annotation(annotation), number, segmentation)
                _write_line(out, report.objects, entry)
                report.objects += 1
            if images != "none":
                target = inside(file.parent, f"images/{record.path}")
                place_image(dataset.image_root, record.path, target, images)
        out.write(b'],\n"images":[')
        table.seek(0)
        while chunk := table.read(1 << 20):
            out.write(chunk)
        out.write(b"]}\n")
    report.losses.update(+ids.changed)
    return report


def _write_line(out: IO[bytes], before: int, entry: dict[str, Any]) -> None:
    out.write((",\n" if before else "\n").encode() + dump_json(entry).encode())


class _Ids:
    """Ids for images and objects, and how many of them are not those of the source."""

    def __init__(self, keep: bool) -> None:
        self._keep = keep
        self._images, self._annotations = Numbers(), Numbers()
        self.changed: Counter[str] = Counter()

    def image(self, record: ImageRecord) -> int | str:
        return self._take(record, self._images, "image-ids-changed")

    def annotation(self, annotation: Annotation) -> int | str:
        return self._take(annotation, self._annotations, "annotation-ids-changed")

    def _take(self, item: ImageRecord | Annotation, numbers: Numbers, code: str) -> int | str:
        if isinstance(item.extra.get("id"), str):
            return item.extra["id"]
        number = numbers.take(item.id if self._keep else None)
        self.changed[code] += item.id not in (None, number)
        return number


def _image_entry(record: ImageRecord, number: int | str) -> dict[str, Any]:
    height, width = record.size
    entry = {"id": number, "file_name": record.path, "width": int(width), "height": int(height)}
    return {**entry, **{k: v for k, v in record.extra.items() if k not in entry}}


def _object_entry(annotation: Annotation, number: int | str, image: int | str, segmentation: str) -> dict[str, Any]:
    mask = annotation.mask
    entry: dict[str, Any] = {"id": number, "image_id": image, "category_id": annotation.category_id}
    # A box that came with its object from a file is somebody's; one of our own runs is the mask's.
    box = annotation.box if mask is None or annotation.id is not None else mask.box
    if mask is None:
        entry["segmentation"] = []
    elif segmentation == "polygons" and not annotation.iscrowd and (polygons := mask.to_polygons()):
        entry["segmentation"] = polygons
    else:
        entry["segmentation"] = {"size": list(mask.size), "counts": mask.counts.decode("ascii")}
    entry["area"] = mask.area if mask is not None else plain((box[2] - box[0]) * (box[3] - box[1]))
    entry["bbox"] = [plain(v) for v in box_to_xywh(box)]
    entry["iscrowd"] = int(annotation.iscrowd)
    for key in ("score", "predicted_iou", "stability_score"):
        value = getattr(annotation, key)
        if value is not None:
            entry[key] = float(value)
    if annotation.source is not None:
        entry["source"] = annotation.source
    if annotation.point_coords:
        entry["point_coords"] = [[plain(v) for v in point] for point in annotation.point_coords]
    if annotation.crop_box is not None:
        entry["crop_box"] = [plain(v) for v in box_to_xywh(annotation.crop_box)]
    return {**entry, **{k: v for k, v in annotation.extra.items() if k not in entry}}
