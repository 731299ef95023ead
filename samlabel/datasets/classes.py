"""Classes under other names: renamed, joined under one name, or left out."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import FormatError, UnknownName, UsageError
from ..types import Category, Dataset, ImageRecord
from .records import Records


def read_class_map(file: Path | None, pairs: Sequence[str] = ()) -> dict[str, str | None]:
    """Old name -> new name, None to leave the class out; from a file and from `old=new` texts, which win.

    The file is YAML or JSON (`old: new`, null leaves out) or CSV (`old,new`, nothing after the comma leaves out).
    """
    found: dict[str, str | None] = {} if file is None else _read_map(file)
    for pair in pairs:
        old, sign, new = pair.partition("=")
        if not sign or not old:
            raise UsageError(f"{pair!r} does not say how to rename a class; wanted OLD=NEW, or OLD= to leave it out")
        found[old] = new or None
    return found


def _read_map(file: Path) -> dict[str, str | None]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file}: not UTF-8 text") from error
    if file.suffix.lower() == ".csv":
        rows = [row for row in csv.reader(text.splitlines()) if row]
        if any(len(row) != 2 for row in rows):
            raise FormatError(f"{file}: a row of a class map is old,new")
        return {old.strip(): new.strip() or None for old, new in rows}
    content: Any
    try:
        if file.suffix.lower() == ".json":
            content = json.loads(text)
        else:
            import yaml

            content = yaml.safe_load(text)
    except Exception as error:  # YAML's parsers raise whatever they like on damaged dates and numbers
        raise FormatError(f"{file}: not a class map: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise FormatError(f"{file}: not a class map; wanted old: new pairs")
    return {str(old): None if new is None or new == "" else str(new) for old, new in content.items()}


def renamed(
    known: Iterable[Category],
    names: Mapping[str, str | None],
    *,
    what: str = "class",
    made: Mapping[str, Category] | None = None,
) -> dict[int, Category]:
    """The new category of each id of `known` that stays; what `names` leaves unnamed keeps its name.

    Classes that become one are the category that `made` has for their name, else that of the lowest id. Raises
    UnknownName, speaking of a `what`, for a name that no class has.
    """
    ordered = sorted(known, key=lambda category: category.id)
    listed = [category.name for category in ordered]
    for old in names:
        if old not in listed:
            raise UnknownName(what, old, listed)
    kept = dict(made or {})
    found: dict[int, Category] = {}
    for category in ordered:
        new = names.get(category.name, category.name)
        if new is not None:
            found[category.id] = kept.setdefault(new, replace(category, name=new))
    return found


def rename(dataset: Dataset, names: Mapping[str, str | None]) -> Dataset:
    """The dataset with classes renamed; those of one new name become one, those of None go with their objects.

    A class keeps its number; classes that become one take the lowest of theirs. UnknownName for a name that no
    class has.
    """
    kept = renamed(dataset.categories, names)
    numbers = {old: category.id for old, category in kept.items()}

    def records() -> Iterator[ImageRecord]:
        for record in dataset.records:
            objects = [
                a if numbers[a.category_id] == a.category_id else replace(a, category_id=numbers[a.category_id])
                for a in record.annotations
                if a.category_id in numbers
            ]
            yield replace(record, annotations=tuple(objects))

    categories = tuple(sorted(set(kept.values()), key=lambda c: c.id))
    return replace(dataset, categories=categories, records=Records(records))
