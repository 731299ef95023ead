"""Boxes that exist already, in any format that samlabel reads (labels:boxes.json, labels:FOLDER).

Turns a box dataset into a mask dataset, with its categories as `converters.read` gives them. A label belongs to the
image of the same relative path, else to the only one of its file name, else to the only one of its name without suffix
and its size; `remarks()` says after a run what found no partner.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import Conflicted, UsageError
from ..objects import Objects
from ..protocols import Image, ModelInfo
from ..sources.name_index import NameIndex
from ..types import Size
from ._batches import inside
from ._classes import chosen
from ._labels import Labels, open_labels

MOST_NAMED = 3  # paths spelled out in a remark


class LabelsDetector:
    """Gives each image the boxes that a dataset holds for it; scores are 1 where the dataset has none."""

    def __init__(self, path: Path, labels: Labels, *, keep: frozenset[int], conf: float, max_det: int) -> None:
        categories = sorted((one for one in labels.categories if one.id in keep), key=lambda category: category.id)
        # Boxes decide what is labeled as much as weights do.
        self.info = ModelInfo(f"labels:{path.name}", tuple(categories), weights_sha256=labels.digest())
        self._labels = labels
        self._keep = np.array(sorted(keep), dtype=np.int64)
        self._conf = conf
        self._max_det = max_det
        self._path = path
        self._index = NameIndex(labels)
        self._expected: tuple[str, ...] = ()  # every image of the run, those that are done included
        self._owner: dict[str, str] = {}  # which image took a label
        self._without: list[str] = []
        self._other_size: list[str] = []
        self._shared: list[str] = []  # taken by file name before the image of the very path came

    def detect(self, images: Sequence[Image]) -> list[Objects]:
        return [self._detect(image) for image in images]

    def expect(self, paths: Sequence[str]) -> None:
        """Conflicted where none of these images has a label, by its path, its file name or its stem."""
        self._expected = tuple(paths)
        if any(self._candidates(path) for path in paths):
            return
        labels = list(self._labels)
        if labels and paths:
            raise Conflicted(
                f"{self._path}: none of its {len(labels)} labels is of an image here, the first is {labels[0]} and the "
                f"first image {paths[0]}; expected the same relative paths or file names"
            )

    def _candidates(self, path: str, size: Size | None = None) -> list[str]:
        """The labels that may be of the image at this path, of this size where it is known."""
        key = self._labels.find(path)
        if key is not None:
            return [key]

        def fits(other: str) -> bool:
            made_for = self._labels.size(other)
            return made_for is not None and size in (None, made_for)

        return self._index.like(self._labels.file_name(path), fits)

    def _detect(self, image: Image) -> Objects:
        key = self._match(image)
        if key is None:
            self._without.append(image.path)
            return Objects.empty()
        self._owner[key] = image.path
        size = self._labels.size(key)
        if size is not None and size != image.size:
            self._other_size.append(f"{image.path} ({_by(image.size)}, labels for {_by(size)})")
            return Objects.empty()
        found = self._labels.boxes(key, image.size)
        drawn = np.isnan(found.scores)
        wanted = np.flatnonzero(np.isin(found.category_ids, self._keep) & (drawn | (found.scores >= self._conf)))
        if not drawn[wanted].any():
            wanted = wanted[np.argsort(-found.scores[wanted], kind="stable")][: self._max_det]
        scores = np.where(drawn, 1.0, found.scores)
        return inside(found.boxes[wanted], scores[wanted], found.category_ids[wanted], image.size)

    def _match(self, image: Image) -> str | None:
        """The label of an image: of its own path, else the only one of its file name that no image has taken.

        Where no label has its file name, the only one of its stem and its size.
        """
        path, own = image.path, self._labels.find(image.path)
        if own is None:
            alike = self._candidates(path, image.size)
            # Two photos of one name must not both get the boxes of one of them.
            return alike[0] if len(alike) == 1 and self._owner.get(alike[0], path) == path else None
        if self._owner.get(own, path) != path:
            self._shared.append(f"{own} (its own image and, by file name, {self._owner[own]})")
        return own

    def remarks(self) -> list[str]:
        """What a person should know after the run: images without labels, labels without image, odd sizes."""
        seen = {*self._owner.values(), *self._without}
        done_before = {key for path in self._expected if path not in seen for key in self._candidates(path)}
        unused = [key for key in self._labels if key not in self._owner and key not in done_before]
        crowds = self._labels.crowds
        lines = [
            _remark(self._without, "image has no entry in the labels", "images have no entry in the labels"),
            _remark(unused, "label matched no image", "labels matched no image"),
            _remark(
                self._other_size,
                "image differs in size from its labels and got none of their boxes",
                "images differ in size from their labels and got none of their boxes",
            ),
            _remark(self._shared, "label went to two images", "labels went to two images each"),
            f"{crowds} crowd region{'s' * (crowds > 1)} left out: a box around many is no prompt" if crowds else "",
        ]
        return [line for line in lines if line]


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
    """The boxes in the labels at `what`, a file or a folder of any format; of YOLO, the label files alone are enough.

    A box without a score is a fact, so `conf` judges only those that have one, and `max_det` keeps the best of an
    image only where all have one; `device`, `iou` and `imgsz` mean nothing here. `classes` are names or the dataset's
    own numbers. Raises UsageError where nothing is there, FormatError for broken labels, UnknownName for a class, and
    LeadsOutside where a file is a link out of the dataset, unless `follow_links`.
    """
    if not what:
        raise UsageError("the labels detector needs a dataset; write labels:boxes.json or labels:FOLDER")
    path = Path(what).expanduser()
    labels = open_labels(path, follow_links=follow_links)
    keep = chosen(classes, {category.id: category.name for category in labels.categories})
    return LabelsDetector(path, labels, keep=keep, conf=conf, max_det=max_det)
