"""Records that are made anew each time they are iterated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..types import ImageRecord


@dataclass(frozen=True)
class Records:
    """An iterable of records that starts over with `make()`."""

    make: Callable[[], Iterator[ImageRecord]]

    def __iter__(self) -> Iterator[ImageRecord]:
        return self.make()
