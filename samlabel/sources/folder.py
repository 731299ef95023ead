"""Images of a folder, a glob pattern, or a list of files."""

from __future__ import annotations

import glob
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..file_state import State, hash_file, state_of
from ..protocols import ImageRef
from .images import MAX_PIXELS, SUFFIXES, Encoded, Failed, encoded, header_size


@dataclass(frozen=True, slots=True)
class Folder:
    """The image files of one run: `root` and sorted POSIX paths relative to it; a `Source`."""

    root: Path
    paths: tuple[str, ...]
    failed: tuple[Failed, ...] = ()
    unread: Mapping[str, int] = field(default_factory=dict)  # files of folders that are no images, by suffix
    outputs: tuple[str, ...] = ()  # folders below that hold labels of earlier runs, and were left out

    def refs(self) -> Iterator[ImageRef]:
        """Every image, in the order of the paths."""
        return map(ImageRef, self.paths)

    def open(self, ref: ImageRef, *, max_pixels: int = MAX_PIXELS) -> Encoded:
        """The image before it is decoded; ImageError where it is none, or has more than `max_pixels`."""
        return encoded(self.root, ref.path, max_pixels=max_pixels)

    def state(self, path: str) -> State:
        """Size, times and inode of the file of an image; OSError where it is gone."""
        return state_of(self.root / path)

    def sha256(self, path: str) -> str:
        """The hash of the file of an image; OSError where it cannot be read."""
        return hash_file(self.root / path)

    def size(self, path: str) -> tuple[int, int]:
        """(height, width) of the upright image, from its header; FileNotFoundError or ImageError."""
        return header_size(self.root, path)


Data = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


def scan(data: Data, *, exclude: Iterable[Path] = ()) -> Folder:
    """Every picture of a folder (recursive), a glob pattern, one file or a list of these, sorted.

    Hidden files and folders, those of `exclude` and the outputs of earlier runs are left out. Links are followed, each
    folder once, so a loop ends. What looks like a picture by its name and is none (a FIFO, a dead link)
    comes back in `failed`. Raises UsageError when nothing is there.
    """
    items = [data] if isinstance(data, (str, os.PathLike)) else list(data)
    if not items:
        raise UsageError("no pictures given: the list of paths is empty")
    roots: list[Path] = []
    files: list[Path] = []
    folders: list[Path] = []
    for item in items:
        root, found = _expand(item)
        roots.append(root)
        for path in found:
            (folders if path.is_dir() else files).append(path)
    root = Path(os.path.commonpath(roots)) if len(roots) > 1 else roots[0]

    found_paths: set[str] = set()
    failed: dict[str, Failed] = {}
    skip = {_identity(path) for path in exclude if path.is_dir()}
    candidates: list[tuple[Path, str | None]] = [(path, None) for path in files]
    left = _LeftOut()
    for folder in folders:
        candidates.extend(_walk(folder, skip, left))
    for path, fault in candidates:
        name = path.relative_to(root).as_posix()
        fault = fault or _why_not_a_file(path)
        if fault is None:
            found_paths.add(name)
        else:
            shown = name.encode("utf-8", "backslashreplace").decode()
            failed[shown] = Failed(shown, "scan", fault)
    if not found_paths and not failed:
        raise UsageError(f"no pictures in {_show(data)}; wanted files ending in {', '.join(sorted(SUFFIXES))}")
    faults = tuple(failed[name] for name in sorted(failed))
    outputs = tuple(sorted({path.relative_to(root).as_posix() for path in left.outputs}))
    return Folder(root, tuple(sorted(found_paths)), faults, dict(sorted(left.suffixes.items())), outputs)


@dataclass(slots=True)
class _LeftOut:
    """What a walk passed by."""

    suffixes: Counter[str] = field(default_factory=Counter)
    outputs: list[Path] = field(default_factory=list)


def _expand(item: str | os.PathLike[str]) -> tuple[Path, list[Path]]:
    """Where relative paths start, and the files and folders that one argument names."""
    text = os.fspath(item)
    if "://" in text:
        raise UsageError(f"{text} is an address; samlabel reads local files only, download it first")
    path = Path(os.path.abspath(text))
    try:
        if path.is_dir():
            os.scandir(path).close()
            return path, [path]
        if path.exists():
            return path.parent, [path]
    except OSError as error:
        raise UsageError(f"cannot read {text}: {error.strerror}; check its permissions") from error
    if not glob.has_magic(text):
        raise UsageError(f"there is no folder or picture at {text}{_neighbour(path)}")
    fixed = []
    for part in path.parts:
        if glob.has_magic(part):
            break
        fixed.append(part)
    found = [Path(name) for name in glob.glob(str(path), recursive=True)]
    found = [name for name in found if name.is_dir() or name.suffix.lower() in SUFFIXES]
    if not found:
        raise UsageError(f"no picture matches {text}")
    return Path(*fixed), found


def _neighbour(path: Path) -> str:
    """`; did you mean ...?` for a misspelt last part of a path."""
    import difflib

    try:
        names = sorted(os.listdir(path.parent))
    except OSError:
        return f" (nor is there {path.parent})"
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean {path.parent / close[0]}?" if close else ""


def _walk(top: Path, skip: set[tuple[int, int]], left: _LeftOut) -> Iterator[tuple[Path, str | None]]:
    """Picture candidates below `top`, each with a reason when its folder cannot be read; `left` takes what is none.

    Real folders come before linked ones, so a picture keeps the path that holds it. Folders above
    `top` count as seen: a link to `..` must not pull in what lies beside the folder that was asked for.
    """
    seen = skip - {_identity(top)} | {_identity(parent) for parent in top.resolve().parents}
    folders, links = [top], list[Path]()
    while folders or links:
        folder = folders.pop() if folders else links.pop()
        try:
            identity = _identity(folder)
            if identity in seen:
                continue
            seen.add(identity)
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            if folder != top and is_output(folder):
                left.outputs.append(folder)
                continue
        except OSError as error:
            yield folder, f"this folder cannot be read: {error.strerror}"
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = folder / entry.name
            if _is_folder(entry):
                (links if entry.is_symlink() else folders).append(path)
            elif path.suffix.lower() in SUFFIXES:
                yield path, None
            else:
                left.suffixes[path.suffix.lower() or "without a suffix"] += 1
        folders.sort(reverse=True)
        links.sort(reverse=True)


def is_output(folder: Path) -> bool:
    """Whether a run of samlabel wrote its labels to this folder."""
    return any((folder / ".samlabel" / name).is_file() for name in ("settings.json", "generate.json"))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that points at itself
        return False


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _why_not_a_file(path: Path) -> str | None:
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        return "its name is not valid UTF-8, which no label format can hold; rename it"
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return f"cannot be opened: {error.strerror}" + (" (a link)" if path.is_symlink() else "")
    return None if stat.S_ISREG(mode) else "not a regular file"


def _show(data: Any) -> str:
    return str(data) if isinstance(data, (str, os.PathLike)) else "the paths given"
