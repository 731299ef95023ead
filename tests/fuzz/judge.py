"""What a reader makes of one input: read, refused in one line, or a fault of ours."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import converters
from samlabel.errors import SamlabelError

LOCK = ".samlabel-target.lock"  # beside a target, while it is written
SECONDS = 20  # far more than any input needs, on any machine
# Which arguments of an event are names, and for each the one that is the folder it starts from, by descriptor.
_WRITES = {
    "os.mkdir": {0: 2},
    "os.rename": {0: 2, 1: 3},
    "os.link": {1: 3},
    "os.symlink": {1: 2},
    "os.remove": {0: 1},
    "os.rmdir": {0: 1},
    "os.truncate": {0: None},
    "os.chmod": {0: 2},
}
_guarded: list[Path] = []  # folders that may be written to; empty while nobody watches
_strayed: list[str] = []
_hooked = False


class Hung(BaseException):
    """An input took longer than SECONDS."""


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if not _guarded:
        return
    if event == "open":
        path, mode, flags = arguments
        writes = any(sign in mode for sign in "wax+") if mode else bool((flags or 0) & (os.O_WRONLY | os.O_RDWR))
        paths = [(path, None)] if writes and not _starts_elsewhere(path) else []
    else:
        places = _WRITES.get(event, {}).items()
        paths = [(arguments[place], None if folder is None else arguments[folder]) for place, folder in places]
    for path, folder in paths:
        if isinstance(path, (str, bytes, os.PathLike)):
            full = _full(os.fsdecode(path), folder)
            if not any(full == home or home in full.parents for home in _guarded):
                _strayed.append(f"{event} {full}")


def _starts_elsewhere(path: Any) -> bool:
    """Whether a name to open is relative, to a folder that its event does not tell; `only_below` sees where it is."""
    return isinstance(path, (str, bytes, os.PathLike)) and not os.path.isabs(os.fsdecode(path))


def _full(path: str, folder: int | None) -> Path:
    start = os.readlink(f"/proc/self/fd/{folder}") if folder not in (None, -1) else ""
    return Path(os.path.abspath(os.path.join(start, path)))


@contextmanager
def only_below(*homes: Path) -> Iterator[None]:
    """AssertionError when the block writes, makes or removes anything outside these folders."""
    global _hooked
    if not _hooked:
        sys.addaudithook(_watch)
        _hooked = True
    here = os.listdir()
    _guarded[:] = [Path(os.path.abspath(home)) for home in homes]
    try:
        yield
        assert os.listdir() == here, "something was written in the current folder"
    finally:
        _guarded.clear()
        strayed, _strayed[:] = list(_strayed), []
    assert not strayed, strayed[:3]


@contextmanager
def in_time() -> Iterator[None]:
    """Hung when the block takes longer than SECONDS; no watch where there is no such signal."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def end(*_: object) -> None:
        raise Hung(f"no end after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def judge(path: Path, name: str, home: Path, rng: random.Random) -> str:
    """Read the labels at `path` in one of several ways: "read", or the line that refuses them.

    What is read may be converted too, below `home`, and nothing else may be written. Any error that is not a
    SamlabelError, a message of several lines, a hang and a stray write are raised.
    """
    target, scratch = home / "target", home / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    tempfile.tempdir = str(scratch)
    way = rng.randrange(5)
    options: dict[str, Any] = {}
    if way >= 3:
        options = {"to": rng.choice(converters.names()), "allow_lossy": True, "images": rng.choice(("copy", "none"))}
        options["lenient"] = way == 4
    try:
        with in_time(), only_below(target, scratch, home / LOCK):
            if way < 3:
                for record in converters.read(path, None if way == 2 else name).records:
                    for annotation in record.annotations:
                        assert annotation.mask is None or annotation.mask.area >= 0
            else:
                converters.convert(path, target, from_=name, **options)
        said = "read"
    except SamlabelError as error:
        said = str(error)
    finally:
        tempfile.tempdir = None
        shutil.rmtree(target, ignore_errors=True)
        if target.is_file():
            target.unlink()
        (home / LOCK).unlink(missing_ok=True)  # which notes that the target is unfinished
    assert said and "\n" not in said, said
    return said
