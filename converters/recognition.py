"""Which format labels are in, as the files themselves say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from samlabel.errors import FormatError, SamlabelError, UsageError

from .format import Format
from .registry import FORMATS

_FEW = 100  # folders below one that are looked into
_SHOWN = 10  # of them that a message names


def detect_format(path: Path | str) -> tuple[Format[Any], str]:
    """The format of the labels at `path`, and what in the files says so; FormatError when none or several fit.

    Where folders below hold labels of other formats, the reason names them, since they are not read. When such a
    folder is also all that speaks for the format found, the choice is the caller's: FormatError.
    """
    path = Path(path)
    check_place(path)
    formats = FORMATS.usable()
    found = recognized(path, formats)
    if len(found) > 1:
        reasons = "; ".join(f"{name} ({why})" for name, why in found.items())
        raise FormatError(f"{path}: may be {reasons}; say which (--from)")
    below = list(_recognized_below(path, formats))
    if not found:
        hint = f"; below are {_listing(below)}: name one, or join them with samlabel merge" if below else ""
        raise FormatError(f"{path}: no format recognized{hint or '; name one of ' + ', '.join(FORMATS.names())}")
    ((name, why),) = found.items()
    others = [(folder, other) for folder, other in below if other != name]
    if not others:
        return formats[name], why
    if len(others) < len(below):
        held = f"holds labels of several formats, {_listing(below)}"
        raise FormatError(f"{path}: {held}; name one folder, or one format (--from)")
    return formats[name], f"{why}; not read: {_listing(others)} below, name such a folder to read it"


def recognized(path: Path, formats: Mapping[str, Format[Any]]) -> dict[str, str]:
    """Which of `formats` the labels at `path` may be of, and what in the files says so."""
    return {name: why for name, one in formats.items() if (why := one.recognize(path))}


def check_place(path: Path) -> None:
    """UsageError for what is not there; FormatError for a pipe, a socket or a device, which nothing is read from."""
    if not path.exists():
        raise UsageError(f"{path}: no such file or folder")
    if not (path.is_file() or path.is_dir()):
        raise FormatError(f"{path}: expected a file or a folder of labels, not a pipe, socket or device")


def _listing(below: list[tuple[str, str]]) -> str:
    named = [f"{folder} ({name})" for folder, name in below[:_SHOWN]]
    return ", ".join(named) + (f" and {len(below) - _SHOWN} more" if len(below) > _SHOWN else "")


def _recognized_below(path: Path, formats: Mapping[str, Format[Any]]) -> Iterator[tuple[str, str]]:
    """Folders right below a folder, a few of them, that hold labels of one format."""
    folders = sorted(f for f in path.iterdir() if f.is_dir() and f.name[0] != ".") if path.is_dir() else []
    for folder in folders[:_FEW]:
        for name, one in formats.items():
            try:
                if one.recognize(folder):
                    yield folder.name, name
            except SamlabelError:  # several files of it
                continue
