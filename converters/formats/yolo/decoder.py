"""The objects of YOLO label files: what a row says, at the size of its image."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

from converters.fields.annotation import bounded
from converters.io.files import read_text
from converters.lenient import Lenient, coded, passing_over
from samlabel.errors import FormatError
from samlabel.types import Annotation, Size

from .pose import split_pose
from .rows import read_polygon


def objects_of(
    file: Path, size: Size, classes: frozenset[int], keypoints: tuple[int, int] | None, lenient: Lenient | None = None
) -> tuple[Annotation, ...]:
    """The objects in a label file of an image of this size, in the order of their rows.

    `keypoints` is the dataset's `kpt_shape`. FormatError with file, line and rule; with `lenient`, broken rows are left
    out and counted there.
    """
    with coded("bad-file"):
        lines = lines_of(file)
    makes = (partial(_object, text, where, size, classes, keypoints) for where, text in lines)
    return bounded(passing_over(makes, lenient, "bad-row"), str(file))


def lines_of(file: Path) -> Iterator[tuple[str, str]]:
    """Where each line is, and its text; empty ones left out. The file is read at once."""
    found = enumerate(read_text(file).splitlines(), start=1)
    return ((f"{file}:{line}", text) for line, text in found if text.strip())


def class_of(text: str, where: str) -> int:
    """The class of a row without keypoints, which is checked."""
    index, values = _parsed(text, where)
    _check(_scored(values, where)[0], where)
    return index


def _object(
    text: str, where: str, size: Size, classes: frozenset[int], keypoints: tuple[int, int] | None
) -> Annotation:
    height, width = size
    index, values = _parsed(text, where)
    extra: dict[str, Any] = {}
    score = None
    if keypoints is not None:
        values, extra = split_pose(values, keypoints, size, where)
    else:
        values, score = _scored(values, where)
    _check(values, where)
    if index not in classes:
        raise FormatError(f"{where}: class {index} is beyond the {len(classes)} classes of this dataset")
    if len(values) == 4:
        cx, cy, w, h = values
        if w < 0 or h < 0:
            raise FormatError(f"{where}: a box of negative width or height")
        x0, y0, x1, y1 = (cx - w / 2) * width, (cy - h / 2) * height, (cx + w / 2) * width, (cy + h / 2) * height
        box = (round(x0, 4), round(y0, 4), round(x1, 4), round(y1, 4))
        return Annotation(index, box, score=score, extra=extra)
    try:
        mask = read_polygon(values, size)
    except ValueError as error:
        raise FormatError(f"{where}: {error}") from error
    return Annotation(index, mask.box, mask, score=score)


def _parsed(text: str, where: str) -> tuple[int, list[float]]:
    """The class of a row and the numbers after it."""
    try:
        first, *values = [float(word) for word in text.split()]
    except ValueError:
        raise FormatError(f"{where}: {text[:60]!r} is not a row of numbers") from None
    if not isfinite(first) or first != int(first) or first < 0:
        raise FormatError(f"{where}: class {text.split()[0][:60]} is not a whole number from 0")
    return int(first), values


def _scored(values: list[float], where: str) -> tuple[list[float], float | None]:
    """The numbers of the box or polygon, and the score after them: ultralytics writes it with `save_conf`."""
    if len(values) < 5 or len(values) % 2 == 0:
        return values, None
    score = values[-1]
    if not 0 <= score <= 1:  # nor is NaN
        raise FormatError(f"{where}: score {score:g} is not a number from 0 to 1")
    return values[:-1], score


def _check(values: list[float], where: str) -> None:
    if len(values) < 4 or len(values) % 2:
        wanted = "a box needs 4, a polygon x y pairs, 6 or more; a score may follow"
        raise FormatError(f"{where}: {len(values)} numbers after the class; {wanted}")
    outside = [v for v in values if not -0.01 <= v <= 1.01]  # NaN is outside as well
    if outside:
        raise FormatError(f"{where}: {outside[0]:g} is not a share of the image's size, from 0 to 1")
