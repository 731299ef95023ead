"""Everything that samlabel writes, moves or removes: below a folder that somebody named, and through no link.

A link in the place of a file is replaced, a link in the place of a folder on the way is refused (`walk`). Files appear
whole: they are written under a name that nobody can foretell, and renamed.
"""

from __future__ import annotations

import io
import os
import re
import secrets
import shutil
import stat
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import IO, TextIO

from .compare import are_equal, holds, is_placed
from .errors import SamlabelError, UsageError, reason
from .walk import BY_DESCRIPTOR, FOLDER, PLAIN, Walk

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | PLAIN
_CHUNK = 1 << 20  # bytes
_STEM = 40  # characters of a file's name that a temporary one begins with: at most 160 of the 255 bytes of a name
_LEFTOVER = re.compile(r"\..*\.samlabel-[0-9a-f]{16}-\d+", re.DOTALL)


class OutputFolder:
    """A folder that a person named, and every change below it; names are POSIX paths relative to it.

    Nothing is made before the first write. Methods raise UsageError for a name that leads out of the folder or through
    a link, and SamlabelError, naming the file, where the system refuses.
    """

    def __init__(self, root: Path | str, *, by_descriptor: bool = BY_DESCRIPTOR) -> None:
        self._walk = Walk(root, by_descriptor=by_descriptor)
        self.path = self._walk.root
        self.named = Path(root)  # as the person named it, for messages
        self._token, self._count = secrets.token_hex(8), 0

    def make(self) -> OutputFolder:
        """The folder itself, made with those above it where it is absent."""
        self._walk.make()
        return self

    def name_of(self, path: Path) -> str:
        """The name of a path that was made from the folder's own, as the person named it."""
        return path.relative_to(self.named).as_posix()

    def unmake(self) -> None:
        """Remove what `make` made, as far as nothing is in it."""
        self._walk.unmake()

    # What is there

    def kind(self, name: str) -> str | None:
        """What lies at `name`: "file", "folder", "link", "other", or None for nothing."""
        try:
            folder, last = self._walk.to(name)
            mode = os.stat(last, dir_fd=folder, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._failed(name, error, "read") from error
        if stat.S_ISLNK(mode):
            return "link"
        return "folder" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "other"

    def open(self, name: str) -> IO[bytes]:
        """The file `name`, open for reading; UsageError for a link, a pipe or a device, FileNotFoundError for none."""
        return os.fdopen(self._walk.file(name, os.O_RDONLY), "rb")

    def read(self, name: str) -> bytes | None:
        """The bytes of a file, None where there is none; UsageError for a link, a pipe or a device."""
        try:
            with self.open(name) as file:
                return file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._failed(name, error, "read") from error

    # Writing

    def mkdir(self, name: str) -> None:
        """A folder, made with those above it where it is absent."""
        try:
            self._walk.to(f"{name}/x", make=True)
        except OSError as error:
            raise self._failed(name, error) from error

    def write(self, name: str, content: bytes | str, *, durable: bool = False) -> None:
        """`content` (text as UTF-8) in the file `name`, as `replacing` writes it."""
        data = content if isinstance(content, bytes) else encoded(content, name)
        if durable:
            with self.replacing(name, durable=True) as file:
                file.write(data)
            return
        try:  # what `replacing` does, at half its cost, since a dataset may be hundreds of thousands of files
            folder, last = self._walk.to(name, make=True)
            if holds(folder, last, data):
                return
            temporary = self._temporary(last)
            handle = os.open(temporary, _NEW, 0o666, dir_fd=folder)
            try:
                try:
                    view = memoryview(data)
                    while view:
                        view = view[os.write(handle, view) :]
                finally:
                    os.close(handle)
                os.replace(temporary, last, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                _unlink(folder, temporary)
                raise
        except OSError as error:
            raise self._failed(name, error) from error

    @contextmanager
    def replacing(self, name: str, *, durable: bool = False) -> Iterator[IO[bytes]]:
        """A file that takes the place of `name` when the block ends well; until then `name` is as it was.

        Equal bytes leave the old file as it is, time and all. `durable` bytes are on the disk before the old ones go,
        so that a power cut leaves one of the two.
        """
        try:
            folder, last = self._walk.to(name, make=True)
            temporary = self._temporary(last)
            handle = os.open(temporary, _NEW, 0o666, dir_fd=folder)
        except OSError as error:
            raise self._failed(name, error) from error
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            folder, last = self._walk.to(name)
            if are_equal(folder, temporary, last):
                os.unlink(temporary, dir_fd=folder)
            else:
                os.replace(temporary, last, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException as error:
            with suppress(OSError, SamlabelError):
                _unlink(self._walk.to(name)[0], temporary)
            if isinstance(error, OSError) and error.filename in (None, temporary):  # others are the caller's own
                raise self._failed(name, error) from error
            raise

    def append(self, name: str) -> io.FileIO:
        """The file `name`, made where it is absent, unbuffered, for reading and for writing at its end."""
        try:
            handle = self._walk.file(name, os.O_RDWR | os.O_APPEND | os.O_CREAT, make=True)
        except OSError as error:
            raise self._failed(name, error) from error
        return os.fdopen(handle, "a+b", buffering=0)

    def place(self, source: Path, name: str, how: str, *, confirm: Callable[[Path], object] | None = None) -> None:
        """The file `source` at `name`, as a "copy", "hardlink" or "symlink"; left alone where it is that already.

        Links on the way to `source` are followed; a symbolic link leads to it as it was named, so that its own links
        are followed from there. `confirm` looks at the copy, or at what will be linked to, before it takes its place,
        and stops that by raising. Raises OSError as the system does.
        """
        folder, last = self._walk.to(name, make=True)
        if is_placed(source, folder, last, how):
            return
        temporary = self._temporary(last)
        try:
            if how != "copy" and confirm is not None:
                confirm(source)
            if how == "hardlink":
                os.link(source.resolve(), temporary, dst_dir_fd=folder)
            elif how == "symlink":
                os.symlink(os.path.abspath(source), temporary, dir_fd=folder)
            else:
                with open(source, "rb") as original:
                    with os.fdopen(os.open(temporary, _NEW, 0o666, dir_fd=folder), "wb") as copy:
                        shutil.copyfileobj(original, copy, _CHUNK)
                    os.chmod(temporary, os.fstat(original.fileno()).st_mode & 0o777, dir_fd=folder)
                if confirm is not None:
                    confirm(self.path / PurePosixPath(name).with_name(os.path.basename(temporary)))
            os.replace(temporary, last, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            _unlink(folder, temporary)
            raise

    def link(self, old: str, new: str) -> bool:
        """The file `old` of this folder under a second name, `new`; False where a file has one name only, and a copy.

        Nothing may be at `new`.
        """
        try:
            source, name = self._walk.to(old)
            target, last = self._walk.to(new, make=True)
            try:
                os.link(name, last, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
            except FileExistsError:
                raise
            except OSError:
                self.place(self.path / old, new, "copy")
                return False
        except OSError as error:
            raise self._failed(new, error) from error
        return True

    @contextmanager
    def replacing_folder(self, name: str) -> Iterator[str]:
        """The name of a fresh folder that takes the place of `name` when the block ends well."""
        with self._fresh(name, 0o777) as fresh:
            yield fresh
            self.remove_tree(name)
            self.rename(fresh, name)

    @contextmanager
    def private_folder(self, name: str) -> Iterator[str]:
        """The name of a fresh folder beside `name` that its owner alone may enter, for libraries that write by path.

        The caller renames away what it wants of it; the rest is gone at the end.
        """
        with self._fresh(name, 0o700) as fresh:
            yield fresh

    # Moving and removing

    def rename(self, old: str, new: str) -> None:
        """What lies at `old` at `new`; a file or a link there is replaced, a folder there must be empty."""
        try:
            source, name = self._walk.to(old)
            target, last = self._walk.to(new, make=True)
            os.replace(name, last, src_dir_fd=source, dst_dir_fd=target)
        except OSError as error:
            raise self._failed(new, error) from error
        self._walk.forget(old)
        self._walk.forget(new)

    def remove(self, name: str) -> None:
        """Remove a file or a link, if there is one."""
        try:
            folder, last = self._walk.to(name)
            os.unlink(last, dir_fd=folder)
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._failed(name, error, "removed") from error

    def remove_tree(self, name: str) -> None:
        """Remove a folder and all that is in it, but nothing behind a link; or a file or a link, if there is one."""
        if self.kind(name) != "folder":
            return self.remove(name)
        try:
            folder, last = self._walk.to(name)
            self._walk.forget(name)
            if folder is None:
                shutil.rmtree(last)
            else:
                _remove_tree(folder, last)
        except OSError as error:
            raise self._failed(name, error, "removed") from error

    def clear_leftovers(self, folder: str = "", *, prefix: str = "", below: bool = True) -> None:
        """Remove temporary files of killed processes in a folder and, with `below`, in those below it.

        `prefix` begins the names of the files that they were for.
        """
        if folder and self.kind(folder) != "folder":
            return
        for where, folders, files in os.walk(self.path / folder):
            base = Path(where).relative_to(self.path)
            for name in (*files, *folders):
                if name.startswith(f".{prefix}"[:_STEM]) and _LEFTOVER.fullmatch(name):
                    self.remove_tree((base / name).as_posix())
            if not below:
                return

    @contextmanager
    def _fresh(self, name: str, mode: int) -> Iterator[str]:
        above, slash, last = name.rpartition("/")
        fresh = f"{above}{slash}{self._temporary(last)}"
        try:
            folder, last = self._walk.to(fresh, make=True)
            os.mkdir(last, mode, dir_fd=folder)
        except OSError as error:
            raise self._failed(name, error) from error
        try:
            yield fresh
        finally:
            self.remove_tree(fresh)
            self.unmake()

    def _temporary(self, last: str) -> str:
        """A name beside `last` that nobody can foretell and `clear_leftovers` knows."""
        folder, name = os.path.split(last)
        self._count += 1
        return os.path.join(folder, f"{f'.{name}'[:_STEM]}.samlabel-{self._token}-{self._count}")

    def _failed(self, name: str, error: OSError, what: str = "written") -> SamlabelError:
        error.filename = os.fspath(self.named / name)
        message = f"{self.named / name}: cannot be {what}: {reason(error)}"
        if what == "written":
            message += "; what is done so far is safe, run the same command again"
        return SamlabelError(message)


class Scratch(OutputFolder):
    """A fresh folder of the system's temporary files, its owner's alone; gone with the object, or as its block ends."""

    def __init__(self, prefix: str = "samlabel-") -> None:
        super().__init__(tempfile.mkdtemp(prefix=prefix))
        self._end = weakref.finalize(self, shutil.rmtree, self.path, True)

    def __enter__(self) -> Scratch:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()


def open_log(file: Path) -> TextIO:
    """A log, made where it is absent, to write at its end; a terminal or a pipe is taken as it is."""
    if str(file.parent) in ("/dev", "/dev/fd") or (file.exists() and not file.is_file()):
        try:
            return open(file, "a", encoding="utf-8")
        except OSError as error:
            raise SamlabelError(f"{file}: cannot be written: {error.strerror}") from error
    return io.TextIOWrapper(io.BufferedWriter(OutputFolder(file.parent).append(file.name)), encoding="utf-8")


def nameless(folder: Path | None = None) -> IO[bytes]:
    """A temporary file on the disk of `folder`, or of the system's temporary files, that no other process can open."""
    return tempfile.TemporaryFile(dir=folder)


def encoded(text: str, where: Path | str) -> bytes:
    """`text` as UTF-8; UsageError where it holds half a character, as names in broken JSON may."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        part = text[max(0, error.start - 20) : error.end + 20]
        raise UsageError(f"{where}: {part!r} holds half a character, which UTF-8 cannot write; rename it") from error


def _unlink(folder: int | None, name: str) -> None:
    with suppress(OSError):
        os.unlink(name, dir_fd=folder)


def _remove_tree(folder: int, name: str) -> None:
    handle = os.open(name, FOLDER, dir_fd=folder)
    try:
        for part in os.listdir(handle):
            if stat.S_ISDIR(os.stat(part, dir_fd=handle, follow_symlinks=False).st_mode):
                _remove_tree(handle, part)
            else:
                os.unlink(part, dir_fd=handle)
    finally:
        os.close(handle)
    os.rmdir(name, dir_fd=folder)
