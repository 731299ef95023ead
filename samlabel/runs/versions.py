"""What is noted of a file that we wrote: a link and where it leads, a hard link, or state and hash."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..file_state import hash_file, state_of
from ..sources.images import SUFFIXES


def describe(file: Path, sha256: str | None) -> list[Any]:
    """State and hash of a file that we wrote, read for it unless the hash is known."""
    if file.is_symlink():
        return ["link", os.readlink(file), None]
    found = file.stat()
    if sha256 is None and found.st_nlink > 1 and file.suffix.lower() in SUFFIXES:
        return ["hardlink", found.st_ino, hash_file(file)]
    return [*state_of(file), sha256 or hash_file(file)]


def is_linked(file: str, version: list[Any]) -> bool:
    """Whether a file is the image that we linked to: a change of it is one of that image, and no edit of the output."""
    if version[0] != "hardlink":
        return False
    found = os.stat(file)
    return version[1] == found.st_ino and found.st_nlink > 1


def restated(file: str, made: list[Any] | None) -> list[Any] | None:
    """The same description with the change time of now; None where something else differs."""
    if made is None or made[0] in ("link", "hardlink"):
        return made
    *state, sha256 = made
    now = state_of(file)
    return [*now, sha256] if len(now) == 4 and [*now[:2], now[3]] == [*state[:2], *state[3:]] else None
