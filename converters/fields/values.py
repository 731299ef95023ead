"""Values of JSON label files, checked one by one: FormatError names the place and the rule."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from converters.lenient import Lenient, broken, surviving
from samlabel.errors import FormatError, UsageError, shown
from samlabel.geometry import PIXELS_MAX, SIDE_MAX, mask_from_counts, mask_from_uncompressed, polygons_to_mask
from samlabel.types import Category, Dataset, ImageRecord, Mask, Size


def read_mask(raw: Any, size: Size, where: str, lenient: Lenient | None = None) -> Mask | None:
    """The mask of a `segmentation`; None when it is absent, null or an empty list, which COCO uses for 'box only'.

    A list of empty polygons says the same. With `lenient`, broken polygons beside good ones are left out.
    """
    if isinstance(raw, list):
        raw = [polygon for polygon in raw if polygon != []]
    if raw is None or raw == []:
        return None
    try:
        if isinstance(raw, list):
            if lenient is not None and len(raw) > 1:
                raw = list(surviving((partial(_checked, polygon, size, where) for polygon in raw), lenient))
            return polygons_to_mask(raw, size)
        if not isinstance(raw, dict) or "counts" not in raw:
            raise ValueError("segmentation is neither polygons nor RLE")
        claimed = raw.get("size")
        if not isinstance(claimed, list) or [whole(v) for v in claimed[:3]] != list(size):
            raise ValueError(f"RLE size {shown(claimed)} differs from the image's [height, width] {list(size)}")
        counts = raw["counts"]
        if isinstance(counts, str):
            return mask_from_counts(counts, size)
        if not isinstance(counts, list):
            raise ValueError("RLE counts are neither text nor a list")
        return mask_from_uncompressed(counts, size)
    except ValueError as error:
        raise broken("bad-mask", f"{where}: {error}") from error


def _checked(polygon: Any, size: Size, where: str) -> Any:
    """A polygon that is one."""
    try:
        polygons_to_mask([polygon], size)
    except ValueError as error:
        raise broken("bad-mask", f"{where}: {error}") from error
    return polygon


def score_of(raw: Mapping[str, Any], key: str, where: str) -> float | None:
    return None if raw.get(key) is None else numbers([raw[key]], where, key, length=1)[0]


def numbers(values: Any, where: str, what: str, *, length: int) -> list[float]:
    good = isinstance(values, list) and len(values) == length
    if good:
        good = all(isinstance(v, (int, float)) and not isinstance(v, bool) and abs(v) < 1e15 for v in values)
    if not good:
        raise FormatError(f"{where}: {what} {shown(values)} is not {length} finite number{'s' if length > 1 else ''}")
    return [float(v) for v in values]


def points_of(raw: Any, where: str) -> tuple[tuple[float, float], ...]:
    """The x y pairs of `point_coords`."""
    if not isinstance(raw, list):
        raise FormatError(f"{where}: point_coords is not a list of points")
    pairs = [numbers(point, where, "point_coords", length=2) for point in raw]
    return tuple((x, y) for x, y in pairs)


def whole(value: Any) -> int | None:
    """The whole number that `value` is, 3.0 included; None when it is anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return int(value) if abs(value) < 2**62 and value == int(value) else None  # NaN is not below it either


def id_of(value: Any) -> Any:
    """An id as we look it up: a whole number, or a text."""
    return value if isinstance(value, str) else whole(value)


def plain(value: float) -> int | float:
    """A number as it is written: rounded to 6 decimals, whole ones without a point."""
    rounded = round(float(value), 6)
    return int(rounded) if rounded == int(rounded) else rounded


def size_of(height: Any, width: Any, where: str) -> Size:
    """(height, width) of an image as two whole numbers above 0."""
    high, wide = whole(height), whole(width)
    if high is None or wide is None or high <= 0 or wide <= 0 or high * wide > PIXELS_MAX or max(high, wide) > SIDE_MAX:
        raise broken("bad-image", f"{where}: height {shown(height)} and width {shown(width)} are no size of an image")
    return high, wide


_CATEGORY = ("id", "name", "supercategory")


def read_categories(raw: Any, file: Path) -> tuple[Category, ...]:
    """The categories of a COCO table, by id."""
    found: dict[int, Category] = {}
    if not isinstance(raw, list):
        raise FormatError(f"{file}: categories is not a list")
    for entry in raw:
        number = whole(entry.get("id") if isinstance(entry, dict) else None)
        if number is None or not isinstance(entry.get("name"), str):
            raise FormatError(f"{file}: category {shown(entry)} needs a whole number as id and a name")
        if number in found:
            raise FormatError(f"{file}: two categories have the id {number}")
        group = entry.get("supercategory")
        extra = {key: value for key, value in entry.items() if key not in _CATEGORY}
        if group is not None and not isinstance(group, str):
            extra["supercategory"] = group
        found[number] = Category(number, entry["name"], group if isinstance(group, str) and group else None, extra)
    return tuple(found[number] for number in sorted(found))


def category_table(categories: Iterable[Category]) -> list[dict[str, Any]]:
    """The COCO table of categories, by id."""
    table = []
    for category in sorted(categories, key=lambda c: c.id):
        entry: dict[str, Any] = {"id": category.id, "name": category.name}
        if category.supercategory is not None:
            entry["supercategory"] = category.supercategory
        table.append({**entry, **{key: value for key, value in category.extra.items() if key not in entry}})
    return table


def further(dataset: Dataset) -> dict[str, Any]:
    """The dataset's own further fields (`info`, licences) for a table that keeps them under one key."""
    return {"dataset": dict(dataset.extra)} if dataset.extra else {}


def further_of(table: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """What `further` put into a table."""
    extra = table.get("dataset", {})
    if not isinstance(extra, dict):
        raise FormatError(f"{file}: dataset is {shown(extra)}, wanted an object with its further fields")
    return extra


def check_listed(record: ImageRecord, known: Container[int]) -> None:
    """UsageError when an object's category is none of the dataset's."""
    for annotation in record.annotations:
        if annotation.category_id not in known:
            raise UsageError(
                f"{record.path}: category_id {annotation.category_id} is not among the dataset's categories"
            )


class Numbers:
    """Numbers that are given out once: an item's own while it is free, else the lowest free one from 1."""

    def __init__(self) -> None:
        self._beyond: set[int] = set()  # given out, above the lowest free one; empty while numbers come in order
        self._lowest_free = 1

    def take(self, own: int | None) -> int:
        number = self._lowest_free if own is None or self._is_taken(own) else own
        self._beyond.add(number)
        while self._lowest_free in self._beyond:
            self._beyond.discard(self._lowest_free)
            self._lowest_free += 1
        return number

    def _is_taken(self, number: int) -> bool:
        return 0 < number < self._lowest_free or number in self._beyond
