"""Several datasets as one, classes joined by their names."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..reach import Reach
from ..types import Category, Dataset, ImageRecord
from .records import Records


def merge(datasets: Sequence[Dataset], *, names: Sequence[str] = ()) -> Dataset:
    """One dataset of all images, in the order of their paths where each source has that order.

    Classes of one name are one class; its number is that of the first dataset that has it, or the next free one.
    Where the images lie in several folders, paths start from the folder that holds them all; where a folder is
    unknown, from a folder called after the dataset in `names`. An image that two datasets have (one folder, one
    path) keeps the objects of both; two of one path but different sizes are a UsageError. Fields of a whole file
    (`info`) are kept; one that is another in a later dataset follows under its name and the dataset's. Licences of all
    are one list, and the number that an image has of its licence changes with it.
    """
    if not datasets:
        raise UsageError("no dataset to merge")
    categories, numbers = _join_classes(datasets)
    labels = _labels(datasets, names)
    root, prefixes = _common_root(datasets, labels)
    extra, licences = _join_fields(datasets, labels)

    def moved(which: int) -> Iterator[ImageRecord]:
        table, prefix, licence = numbers[which], prefixes[which], licences[which]
        for record in datasets[which].records:
            objects = [
                a if table[a.category_id] == a.category_id else replace(a, category_id=table[a.category_id])
                for a in record.annotations
            ]
            path, own = f"{prefix}/{record.path}" if prefix else record.path, record.extra.get("license")
            fields = record.extra
            if isinstance(own, int) and licence.get(own, own) != own:
                fields = {**fields, "license": licence[own]}
            yield replace(record, path=path, annotations=tuple(objects), extra=fields)

    def records() -> Iterator[ImageRecord]:
        seen: set[str] = set()
        waiting: ImageRecord | None = None
        for record in heapq.merge(*(moved(which) for which in range(len(datasets))), key=lambda r: r.path):
            if waiting is not None and waiting.path == record.path:
                waiting = _join_images(waiting, record)
                continue
            if waiting is not None:
                yield waiting
            if record.path in seen:
                raise UsageError(f"{record.path} is in two of the datasets, far apart; convert them first to sort them")
            seen.add(record.path)
            waiting = record
        if waiting is not None:
            yield waiting

    return Dataset(categories, Records(records), root, extra, Reach.joined(d.images_in().reach for d in datasets))


def _join_images(one: ImageRecord, other: ImageRecord) -> ImageRecord:
    if tuple(one.size) != tuple(other.size):
        raise UsageError(
            f"{one.path} is {list(one.size)} in one dataset and {list(other.size)} in another; keep their images apart"
        )
    extra = {**other.extra, **one.extra}
    return replace(one, annotations=one.annotations + other.annotations, extra=extra)


def _join_classes(datasets: Sequence[Dataset]) -> tuple[tuple[Category, ...], list[dict[int, int]]]:
    joined: dict[str, Category] = {}
    taken: set[int] = set()
    numbers: list[dict[int, int]] = []
    for dataset in datasets:
        table = {}
        for category in sorted(dataset.categories, key=lambda c: c.id):
            if category.name not in joined:
                number = category.id
                while number in taken:
                    number = max(taken) + 1
                taken.add(number)
                joined[category.name] = replace(category, id=number)
            table[category.id] = joined[category.name].id
        numbers.append(table)
    return tuple(sorted(joined.values(), key=lambda c: c.id)), numbers


def _labels(datasets: Sequence[Dataset], names: Sequence[str]) -> list[str]:
    """A name for each dataset, no two alike."""
    labels = [names[n] if n < len(names) else f"set{n + 1}" for n in range(len(datasets))]
    return [f"{label}-{n + 1}" if labels.count(label) > 1 else label for n, label in enumerate(labels)]


def _join_fields(datasets: Sequence[Dataset], labels: Sequence[str]) -> tuple[dict[str, Any], list[dict[int, int]]]:
    """Fields of the merged file, and for each dataset the numbers that its licences get."""
    joined: dict[str, Any] = {}
    licences: dict[int, dict[str, Any]] = {}
    tables: list[dict[int, int]] = []
    for dataset, label in zip(datasets, labels, strict=True):
        fields, table = dict(dataset.extra), {}
        listed = fields.get("licenses")
        if isinstance(listed, list) and all(isinstance(one, dict) and isinstance(one.get("id"), int) for one in listed):
            for one in fields.pop("licenses"):
                same = (number for number, known in licences.items() if {**known, "id": 0} == {**one, "id": 0})
                number = next(same, one["id"] if one["id"] not in licences else max(licences) + 1)
                licences[number] = {**one, "id": number}
                table[one["id"]] = number
        tables.append(table)
        for key, value in fields.items():
            key = key if joined.get(key, value) == value else f"{key} ({label})"
            joined[key] = value
    return {**joined, **({"licenses": list(licences.values())} if licences else {})}, tables


def _common_root(datasets: Sequence[Dataset], labels: list[str]) -> tuple[Path | None, list[str]]:
    """The folder that image paths of the merged dataset start from, and what goes before those of each dataset."""
    roots = [None if d.image_root is None else Path(os.path.abspath(d.image_root)) for d in datasets]
    known = [root for root in roots if root is not None]
    if len(known) < len(roots):
        return None, labels
    try:
        common = Path(os.path.commonpath([str(root) for root in known]))
    except ValueError as error:  # two drives of Windows
        raise UsageError(f"the pictures of these datasets have no folder in common: {error}") from error
    prefixes = [root.relative_to(common).as_posix() for root in known]
    return common, ["" if prefix == "." else prefix for prefix in prefixes]
