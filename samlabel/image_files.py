"""The image files of a dataset: where one lies, and whether it is what may be placed beside labels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from .decoders import measure
from .errors import ImageChanged
from .file_state import State, hash_file, is_same, state_of
from .reach import Reach


class Expected(Protocol):
    """The file that an image's labels were made for."""

    @property
    def sha256(self) -> str: ...
    @property
    def stat(self) -> State: ...


NOTHING_EXPECTED: Mapping[str, Expected] = {}  # plain, as it is pickled for other processes


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """Images below `root`, which are read only within `reach`.

    `expected` says of an image which file its labels were made for, where that is known.
    """

    root: Path | None
    reach: Reach
    expected: Mapping[str, Expected] = field(default_factory=lambda: NOTHING_EXPECTED)

    def find(self, name: str) -> Path:
        """The file of an image, which need not exist; LeadsOutside where it is out of reach."""
        assert self.root is not None
        return self.reach.check(self.root / name)

    def confirm(self, name: str, copy: Path | bytes) -> str | None:
        """The SHA-256 of a copy that was just made of an image, None where it is not known without reading it.

        Raises ImageChanged where it is another image than the labels were made for, and ImageError where the labels do
        not say and the copy is no image: what is placed beside labels is only ever that.
        """
        assert self.root is not None
        known = self.expected.get(name)
        if known is None:
            measure(copy, str(self.root / name))
            return None
        try:
            if is_same(known.stat, state_of(self.root / name)):
                return known.sha256
            found = hashlib.sha256(copy).hexdigest() if isinstance(copy, bytes) else hash_file(copy)
        except OSError as error:
            raise ImageChanged(name, f"cannot be read any more: {error.strerror}") from error
        if found != known.sha256:
            raise ImageChanged(name)
        return found
