"""Classes of formats that know them by name alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from samlabel.errors import UsageError, shown
from samlabel.types import Category, ImageRecord

NAMELESS = "object"  # what a shape without a label is called, as SA-1B's objects are


def names_of(categories: Iterable[Category], format: str) -> dict[int, str]:
    """Category id -> name, by id; UsageError when two share a name, since their objects would become one class."""
    names: dict[int, str] = {}
    seen: set[str] = set()
    for category in sorted(categories, key=lambda c: c.id):
        if category.name in seen:
            raise UsageError(
                f"two categories are called {shown(category.name)}; {format} knows classes by name alone: "
                "rename one of them"
            )
        seen.add(category.name)
        names[category.id] = category.name
    return names


def numbered(listed: Iterable[str], used: Iterable[str] = ()) -> tuple[Category, ...]:
    """Categories counted from 1: the listed names in their order, then the others in use, sorted."""
    names = list(dict.fromkeys(listed))
    names += sorted(set(used) - set(names))
    return tuple(Category(number, name) for number, name in enumerate(names, start=1))


class RenumberedAudit:
    """Losses that only the table of classes shows: the numbers of those that will be counted from 1."""

    def __init__(self, categories: Iterable[Category]) -> None:
        self._categories = sorted(categories, key=lambda c: c.id)

    def add(self, record: ImageRecord) -> None:
        """Nothing: records carry no table of classes."""

    def join(self, other: Any) -> None:
        """Nothing, too."""

    def losses(self) -> Mapping[str, int]:
        return {"category-ids-changed": sum(c.id != place for place, c in enumerate(self._categories, start=1))}
