"""Paths found by the name of a file that lies elsewhere, or has another suffix."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath


class NameIndex:
    """Paths by their file names, and by those without suffix."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._by_name: dict[str, list[str]] = defaultdict(list)
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        for path in paths:
            pure = PurePosixPath(path)
            self._by_name[pure.name].append(path)
            self._by_stem[pure.stem].append(path)

    def like(self, name: str, fits: Callable[[str], bool]) -> list[str]:
        """The paths of this file name; where there are none, those of its stem that `fits` holds for."""
        return self._by_name.get(name, []) or list(filter(fits, self._by_stem.get(PurePosixPath(name).stem, [])))
