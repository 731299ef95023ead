"""Progress on stderr: a bar on a terminal, elsewhere lines that come more and more rarely."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count as counting
from typing import Annotated, Any

import typer

from .. import progress
from ..progress import Advance, Pace, Progress
from ..text import line
from ._console import say

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
_REFRESH = 0.5  # seconds; more often would be felt in a conversion


class Shown(Progress):
    """Shows a stage that takes more than two seconds; `quiet` shows none, and what it is told all the same."""

    def __init__(self, *, quiet: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._quiet, self._clock = quiet, clock
        self._bars = _Bars()

    def __enter__(self) -> Shown:
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    @contextmanager
    def stage(
        self, name: str, *, total: int | None = None, resumed: int = 0, unit: str = "images"
    ) -> Iterator[Advance]:
        if self._quiet:
            with super().stage(name) as nothing:
                yield nothing
            return
        pace = Pace(name, total, resumed, unit, self._clock)
        if not _is_terminal():
            stage = _Stage(pace, progress.moments(), lambda: say(pace, err=True))
            yield stage
            stage.end()
            return
        try:
            yield _Stage(pace, _refreshes(), lambda: self._bars.show(pace))
        finally:
            self._bars.remove(pace)

    def tell(self, line: str) -> None:
        say(line, err=True)  # above the bar, where there is one


def _is_terminal() -> bool:
    """Whether stderr is a terminal on which a line can be drawn again."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _refreshes() -> Iterator[float]:
    return counting(progress.FIRST, _REFRESH)


class _Stage:
    """Counts, and calls `show` at the first count after each of the moments."""

    def __init__(self, pace: Pace, moments: Iterator[float], show: Callable[[], None]) -> None:
        self._pace, self._moments, self._show = pace, moments, show
        self._due = pace.began + next(moments)
        self._shown: int | None = None  # what was done then

    def __call__(self, count: int = 1, *, objects: int = 0) -> None:
        pace = self._pace
        pace.done += count
        pace.objects += objects
        now = pace.clock()
        if now >= self._due:
            self._shown = pace.done
            self._show()
            while self._due <= now:
                self._due = pace.began + next(self._moments)

    def end(self) -> None:
        """A last line, where there was one before."""
        if self._shown not in (None, self._pace.done):
            self._show()


@dataclass(frozen=True)
class _Harmless:
    """The line of a pace, made each time that the bar is drawn."""

    pace: Pace

    def __str__(self) -> str:
        return line(self.pace)


class _Bars:
    """Bars of the stages under way; rich is loaded with the first."""

    def __init__(self) -> None:
        self._live: Any = None
        self._tasks: dict[int, Any] = {}

    def show(self, pace: Pace) -> None:
        if self._live is None:
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Live

            # What goes to stderr meanwhile is shown above the bar; stdout stays what it is.
            self._live = Live(
                BarColumn(),
                TextColumn("{task.fields[pace]}", markup=False),
                console=Console(stderr=True),
                refresh_per_second=1 / _REFRESH,
                transient=True,
                redirect_stdout=False,
            )
            self._live.start()
        if id(pace) not in self._tasks:
            self._tasks[id(pace)] = self._live.add_task("", total=pace.total, completed=pace.done, pace=_Harmless(pace))
        self._live.update(self._tasks[id(pace)], completed=pace.done)

    def remove(self, pace: Pace) -> None:
        task = self._tasks.pop(id(pace), None)
        if task is not None:
            self._live.remove_task(task)
        if not self._tasks:
            self.stop()

    def stop(self) -> None:
        if self._live is not None:
            self._live.stop()
        self._live = None
        self._tasks.clear()
