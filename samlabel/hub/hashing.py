"""Hashes of files and folders."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from ..file_state import hash_file
from ..files import OutputFolder


def hash_tree(path: Path, *, into: OutputFolder | None = None, name: str = "") -> str:
    """SHA-256 of a file's bytes, or of the names and bytes of all files in a folder, in hex.

    The very bytes that were read are copied to `name` in the folder `into`.
    """
    if not path.is_dir():
        return _hashed(path, into, name)
    if into is not None:
        into.mkdir(name)
    digest = hashlib.sha256()
    for file in sorted(one for one in path.rglob("*") if one.is_file()):
        inner = file.relative_to(path).as_posix()
        # The length of the name keeps names with line feeds from passing for several files.
        raw = os.fsencode(inner)
        digest.update(f"{len(raw)} ".encode() + raw + f" {_hashed(file, into, f'{name}/{inner}')}\n".encode())
    return digest.hexdigest()


def _hashed(file: Path, into: OutputFolder | None, name: str) -> str:
    if into is None:
        return hash_file(file)
    with into.replacing(name) as copy:
        return hash_file(file, copy=copy)
