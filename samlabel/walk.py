"""The way to a name below a folder, on which no link is followed.

Where the system can, each folder is opened by descriptor from the one above it, so that a link put in its place at any
moment leads nowhere; elsewhere each is looked at first.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
import weakref
from contextlib import suppress
from pathlib import Path, PurePosixPath

from .errors import UsageError

if sys.platform == "win32":
    BY_DESCRIPTOR = False
    FOLDER, PLAIN = 0, os.O_BINARY | os.O_NOINHERIT
else:
    BY_DESCRIPTOR = os.open in os.supports_dir_fd and os.listdir in os.supports_fd
    FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    PLAIN = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe in the place of a file must not make us wait
_LINK = (errno.ELOOP, errno.EMLINK)  # what opening a link without following it comes to; the latter on FreeBSD
_OPEN = 32  # folders held by descriptor at once


def leads_out(name: str) -> bool:
    """Whether a name may mean a place outside the folder that it is relative to, read as POSIX or as Windows does."""
    plain = name.replace("\\", "/")
    drive = ":" in plain and (os.name == "nt" or re.match("[A-Za-z]:/", plain) is not None)
    above = ".." in plain and ".." in plain.split("/")
    return above or drive or plain.startswith("/") or "\0" in plain or plain in ("", ".")


class Walk:
    """Ways below the folder `root`, which is resolved once and trusted; the folders used last stay open."""

    def __init__(self, root: Path | str, *, by_descriptor: bool = BY_DESCRIPTOR) -> None:
        self.root = Path(os.path.realpath(root))
        self._by_descriptor = by_descriptor
        self._open: dict[str, int] = {}  # name of a folder -> descriptor, the last used last
        self._made: list[Path] = []
        weakref.finalize(self, _close, self._open)

    def make(self) -> None:
        """The root, made with the folders above it where it is absent."""
        if self.root.is_dir():
            return
        self._made = [one for one in (self.root, *self.root.parents) if not one.exists()]
        try:
            os.makedirs(self.root, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise UsageError(f"{self.root} is or lies in a file; expected a folder") from error
        except OSError as error:
            raise UsageError(f"{self.root}: the folder cannot be made: {error.strerror}; choose another") from error

    def unmake(self) -> None:
        """Remove what `make` made, as far as nothing is in it."""
        with suppress(OSError):
            while self._made:
                os.rmdir(self._made[0])
                self._made.pop(0)
                self.forget("")

    def to(self, name: str, *, make: bool = False) -> tuple[int | None, str]:
        """The folder that `name` lies in, by descriptor, and its last part; without descriptors None and its path.

        `make` makes the folders on the way, the root included; else FileNotFoundError. Raises UsageError for a name
        that leads out, and where a link or a file is in the place of a folder.
        """
        if "//" in name or "./" in name or name.endswith(("/", "/.")):
            name = PurePosixPath(name).as_posix()
        if leads_out(name):
            raise UsageError(f"{name!r} leads outside {self.root}; expected a name below it, nothing was written there")
        folder, _, last = name.rpartition("/")
        if self._by_descriptor:
            return self._enter(folder, make), last
        self._look(folder, make)
        return None, os.path.join(self.root, folder, last)

    def file(self, name: str, flags: int, *, make: bool = False) -> int:
        """The regular file `name` by descriptor; UsageError for a link, a pipe or a device."""
        folder, last = self.to(name, make=make)
        if folder is None and os.path.islink(last):
            raise is_link(self.root / name)
        try:
            handle = os.open(last, flags | PLAIN, 0o666, dir_fd=folder)
        except OSError as error:
            if error.errno in _LINK:
                raise is_link(self.root / name) from error
            if error.errno == errno.ENXIO:  # a socket
                raise _is_odd(self.root / name) from error
            raise
        if stat.S_ISREG(os.fstat(handle).st_mode):
            return handle
        os.close(handle)
        raise _is_odd(self.root / name)

    def forget(self, name: str) -> None:
        """Close the folder `name` and those below it, which are about to get another name or none."""
        for folder in [one for one in self._open if one == name or one.startswith(f"{name}/")]:
            os.close(self._open.pop(folder))

    def _enter(self, folder: str, make: bool) -> int:
        handle = self._open.pop(folder, None)
        if handle is None:
            if make:
                self.make()
            handle = os.dup(self._open[""]) if "" in self._open else self._enter_root()
            for part in _parts(folder):
                above = handle
                try:
                    handle = self._step(above, part, make)
                finally:
                    os.close(above)
        self._open[folder] = handle
        while len(self._open) > _OPEN:
            os.close(self._open.pop(next(iter(self._open))))
        return handle

    def _enter_root(self) -> int:
        try:
            return os.open(self.root, FOLDER)
        except NotADirectoryError as error:
            raise UsageError(f"{self.root} is a file; expected a folder") from error

    def _step(self, above: int, folder: str, make: bool) -> int:
        last = folder.rpartition("/")[2]
        try:
            try:
                return os.open(last, FOLDER, dir_fd=above)
            except FileNotFoundError:
                if not make:
                    raise
            with suppress(FileExistsError):
                os.mkdir(last, dir_fd=above)
            return os.open(last, FOLDER, dir_fd=above)
        except OSError as error:
            if error.errno in (*_LINK, errno.ENOTDIR):
                raise self._no_folder(folder) from error
            raise

    def _look(self, folder: str, make: bool) -> None:
        if make:
            self.make()
        for part in _parts(folder):
            path = os.path.join(self.root, part)
            if make:
                with suppress(FileExistsError):
                    os.mkdir(path)
            found = os.lstat(path)
            junction = sys.platform == "win32" and found.st_file_attributes & stat.FILE_ATTRIBUTE_REPARSE_POINT
            if junction or not stat.S_ISDIR(found.st_mode):
                raise self._no_folder(part)

    def _no_folder(self, folder: str) -> UsageError:
        path = self.root / folder
        return is_link(path) if path.is_symlink() else UsageError(f"{path} is no folder; expected one, move it away")


def is_link(path: Path) -> UsageError:
    """The refusal of a link in a place where only its target could be meant."""
    to = os.readlink(path)
    return UsageError(f"{path} is a link to {to}; nothing is written, moved or deleted through it: remove the link")


def _is_odd(path: Path) -> UsageError:
    return UsageError(f"{path} is no regular file; expected one, move it away")


def _parts(folder: str) -> list[str]:
    """`a/b/c` as a, a/b, a/b/c."""
    return [folder[:place] for place, sign in enumerate(f"{folder}/") if sign == "/"] if folder else []


def _close(folders: dict[str, int]) -> None:
    while folders:
        os.close(folders.popitem()[1])
