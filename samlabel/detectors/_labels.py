"""Labels as boxes by image, however `converters` reads them: held in compact arrays, or read file by file."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Protocol

import numpy as np

from ..file_state import hash_file
from ..formats import Unsized, read, read_unsized
from ..types import Annotation, Category, Dataset, Size


class Boxes(NamedTuple):
    """The N boxes of one image, crowds left out."""

    boxes: np.ndarray  # (N, 4) float32, XYXY pixels
    scores: np.ndarray  # (N,) float64, NaN where the labels give none
    category_ids: np.ndarray  # (N,) int64


class Labels(Protocol):
    """Boxes by key; a key is a path as the labels know it: that of an image, or of a label file without its suffix."""

    categories: tuple[Category, ...]
    crowds: int  # objects left out so far, as boxes around many

    def __iter__(self) -> Iterator[str]: ...

    def find(self, image: str) -> str | None:
        """The key of the image at this very path, None where the labels have none."""
        ...

    def file_name(self, image: str) -> str:
        """The last part of the keys that an image may go by whose path the labels do not know."""
        ...

    def size(self, key: str) -> Size | None:
        """The size that the labels were made for, None where they fit any."""
        ...

    def boxes(self, key: str, size: Size) -> Boxes:
        """The boxes of a key in an image of this size."""
        ...

    def digest(self) -> str:
        """SHA-256 of all that the boxes come from."""
        ...


def open_labels(path: Path, *, follow_links: bool = False) -> Labels:
    """The labels at `path`, of any format; UsageError, FormatError and LeadsOutside as of `converters.read`."""
    unsized = read_unsized(path, follow_links=follow_links)
    return FileLabels(unsized) if unsized else HeldLabels(read(path, follow_links=follow_links))


class FileLabels:
    """Labels of any size, each image's read from its file when it is asked for."""

    def __init__(self, unsized: Unsized) -> None:
        self.categories = unsized.categories
        self.crowds = 0
        self._unsized = unsized

    def __iter__(self) -> Iterator[str]:
        return iter(self._unsized.files)

    def find(self, image: str) -> str | None:
        return self._unsized.find(image)

    def file_name(self, image: str) -> str:
        return PurePosixPath(image).stem

    def size(self, key: str) -> Size | None:
        return None

    def boxes(self, key: str, size: Size) -> Boxes:
        objects = self._unsized.read(key, size)
        kept = [one for one in objects if not one.iscrowd]
        self.crowds += len(objects) - len(kept)
        return _boxes([one.box for one in kept], map(_score, kept), [one.category_id for one in kept])

    def digest(self) -> str:
        files = sorted(self._unsized.files.items())
        return _digest(self.categories, [f"{hash_file(file)} {key}\n".encode() for key, file in files])


class HeldLabels:
    """All boxes of a dataset, read once: 48 bytes a box, no masks."""

    def __init__(self, dataset: Dataset) -> None:
        self.categories = dataset.categories
        self.crowds = 0
        self._places: dict[str, int] = {}  # of each image among the sizes and ends
        self._sizes = array("q")  # height and width
        self._ends = array("q", [0])  # of each image's boxes, after a 0
        self._boxes, self._scores, self._ids = array("f"), array("d"), array("q")
        for record in dataset.records:
            self._places[record.path] = len(self._places)
            self._sizes.extend(record.size)
            for one in record.annotations:
                if one.iscrowd:
                    self.crowds += 1
                    continue
                self._boxes.extend(one.box)
                self._scores.append(_score(one))
                self._ids.append(one.category_id)
            self._ends.append(len(self._ids))

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def find(self, image: str) -> str | None:
        return image if image in self._places else None

    def file_name(self, image: str) -> str:
        return PurePosixPath(image).name

    def size(self, key: str) -> Size | None:
        place = self._places[key]
        return self._sizes[2 * place], self._sizes[2 * place + 1]

    def boxes(self, key: str, size: Size) -> Boxes:
        place = self._places[key]
        start, end = self._ends[place], self._ends[place + 1]
        return _boxes(self._boxes[4 * start : 4 * end], self._scores[start:end], self._ids[start:end])

    def digest(self) -> str:
        held = (self._sizes, self._ends, self._boxes, self._scores, self._ids)
        return _digest(self.categories, [json.dumps(list(self._places)).encode(), *(one.tobytes() for one in held)])


def _score(annotation: Annotation) -> float:
    return float("nan") if annotation.score is None else annotation.score


def _boxes(boxes: Sequence[float] | Sequence[Sequence[float]], scores: Iterable[float], ids: Sequence[int]) -> Boxes:
    return Boxes(
        np.array(boxes, dtype=np.float32).reshape(-1, 4),
        np.array(list(scores), dtype=np.float64),
        np.array(ids, dtype=np.int64),
    )


def _digest(categories: Sequence[Category], parts: Iterable[bytes]) -> str:
    found = hashlib.sha256(json.dumps([[one.id, one.name, one.supercategory] for one in categories]).encode())
    for part in parts:
        found.update(hashlib.sha256(part).digest())
    return found.hexdigest()
