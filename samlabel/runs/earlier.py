"""What a format's last writing made of each image, to be taken over where nothing of the image has changed.

A line an image in `.samlabel/made-FORMAT.jsonl` says what was made of it; `outputs.json` says where the line begins and
by a digest what it was made from. Lines that do not fit, as after a writing that was cut off, are not believed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from ..file_state import State, state_of
from ..files import OutputFolder
from ..formats import Made
from .hidden import HIDDEN
from .journal import Entry


class Earlier:
    """The writing before of one format, while a new one is made in the folder `new`; a context manager.

    `known` is what `outputs.json` says of the format, and `is_ours` whether a file of its folder is as it was written.
    """

    def __init__(
        self, folder: OutputFolder, name: str, new: str, known: Mapping[str, Any], is_ours: Callable[[str], bool]
    ) -> None:
        self.losses: Mapping[str, int] = known.get("losses", {})
        self.kept: dict[str, list[Any]] = {}  # files taken over, and what is known of each
        self.originals: dict[str, State] = {}  # copies of images among them -> the state of the original
        self.images: dict[str, list[Any]] = {}  # of the new one: image -> digest, where its line begins
        self._folder, self._name, self._new, self._is_ours = folder, name, new, is_ours
        sure = "next" not in known  # else a writing was cut off, and either folder may be there
        self._files: Mapping[str, list[Any]] = known.get("files", {}) if sure else {}
        self._before: Mapping[str, list[Any]] = known.get("images", {}) if sure else {}
        self._open = ExitStack()

    def __enter__(self) -> Earlier:
        lines = notes_of(self._name)
        self._lines: IO[bytes] | None = None
        if self._before and self._folder.kind(lines) == "file":
            self._lines = self._open.enter_context(self._folder.open(lines))
        self._notes = self._open.enter_context(self._folder.replacing(lines))
        self._end = 0
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._open.__exit__(kind, error, at)

    def of(self, path: str, digest: str, original: Path, entry: Entry) -> Made | None:
        """What was made of an image from what `digest` names, None where that is not so or not all of it is there.

        `original` is the image, and its `entry` tells whether what was placed is still that file.
        """
        noted, place = self._before.get(path, ("", 0))
        made = self._made(path, digest, place) if noted == digest else None
        if made is None or not all(file in self._files and self._is_ours(file) for file in made.files):
            return None
        return made if made.image is None or self._is_placed(made.image, original, entry) else None

    def keep(self, made: Made, entry: Entry) -> None:
        """Take the files of an image over into the new folder."""
        for file in made.files:
            self._take_over(file)
        if made.image is None:
            return
        kind, target = self._files[made.image][:2]
        if kind == "link":
            self._folder.place(Path(target), f"{self._new}/{made.image}", "symlink")
            self.kept[made.image] = self._files[made.image]
            return
        self._take_over(made.image)
        if kind != "hardlink":
            self.originals[made.image] = entry.stat

    def note(self, made: Made, digest: str) -> None:
        """Remember what was made of an image."""
        says = {one.name: getattr(made, one.name) for one in fields(made)}
        says = {name: value for name, value in says.items() if value}
        for name in says.keys() & {"losses", "tallies"}:
            says[name] = {key: int(number) for key, number in says[name].items() if number or name == "tallies"}
        line = json.dumps([digest, says], separators=(",", ":")).encode("ascii") + b"\n"
        self._notes.write(line)
        self.images[made.path] = [digest, self._end]
        self._end += len(line)

    def _made(self, path: str, digest: str, place: int) -> Made | None:
        if self._lines is None:
            return None
        self._lines.seek(place)
        try:
            noted, says = json.loads(self._lines.readline())
            made = Made(**{"objects": 0, **says, "files": tuple(says.get("files", ()))})
        except (ValueError, TypeError, AttributeError, RecursionError):
            return None
        return made if noted == digest and made.path == path and _is_plain(made) else None

    def _is_placed(self, file: str, original: Path, entry: Entry) -> bool:
        version = self._files.get(file)
        if version is None:
            return False
        there = os.path.join(self._folder.path, self._name, file)
        kind = self._folder.kind(f"{self._name}/{file}")
        if version[0] == "link":
            return kind == "link" and os.readlink(there) == version[1] == os.path.abspath(original)
        if version[0] == "hardlink":
            return kind == "file" and entry.stat[3:] == (version[1],) == state_of(there)[3:]
        return bool(version[-1] == entry.sha256) and self._is_ours(file)

    def _take_over(self, file: str) -> None:
        version = self._files[file]
        if not self._folder.link(f"{self._name}/{file}", f"{self._new}/{file}"):
            version = [*state_of(self._folder.path / self._new / file), version[-1]]
        self.kept[file] = version


def notes_of(name: str) -> str:
    """Where the lines of a format are."""
    return f"{HIDDEN}/made-{name}.jsonl"


def _is_plain(made: Made) -> bool:
    """Whether the values of a line are of their kinds; anybody may have written it."""
    counts, image = [made.losses, made.tallies], "" if made.image is None else made.image
    return (
        all(isinstance(text, str) for text in (made.path, made.name, made.line, image, *made.files))
        and isinstance(made.objects, int)
        and all(isinstance(one, dict) and all(isinstance(number, int) for number in one.values()) for one in counts)
    )
