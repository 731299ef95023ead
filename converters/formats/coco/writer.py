"""COCO instances: one JSON file with images, annotations and categories.

https://cocodataset.org/#format-data; masks as compressed RLE with text counts, uncompressed RLE or polygons.
Fields that samlabel does not read pass through in `extra`.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import IO, Any

import numpy as np

from converters.fields.simplify import Budget
from converters.fields.values import Numbers, category_table, check_listed, plain
from converters.io.files import check_transfer, dump_json, place_image, refuse_existing
from converters.io.folders import head_of
from converters.lenient import Lenient
from converters.receipt import FEATURES, WriteReport
from samlabel.errors import FormatError, UsageError
from samlabel.files import OutputFolder, nameless
from samlabel.geometry import PolygonMask, box_to_xywh, mask_to_polygons, simplify_to
from samlabel.reach import Reach
from samlabel.types import Annotation, Dataset, ImageRecord, Mask

from .reader import read_file

KEEPS = frozenset(FEATURES)
ONE_FILE = True
OPTIONS = {
    "segmentation": "rle|polygons: both are exact",
    "keep_ids": "keep the numbers of the source while they are free; else count from 1",
    "max_points": "most points of a polygon, with segmentation=polygons",
    "tolerance": "pixels that a polygon may leave the outline, with segmentation=polygons",
}
FILE = "annotations.json"
_FEW = 20  # JSON files of a folder that are looked into


def recognise(path: Path) -> str | None:
    """Why `path` is COCO instances, None when it is not."""
    file = _find(path)
    if file is None:
        return None
    head = head_of(file, 1 << 20)
    if head[:1] != b"{" or not (b'"images"' in head or (b'"annotations"' in head and b'"categories"' in head)):
        return None
    return f"{file.name} is a JSON object with images, annotations and categories"


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
    """Files that begin as COCO's do, where there are few: person_keypoints_val.json, train.json."""
    for folder in (path, path / "annotations"):
        files = sorted(folder.glob("*.json"))
        heads = [(file, head_of(file)) for file in files] if len(files) <= _FEW else []
        found = [file for file, head in heads if head[:1] == b"{" and _begins_as_coco(head)]
        if found:
            return found
    return []


def _begins_as_coco(head: bytes) -> bool:
    return (
        b'"images"' in head and b'"file_name"' in head and b'"segments_info"' not in head and b'"caption"' not in head
    )


def read(
    path: Path, *, image_root: Path | None = None, lenient: Lenient | None = None, reach: Reach | None = None
) -> Dataset:
    """The dataset of a COCO file, or of a folder with `annotations.json`; records sorted by file name.

    Memory holds the table of images and no objects: those wait in a temporary file, sorted by image. `image_root` is
    where file names start; without it, the folders where COCO is usually unpacked are tried. Raises FormatError with
    the file, the id and the rule that is broken; with `lenient`, broken objects are left out and counted there.
    """
    file = _find(Path(path))
    if file is None:
        raise FormatError(f"{path}: no COCO file here; wanted a .json file or a folder with {FILE}")
    reach = reach or Reach.of(Path(path), image_root=image_root)
    return read_file(reach.check(file), image_root, lenient, reach)


def write(
    dataset: Dataset,
    path: Path,
    *,
    overwrite: bool = False,
    images: str = "none",
    segmentation: str = "rle",
    keep_ids: bool = True,
    max_points: int | None = None,
    tolerance: float = 0.0,
) -> WriteReport:
    """Write one COCO file: `path` itself when it ends in .json, else `path/annotations.json`.

    Annotations go to disk one by one, the table of images to a second file, so memory does not grow with them.
    `segmentation` is "rle" (exact) or "polygons" (exact too: those of the source as they are, others on pixel edges).
    `max_points` a polygon and `tolerance` in pixels make polygons smaller at a cost, counted as mask-changed. Ids of
    the source are kept while they are free; an image or object without one gets the next free number, from 1 in the
    order of the records. An area that a COCO file gave is kept unless polygons are made smaller; others are the mask's.
    """
    budget = _budget(segmentation, max_points, tolerance)
    check_transfer(images)
    files = dataset.images_in()
    path = Path(path)
    file = _file(path)
    refuse_existing(existing(path), overwrite)
    folder = OutputFolder(file.parent).make()
    report = WriteReport("coco", str(file))
    ids = _Ids(keep_ids)
    known = frozenset(category.id for category in dataset.categories)
    with folder.replacing(file.name) as out, nameless(folder.path) as table:
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
                segments = _segmentation(annotation, segmentation, budget, report)
                area = None if budget.is_set and annotation.mask is not None else annotation.area
                entry = _object_entry(annotation, ids.annotation(annotation), number, segments, area)
                _write_line(out, report.objects, entry)
                report.objects += 1
            if images != "none":
                place_image(files, record.path, folder, f"images/{record.path}", images)
        out.write(b'],\n"images":[')
        table.seek(0)
        while chunk := table.read(1 << 20):
            out.write(chunk)
        out.write(b"]}\n")
    report.losses.update(+ids.changed)
    return report


def existing(path: Path) -> Path | None:
    """The label file that `write` would replace; None where there is none."""
    file = _file(path)
    return file if file.exists() else None


def _file(path: Path) -> Path:
    return path if path.suffix.lower() == ".json" else path / FILE


def keeps(
    *, segmentation: str = "rle", max_points: int | None = None, tolerance: float = 0.0, **_: Any
) -> frozenset[str]:
    """What survives with these options of `write`."""
    return KEEPS - {"exact_masks"} if _budget(segmentation, max_points, tolerance).is_set else KEEPS


def as_read(
    annotation: Annotation,
    *,
    segmentation: str = "rle",
    max_points: int | None = None,
    tolerance: float = 0.0,
    **_: Any,
) -> Mask | None:
    """The mask that pycocotools makes of the object as `write` puts it down."""
    mask = annotation.mask
    if mask is None or segmentation == "rle":
        return mask
    polygons = _polygons(annotation, _budget(segmentation, max_points, tolerance))
    return Mask.from_polygons(polygons, mask.size) if polygons else mask


READER = "pycocotools"


def _budget(segmentation: str, max_points: int | None, tolerance: float) -> Budget:
    if segmentation not in ("rle", "polygons"):
        raise UsageError(f"unknown segmentation {segmentation!r}; known: rle, polygons")
    budget = Budget(max_points, tolerance)
    if budget.is_set and segmentation == "rle":
        raise UsageError("max_points and tolerance are for polygons; say --segmentation polygons")
    return budget


def _segmentation(annotation: Annotation, segmentation: str, budget: Budget, report: WriteReport) -> Any:
    """What goes into the field: polygons, RLE, or the empty list that COCO uses for a box alone."""
    mask = annotation.mask
    if mask is None:
        return []
    polygons = _polygons(annotation, budget) if segmentation == "polygons" else []
    if not polygons:
        return {"size": [int(v) for v in mask.size], "counts": mask.counts.decode("ascii")}
    if budget.is_set:
        report.losses["mask-changed"] += Mask.from_polygons(polygons, mask.size) != mask
        report.losses["over-budget"] += any(budget.is_exceeded(len(polygon) // 2) for polygon in polygons)
    return polygons


def _polygons(annotation: Annotation, budget: Budget) -> list[list[float]]:
    """The object's polygons within the budget; none where only RLE can say it."""
    mask = annotation.mask
    if mask is None or annotation.iscrowd:  # COCO's crowds are RLE
        return []
    if isinstance(mask, PolygonMask):
        rings = mask.polygons
    else:
        rings = [np.array(polygon, dtype=np.float64).reshape(-1, 2) for polygon in mask_to_polygons(mask)]
    if budget.is_set:
        rings = [simplify_to(points, max_points=budget.max_points, tolerance=budget.tolerance) for points in rings]
    return [[int(v) if v == int(v) else v for v in points.ravel().tolist()] for points in rings]


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
        own = item.extra.get("id")
        if isinstance(own, str):
            return own
        number = numbers.take(item.id if self._keep else None)
        self.changed[code] += item.id not in (None, number)
        return number


def _image_entry(record: ImageRecord, number: int | str) -> dict[str, Any]:
    height, width = record.size
    entry = {"id": number, "file_name": record.path, "width": int(width), "height": int(height)}
    return {**entry, **{k: v for k, v in record.extra.items() if k not in entry}}


def _object_entry(
    annotation: Annotation, number: int | str, image: int | str, segmentation: Any, area: float | None
) -> dict[str, Any]:
    mask = annotation.mask
    entry: dict[str, Any] = {"id": number, "image_id": image, "category_id": annotation.category_id}
    # A box that came with its object from a file is somebody's; one of our own runs is the mask's.
    box = annotation.box if mask is None or annotation.id is not None else mask.box
    entry["segmentation"] = segmentation
    if area is None:
        area = mask.area if mask is not None else plain((box[2] - box[0]) * (box[3] - box[1]))
    entry["area"] = area
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
