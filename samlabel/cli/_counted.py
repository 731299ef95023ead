"""Datasets whose records are counted as they go by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..formats import Part
from ..progress import Progress
from ..types import Dataset, ImageRecord


def counted(source: Callable[[], Dataset], progress: Progress, name: str = "reading") -> Callable[[], Dataset]:
    """`source` with a stage for each time that its records are read; after the first their number is known."""
    passes = _Passes(progress, name)

    def opened() -> Dataset:
        dataset = source()
        records: Iterable[ImageRecord] = _Counted(dataset.records, passes)
        if isinstance(dataset.records, Iterator):  # they can be had once, which a caller must be able to see
            records = iter(records)
        elif isinstance(dataset.records, Part):
            part = dataset.records
            records = _Counted(part, passes, part.paths_before, part.masks_before, part.descriptors)
        return replace(dataset, records=records)

    return opened


@dataclass
class _Passes:
    progress: Progress
    name: str
    number: int = 0
    total: int | None = None

    def named(self) -> str:
        """What the next pass is called."""
        self.number += 1
        return self.name if self.number == 1 else f"{self.name}, pass {self.number}"

    def over(self, records: Iterable[ImageRecord]) -> Iterator[ImageRecord]:
        done = 0
        for record in self.progress.over(records, self.named(), total=self.total):
            yield record
            done += 1
        self.total = done


@dataclass(frozen=True)
class _Counted(Part):
    """Records that are counted in this process; of those divided among several it counts its own share."""

    records: Iterable[ImageRecord]
    passes: _Passes
    paths_before: Sequence[str] = ()
    masks_before: int = 0
    descriptors: Sequence[int] = ()

    def __iter__(self) -> Iterator[ImageRecord]:
        return self.passes.over(self.records)

    def divided(self, count: int) -> list[Part]:
        parts = list(self.records.divided(count)) if isinstance(self.records, Part) else []
        if len(parts) < 2:
            return parts
        # The first is read here, at the same time as the others elsewhere.
        name = f"{self.passes.named()}, part 1 of {len(parts)}"
        return [_Share(parts[0], self.passes.progress, name, len(parts[1].paths_before)), *parts[1:]]

    def seen(self) -> Any:
        return self.records.seen() if isinstance(self.records, Part) else None

    def join(self, seen: Sequence[Any]) -> None:
        if isinstance(self.records, Part):
            self.records.join(seen)


@dataclass(frozen=True)
class _Share(Part):
    """The first part of records, which no others come before."""

    part: Part
    progress: Progress
    name: str
    total: int

    def __iter__(self) -> Iterator[ImageRecord]:
        return self.progress.over(self.part, self.name, total=self.total or None)

    def seen(self) -> Any:
        return self.part.seen()
