"""Boxes that exist already: COCO JSON, a YOLO or a Pascal VOC folder (labels:boxes.json).

Turns a box dataset into a mask dataset. A label belongs to the image of the same relative path, else to the
only one of its file name; `remarks()` says after a run what found no partner.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from ..errors import FormatError, UsageError
from ..file_state import hash_file
from ..protocols import Image
from ..reach import Reach
from ..types import Category, Detections
from ._batches import inside
from ._boxes import BoxFile, read_coco, read_voc, read_yolo
from ._classes import chosen

MOST_NAMED = 3  # paths spelled out in a remark


class LabelsDetector:
    """Gives each image the boxes that a dataset holds for it; scores are 1 where the dataset has none."""

    def __init__(self, source: BoxFile, *, keep: frozenset[int], conf: float, max_det: int) -> None:
        self.name = f"labels:{source.path.name}"
        self.categories = tuple(
            Category(key, name, source.supercategories.get(key))
            for key, name in sorted(source.names.items())
            if key in keep
        )
        self.weights = _digest(source)
        self._source = source
        self._keep = keep
        self._conf = conf
        self._max_det = max_det
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for key in source:
            self._by_name[PurePosixPath(key).name].append(key)
        self._owner: dict[str, str] = {}  # which image took a label
        self._without: list[str] = []
        self._other_size: list[str] = []
        self._shared: list[str] = []  # taken by file name before the image of the very path came

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        return [self._detect(image) for image in images]

    def _detect(self, image: Image) -> Detections:
        key = self._match(image.path)
        if key is None:
            self._without.append(image.path)
            return Detections.empty()
        self._owner[key] = image.path
        size, rows = self._source.boxes(key, image.size)
        if size is not None and size != image.size:
            self._other_size.append(f"{image.path} ({_by(image.size)}, labels for {_by(size)})")
            return Detections.empty()
        wanted = [row for row in rows if row.category_id in self._keep]
        wanted = [row for row in wanted if row.score is None or row.score >= self._conf]
        if all(row.score is not None for row in wanted):
            wanted = sorted(wanted, key=lambda row: -(row.score or 0.0))[: self._max_det]
        boxes = np.array([row.box for row in wanted], dtype=np.float32).reshape(-1, 4)
        scores = np.array([1.0 if row.score is None else row.score for row in wanted], dtype=np.float32)
        ids = np.array([row.category_id for row in wanted], dtype=np.int64)
        return inside(boxes, scores, ids, image.size)

    def _match(self, path: str) -> str | None:
        """The label of an image: of its own path, else the only one of its file name that no image has taken."""
        key = self._source.key_of(path)
        if not self._source.has(key):
            alike = self._by_name.get(PurePosixPath(key).name, [])
            if len(alike) != 1:
                return None
            key = alike[0]
            # Two photos of one name must not both get the boxes of one of them.
            return key if self._owner.get(key, path) == path else None
        if self._owner.get(key, path) != path:
            self._shared.append(f"{key} (its own image and, by file name, {self._owner[key]})")
        return key

    def remarks(self) -> list[str]:
        """What a person should know after the run: images without labels, labels without image, odd sizes."""
        unused = [key for key in self._source if key not in self._owner]
        lines = [
            _remark(self._without, "image has no entry in the labels", "images have no entry in the labels"),
            _remark(unused, "label matched no image", "labels matched no image"),
            _remark(
                self._other_size,
                "image differs in size from its labels and got none of their boxes",
                "images differ in size from their labels and got none of their boxes",
            ),
            _remark(self._shared, "label went to two images", "labels went to two images each"),
            *self._source.remarks,
        ]
        return [line for line in lines if line]


def _digest(source: BoxFile) -> str:
    """SHA-256 of all label files: boxes decide what is labelled as much as weights do."""
    if source.path.is_file():
        return hash_file(source.path)
    files = sorted(path for path in source.path.rglob("*") if path.suffix in (".txt", ".xml"))
    lines = "".join(f"{hash_file(path)} {path.relative_to(source.path).as_posix()}\n" for path in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def _remark(paths: list[str], one: str, many: str) -> str:
    if not paths:
        return ""
    named = ", ".join(paths[:MOST_NAMED]) + (", ..." if len(paths) > MOST_NAMED else "")
    return f"{len(paths)} {one if len(paths) == 1 else many}: {named}"


def _by(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"


def load(
    what: str | None,
    *,
    device: str = "",
    conf: float = 0.25,
    iou: float = 0.7,
    imgsz: int = 640,
    max_det: int = 300,
    classes: Sequence[str | int] | None = None,
    follow_links: bool = False,
) -> LabelsDetector:
    """The boxes in `what`: a COCO JSON file, a folder of YOLO .txt files, or a folder of VOC .xml files.

    A box without a score is a fact, so `conf` judges only those that have one, and `max_det` keeps the best of an
    image only where all have one; `device`, `iou` and `imgsz` mean nothing here. `classes` are names or the dataset's
    own numbers. LeadsOutside where a file is a link out of the dataset, unless `follow_links`.
    """
    if not what:
        raise UsageError("the labels detector needs a dataset; write labels:boxes.json or labels:FOLDER")
    source = open_boxes(Path(what).expanduser(), follow_links=follow_links)
    keep = chosen(classes, source.class_numbers)
    keep = frozenset(source.category_of(number) for number in keep)
    return LabelsDetector(source, keep=keep, conf=conf, max_det=max_det)


def open_boxes(path: Path, *, follow_links: bool = False) -> BoxFile:
    """The box dataset at `path`, its kind told by what lies there."""
    if not path.exists():
        raise UsageError(f"{path}: no such file or folder of labels")
    reach = Reach.of(path, follow_links=follow_links)
    if path.is_file():
        if path.suffix.lower() == ".json":
            return read_coco(path)
        raise FormatError(f"{path}: wanted a COCO .json file, or a folder of YOLO .txt or VOC .xml files")
    for inner in ("labels", "Annotations"):  # the root of a YOLO or a VOC dataset
        if (path / inner).is_dir():
            path = reach.check(path / inner)
            break
    for file in path.rglob("*"):
        if file.suffix in (".txt", ".xml"):
            reach.check(file)
    if any(path.rglob("*.xml")):
        return read_voc(path)
    if any(path.rglob("*.txt")):
        return read_yolo(path, reach)
    raise FormatError(f"{path}: no .txt (YOLO) and no .xml (Pascal VOC) file in this folder")
