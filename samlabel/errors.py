"""Every error that samlabel raises on purpose, and words for messages; the command line prints each as one line.

The exit code that ends the process travels with the class: 1 failure, 2 usage, 4 refused.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

_SHOWN = 60  # characters of a value that a message repeats
_FULL = {
    errno.ENOSPC: "no space left",
    errno.EDQUOT: "your quota is used up",
    errno.EFBIG: "a file would grow beyond what this process (ulimit -f) or the disk allows",
}
_REASONS = {
    errno.EACCES: "permission denied; check who may read and write it",
    errno.EPERM: "permission denied; check who may read and write it",
    errno.ENOENT: "no such file or folder",
    errno.EROFS: "lies on a file system that is read-only; choose another place",
    errno.EMFILE: "too many files are open; raise the limit (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine",
    errno.ELOOP: "a link that leads back to itself",
    errno.ENAMETOOLONG: "its name is longer than the file system allows",
    errno.ENXIO: "a device or socket, not a file",
    errno.EIO: "the disk reports an error; check it",
    errno.ENOMEM: "there is not enough memory",
}


def brief(error: BaseException) -> str:
    """The message of another library on one line and cut; the name of the error where it has no message."""
    return " ".join(str(error)[:2000].split())[:200] or type(error).__name__


def reason(error: OSError) -> str:
    """What the system refused and what to do; a full disk with its folder and the bytes that are free."""
    if error.errno in _FULL:
        return f"{_FULL[error.errno]}{_free(error.filename)}; free some, or choose another place"
    return _REASONS.get(error.errno or 0) or (error.strerror or brief(error)).lower()


def _free(name: Any) -> str:
    """Where a file that could not be written lies, and how many bytes are free there."""
    if not isinstance(name, (str, bytes, os.PathLike)):
        return ""
    folder = Path(os.path.abspath(os.fsdecode(name)))
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return f" in {folder} ({shutil.disk_usage(folder).free} bytes free)"


@contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """An OSError of the block that names no file, as those of a write do, names this one."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = os.fspath(path)
        raise


@contextmanager
def about(path: str | os.PathLike[str]) -> Iterator[None]:
    """What the system, a parser or a library below it raises over a file becomes a FormatError about it.

    A TypeError, a KeyError and the like are mistakes of ours and stay what they are.
    """
    try:
        yield
    except OSError as error:
        raise FormatError(f"{_place(error, path)}: {reason(error)}") from error
    except (MemoryError, RecursionError, ArithmeticError, ValueError) as error:
        raise FormatError(f"{os.fspath(path)}: {cause(error)}") from error


def _place(error: OSError, path: str | os.PathLike[str]) -> str:
    """The file that the system refused, its beginning where the name is of a length that no file has."""
    name = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else os.fspath(path)
    return name if len(name) <= 1000 else f"{name[:200]}..."


def cause(error: BaseException) -> str:
    """In our words, what went wrong where no reader has said it better."""
    if isinstance(error, MemoryError):
        return "more memory is needed than there is; free some, or read a part at a time"
    if isinstance(error, RecursionError):
        return "nested too deep"
    return f"holds a value that cannot be worked with: {brief(error)}"


def shown(value: Any, most: int = _SHOWN) -> str:
    """The beginning of a value as Python writes it; no more of it is made, however large it is or claims to be."""
    if isinstance(value, str):
        return repr(value) if len(value) <= most else f"{value[:most]!r}..."
    if isinstance(value, int) and value.bit_length() > 3 * most:
        return f"a whole number of {value.bit_length()} bits"
    if isinstance(value, bytes):
        return repr(value[:most])
    if isinstance(value, (list, tuple)):
        return f"[{_some(value, most)}]"
    if isinstance(value, dict):
        return f"{{{_some(value.items(), most, pairs=True)}}}"
    return repr(value)[:most]


def _some(values: Any, most: int, *, pairs: bool = False) -> str:
    parts: list[str] = []
    for one in values:
        if most < 8 or sum(map(len, parts)) > most:
            parts.append("...")
            break
        parts.append(": ".join(shown(part, most // 2) for part in one) if pairs else shown(one, most // 2))
    return ", ".join(parts)


class SamlabelError(Exception):
    """A message of one line: what, where, what was wanted, what to do next."""

    exit_code = 1


class UsageError(SamlabelError):
    """An option or argument that cannot be meant: unknown name, impossible value, missing folder."""

    exit_code = 2


class UnknownName(UsageError):
    """A detector, segmenter, format, variant or class that nothing here is called."""

    def __init__(self, kind: str, name: str, known: list[str], hint: str = "") -> None:
        if not hint:
            close = get_close_matches(name, known, n=1)
            hint = f"Did you mean {close[0]}?" if close else ""
        listing = ", ".join(known) if known else "none"
        super().__init__(f"unknown {kind} {name!r}; known: {listing}" + (f". {hint}" if hint else ""))


class TooManyFailures(SamlabelError):
    """More images failed than the run was allowed to lose; what was finished is kept."""


class OutputExists(UsageError):
    """The output already holds labels that this run would overwrite."""


class Conflicted(OutputExists):
    """What people made contradicts itself or the pictures, and only they can say what holds."""

    exit_code = 4


class ImageError(SamlabelError):
    """One image that cannot be read; the run goes on without it."""


class ImageChanged(ImageError):
    """An image that is no longer the one that its labels were made for; the run goes on without it."""

    def __init__(self, path: str, what: str = "the file changed since it was labeled") -> None:
        self.path, self.what = path, f"{what}; run the same command again"
        super().__init__(f"{path}: {self.what}")


class FormatError(SamlabelError):
    """A label file that breaks a rule of its format: file, line or id, and the rule."""

    code: str | None = None  # the one of `converters.SKIPPED` that a lenient reader counts it under, where it is known


class LeadsOutside(SamlabelError):
    """A file of a dataset, or a folder that it names, that lies elsewhere; refused because nobody allowed it."""

    exit_code = 4

    def __init__(self, what: str, target: str, home: str) -> None:
        dataset = f"the dataset in {home}" if home else "the dataset"
        super().__init__(
            f"{what}: leads to {target}, outside {dataset}; allow it with --follow-links, or name the folder of the "
            f"images with --image-root"
        )


class LossyConversion(SamlabelError):
    """A conversion that would lose something, refused because nobody allowed it."""

    exit_code = 4


class WeightsError(SamlabelError):
    """A checkpoint that is missing, damaged, of another kind, or not safe to open."""


class UntrustedWeights(WeightsError):
    """A file that can run code when it is opened, and nobody said that it may."""

    exit_code = 4


class PlantedLibrary(SamlabelError):
    """The current folder holds shared libraries that importing torch could load."""

    exit_code = 4


class MissingDependency(SamlabelError):
    """An optional package that the chosen part needs, and the command that installs it."""
