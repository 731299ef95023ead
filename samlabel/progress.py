"""How far work on many images has come: loops tell it, and whoever wants to see it shows it.

`with progress.stage("writing", total=9) as advance:` and then `advance()` after each image, or all in one:
`for path in progress.over(paths, "writing"):`. What takes a `Progress` is silent unless it is given another.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

FIRST, SECOND, LONGEST = 2.0, 5.0, 600.0  # seconds; see `moments`
T = TypeVar("T")


class Advance(Protocol):
    """Says that so many more are done, and how many objects were found in them."""

    def __call__(self, count: int = 1, *, objects: int = 0) -> None: ...


class Progress:
    """Is told how far work has come; this one shows nothing."""

    @contextmanager
    def stage(
        self, name: str, *, total: int | None = None, resumed: int = 0, unit: str = "images"
    ) -> Iterator[Advance]:
        """A part of the work; `resumed` of the `total` were done by an earlier run, None says that nobody knows it."""
        yield _ignore

    def over(self, items: Iterable[T], name: str, *, total: int | None = None, unit: str = "images") -> Iterator[T]:
        """The items as a stage; each is done when the next is asked for."""
        if total is None and isinstance(items, Sized):
            total = len(items)
        with self.stage(name, total=total, unit=unit) as advance:
            for item in items:
                yield item
                advance()

    def tell(self, line: str) -> None:
        """A line to be shown beside the stages, such as an image that failed."""


def _ignore(count: int = 1, *, objects: int = 0) -> None:
    pass


SILENT: Final = Progress()


@dataclass(slots=True)
class Pace:
    """A stage in numbers; as text it is the line that people read."""

    name: str
    total: int | None = None
    resumed: int = 0
    unit: str = "images"
    clock: Callable[[], float] = time.monotonic
    objects: int = 0
    done: int = field(init=False)
    began: float = field(init=False)

    def __post_init__(self) -> None:
        self.done, self.began = self.resumed, self.clock()

    @property
    def rate(self) -> float | None:
        """How many a second, of those that this run did; None before the first."""
        seconds, new = self.clock() - self.began, self.done - self.resumed
        return new / seconds if new > 0 and seconds > 0 else None

    @property
    def left(self) -> float | None:
        """Seconds to the end; None when it is reached or cannot be told."""
        rate = self.rate
        if self.total is None or rate is None or self.done >= self.total:
            return None
        return (self.total - self.done) / rate

    def __str__(self) -> str:
        parts = [f"{self.done}{'' if self.total is None else f'/{self.total}'} {self.unit}"]
        if self.objects:
            parts.append(f"{self.objects} objects")
        rate, left = self.rate, self.left
        if rate is not None:
            parts.append(f"{rate:.2g}/s" if rate < 1 else f"{rate:.1f}/s")
        if left is not None:
            parts.append(f"{duration(left)} left")
        return f"{self.name}: {', '.join(parts)}"


def duration(seconds: float) -> str:
    """A time in its two largest units: `45 s`, `1 min 30 s`, `2 h 5 min`."""
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def moments() -> Iterator[float]:
    """Seconds from its start at which a stage gets a line: 2, 5, 10, 20, 40, ... and from then on every 10 minutes."""
    yield FIRST
    moment = SECOND
    while True:
        yield moment
        moment += min(moment, LONGEST)
