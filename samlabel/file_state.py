"""Whether a file is still the one that was read: by size, times and inode, or else by a hash of its bytes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

State = tuple[int, ...]
# On Windows st_ctime is when a file was made, so that nothing there tells of a change but the bytes.
_HAS_CHANGE_TIME = os.name == "posix"


def state_of(file: Path | str | int) -> State:
    """Size, modification time, change time (both in ns) and inode of a file or descriptor; links are followed.

    Where the system has no change time it is size and modification time alone, which `is_same` never takes for enough.
    """
    found = os.stat(file)
    if not _HAS_CHANGE_TIME:
        return found.st_size, found.st_mtime_ns
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def is_same(known: Sequence[Any], now: State) -> bool:
    """True when these states alone show that the bytes are the same; False means that their hash decides.

    A modification time can be set to any value, a change time only by the system. States of fewer fields, as earlier
    versions noted them, show nothing.
    """
    return len(now) == 4 and tuple(known) == now


def hash_file(path: Path, *, copy: IO[bytes] | None = None) -> str:
    """SHA-256 of a file's bytes, in hex; the very bytes that were read are written to `copy`."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
            if copy is not None:
                copy.write(chunk)
    return digest.hexdigest()


def is_unchanged(file: Path, known: Sequence[Any], sha256: str) -> bool:
    """Whether a file has the bytes of this hash, which are read only where its state is not the `known` one."""
    return is_same(known, state_of(file)) or hash_file(file) == sha256


class States:
    """States of files that were found unchanged by their hash, kept so that the next run need not hash them again.

    A copied or restored folder has other inodes and change times, and states that an earlier version noted have fewer
    fields. A file of ours that says something odd is taken for empty.
    """

    def __init__(self, content: bytes | None) -> None:
        self._known: dict[str, tuple[str, State]] = {}
        self._is_new = False
        try:
            found = json.loads(content or b"{}")
            for path, (sha256, *state) in found.items():
                self._known[str(path)] = (str(sha256), tuple(int(value) for value in state))
        except (ValueError, TypeError, AttributeError, RecursionError):
            self._known = {}

    def of(self, path: str, sha256: str) -> State | None:
        """The state that `path` had when its bytes were those of this hash, None when that was not noted."""
        noted, state = self._known.get(path, ("", ()))
        return state if noted == sha256 else None

    def note(self, path: str, sha256: str, state: State) -> None:
        """Remember that `path` has the bytes of this hash in this state."""
        if len(state) == 4:
            self._known[path] = (sha256, state)
            self._is_new = True

    def text(self) -> str | None:
        """What to write to the file, None when it holds all that is known."""
        if not self._is_new:
            return None
        rows = {path: [sha256, *state] for path, (sha256, state) in sorted(self._known.items())}
        return json.dumps(rows, separators=(",", ":")) + "\n"
