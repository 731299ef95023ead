"""What a file holds already, so that it need not be written again; links, pipes and devices are never looked into."""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from .walk import PLAIN

_CHUNK = 1 << 20  # bytes


def holds(folder: int | None, name: str, data: bytes) -> bool:
    """Whether the file `name` in a folder (a descriptor, or None for a path) has these very bytes."""
    file = _look_into(folder, name)
    if file is None:
        return False
    with file:
        return os.fstat(file.fileno()).st_size == len(data) and file.read() == data


def are_equal(folder: int | None, one: str, other: str) -> bool:
    """Whether two regular files hold the same bytes."""
    with ExitStack() as files:
        found = [files.enter_context(file) for name in (one, other) if (file := _look_into(folder, name)) is not None]
        return len(found) == 2 and _same_bytes(*found)


def is_placed(source: Path, folder: int | None, name: str, how: str) -> bool:
    """Whether `name` is the file `source` itself, a link to it where one is wanted, or the copy that is wanted."""
    try:
        there = os.stat(name, dir_fd=folder, follow_symlinks=False)
        original = os.stat(source)
        if stat.S_ISLNK(there.st_mode):
            return how == "symlink" and os.path.samestat(os.stat(name, dir_fd=folder), original)
    except FileNotFoundError:
        return False
    if os.path.samestat(there, original):
        return True
    copy = _look_into(folder, name) if how == "copy" and there.st_size == original.st_size else None
    if copy is None:
        return False
    with copy, open(source, "rb") as file:
        return _same_bytes(file, copy)


def _look_into(folder: int | None, name: str) -> IO[bytes] | None:
    """A regular file, open for reading; None for all else."""
    if folder is None and os.path.islink(name):
        return None
    try:
        handle = os.open(name, os.O_RDONLY | PLAIN, dir_fd=folder)
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return os.fdopen(handle, "rb", buffering=0)
    os.close(handle)
    return None


def _same_bytes(one: IO[bytes], other: IO[bytes]) -> bool:
    if os.fstat(one.fileno()).st_size != os.fstat(other.fileno()).st_size:
        return False
    while chunk := one.read(_CHUNK):
        if chunk != other.read(_CHUNK):
            return False
    return True
