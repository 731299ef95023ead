"""Files of a dataset: read as JSON, written whole or not at all, never outside the target folder."""

from __future__ import annotations

import filecmp
import io
import json
import os
import re
import shutil
import stat
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, NoReturn

from samlabel.errors import (
    FormatError,
    ImageChanged,
    OutputExists,
    UsageError,
    brief,
    naming,
    reason,
    shown,
)
from samlabel.image_files import ImageFiles
from samlabel.reach import Reach

IMAGE_SUFFIXES = frozenset(
    [".bmp", ".dng", ".gif", ".heic", ".heif", ".jp2", ".jpeg", ".jpg", ".mpo", ".png", ".tif", ".tiff", ".webp"]
)
TRANSFERS = ("copy", "hardlink", "symlink", "none")
LONGEST_NAME, LONGEST_PATH = 255, 2048  # bytes that file systems allow a name, and that leave room for a folder
EXTRACTED = "samlabel-pictures-"  # begins the names of folders whose pictures are there only while a record passes


_PLAIN = os.O_NONBLOCK if os.name == "posix" else 0x8000  # O_BINARY


def opened(path: Path | str) -> IO[bytes]:
    """A regular file, open for reading; FormatError for a pipe, a device, a socket, and for what cannot be read.

    A pipe that nobody writes to would keep its reader waiting for ever.
    """
    try:
        handle = os.open(path, os.O_RDONLY | _PLAIN)
    except OSError as error:
        raise FormatError(f"{path}: {reason(error)}") from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise FormatError(f"{path}: expected a regular file, not a folder, pipe, socket or device")
    return os.fdopen(handle, "rb")


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, with or without a byte-order mark; FormatError when it cannot be read."""
    try:
        with io.TextIOWrapper(opened(path), encoding="utf-8-sig") as file:
            return file.read()
    except OSError as error:
        raise FormatError(f"{path}: {reason(error)}") from error
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: not UTF-8 text (byte {error.start})") from error


_NO_NUMBER = re.compile(r"[\[,:]\s*-?(?:NaN|Infinity)(?=\s*[],}])")


def read_json(path: Path) -> Any:
    """The value in a JSON file; NaN and Infinity, which JSON does not have, are refused like any other fault."""
    return parse_json(read_text(path), str(path))


def parse_json(text: str | bytes, where: str) -> Any:
    """The value of a JSON text; FormatError at `where`, with its line."""

    def refuse(word: str) -> NoReturn:
        raise ValueError(f"{word} is not a JSON number")

    try:
        return json.loads(text, parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise FormatError(f"{where}:{error.lineno}: broken JSON: {error.msg} (column {error.colno})") from error
    except (ValueError, RecursionError) as error:
        odd = _NO_NUMBER.search(text) if isinstance(text, str) else None
        line = f":{odd.string.count(chr(10), 0, odd.end()) + 1}" if odd else ""
        raise FormatError(f"{where}{line}: broken JSON: {parser_fault(error)}") from error


def parser_fault(error: BaseException) -> str:
    """In our words, what a parser of JSON or YAML cannot take."""
    if isinstance(error, RecursionError):
        return "nested too deep"
    if "integer string conversion" in str(error):
        return f"a whole number of more than {sys.get_int_max_str_digits()} digits"
    return brief(error)


def dump_json(value: Any) -> str:
    """Compact JSON text, keys in their order, letters of any script as they are."""
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        if not text.isascii():
            text.encode("utf-8")
        return text
    except UnicodeEncodeError:  # a file name that is no UTF-8: escaped, it still comes back as it was
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    except (ValueError, RecursionError) as error:  # of further fields, which nobody looked into
        raise UsageError(f"{shown(value)} cannot be written as JSON: {parser_fault(error)}") from error


def leaves(name: Any) -> bool:
    """Whether a name is absolute or holds '..', so that it may lie anywhere."""
    plain = name.replace("\\", "/") if isinstance(name, str) else ""
    return PurePosixPath(plain).is_absolute() or plain[1:2] == ":" or ".." in PurePosixPath(plain).parts


def relative_name(name: Any, where: str, image_root: Path | None = None) -> str:
    """An image name as a POSIX path inside the dataset; FormatError when it leads out of it.

    Backslashes are separators: files made on Windows carry them, and no dataset means anything else by them. An
    absolute name, or one with '..', is taken where the user named the folder of the images and it leads into that.
    """
    if not isinstance(name, str) or not name.strip():
        raise FormatError(f"{where}: file_name is {shown(name)}, wanted the name of an image file")
    plain = name.replace("\\", "/")
    if leaves(plain) and "\0" not in plain:
        plain = _within(image_root, plain, f"{where}: file_name {name!r}")
    path = PurePosixPath(plain)
    if "\0" in plain or not path.parts:
        raise FormatError(f"{where}: file_name {shown(name)} leaves the dataset folder")
    try:
        data = plain.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise FormatError(f"{where}: file_name {shown(name)} holds half a character, which no file is called") from None
    if len(data) > LONGEST_PATH or max(map(len, data.split(b"/"))) > LONGEST_NAME:
        raise FormatError(f"{where}: file_name {shown(name)} of {len(data)} bytes is longer than that of any file")
    return str(path)


def _within(image_root: Path | None, name: str, what: str) -> str:
    """An absolute name, or one with '..', from `image_root`; FormatError where it does not lead into that."""
    if image_root is None or (name[1:2] == ":" and os.name != "nt"):
        raise FormatError(f"{what} leaves the dataset folder; name the folder that holds it (--image-root)")
    home = os.path.abspath(image_root)
    place = os.path.normpath(os.path.join(home, name))
    real, root = os.path.realpath(os.path.join(home, name)), os.path.realpath(home)
    if os.path.commonpath([real, root]) != root or real == root:
        raise FormatError(f"{what} leads to {real}, outside {image_root}; expected an image in there (--image-root)")
    inner = place if os.path.commonpath([place, home]) == home and place != home else real
    return os.path.relpath(inner, home if inner is place else root).replace(os.sep, "/")


def inside(root: Path, relative: str) -> Path:
    """`root / relative`, refused where a name or a symbolic link on the way leads out of `root`."""
    target = root / relative
    home = root.resolve()
    if not target.parent.resolve().is_relative_to(home) or ".." in PurePosixPath(relative).parts:
        raise UsageError(f"{target}: leads outside {root} (a symbolic link or '..'); nothing was written there")
    return target


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A temporary file beside `path` that takes its place when the block ends well.

    Readers see the old file or the new one, never a part. Equal bytes leave the old file as it is, time and all.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:80]}.", suffix=".tmp", dir=path.parent)
    try:
        with naming(path), os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
        if path.is_file() and not path.is_symlink() and filecmp.cmp(name, path, shallow=False):
            os.unlink(name)
        else:
            os.chmod(name, 0o666 & ~_umask())
            os.replace(name, path)
    except BaseException:
        if os.path.exists(name):
            os.unlink(name)
        raise


def write_text(path: Path, text: str) -> None:
    """`text` as UTF-8 at `path`, whole or not at all."""
    data = encoded(text, path)
    if not _holds(os.fspath(path), data):
        path.parent.mkdir(parents=True, exist_ok=True)
        _put(os.fspath(path), data)


def encoded(text: str, path: Path | str) -> bytes:
    """`text` as UTF-8; UsageError where it holds half a character, as names in broken JSON may."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        part = text[max(0, error.start - 20) : error.end + 20]
        raise UsageError(f"{path}: {part!r} holds half a character, which UTF-8 cannot write; rename it") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _put(path: str, data: bytes) -> None:
    """`data` at `path` by way of a temporary file beside it; the folder is there."""
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name[:80]}.{os.getpid()}-{threading.get_ident()}.tmp")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0), 0o666)
    try:
        try:
            view = memoryview(data)
            with naming(path):
                while view:
                    view = view[os.write(handle, view) :]
        finally:
            os.close(handle)
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


class Target:
    """A folder that thousands of files are written below; a folder of them is checked and made once.

    They are written here and now: a thread beside the caller would take turns with it at Python's lock, several for
    each file, which costs more than the files do.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._base = os.fspath(root)
        self._known: dict[str, bool] = {}  # folder -> whether something was in it

    def file(self, relative: str) -> Path:
        """`root / relative`, refused where a name or a symbolic link leads out of the root."""
        return Path(self._path(relative)[0])

    def _path(self, relative: str) -> tuple[str, bool]:
        """Where `root / relative` is, and whether its folder held anything when it was first asked for."""
        folder = relative.rpartition("/")[0]
        if folder not in self._known:
            inside(self._root, relative)
            where = os.path.join(self._base, folder)
            os.makedirs(where, exist_ok=True)
            self._known[folder] = bool(os.listdir(where))
        return os.path.join(self._base, relative), self._known[folder]

    def write(self, relative: str, text: str) -> None:
        """`text` as UTF-8, whole or not at all; a file that holds it already is left alone."""
        path, may_be_there = self._path(relative)
        data = encoded(text, relative)
        if not (may_be_there and _holds(path, data)):
            _put(path, data)


def _holds(path: str, data: bytes) -> bool:
    """Whether a file of these very bytes is there, and no link."""
    try:
        if os.path.islink(path):
            return False
        with open(path, "rb") as file:
            return file.read() == data
    except OSError:
        return False


def files_below(root: Path, folder: str, suffix: str) -> Iterator[str]:
    """Files of a suffix below `root / folder`, as POSIX paths from `root`; nothing hidden."""
    base = os.fspath(root)
    for where, _, files in os.walk(os.path.join(base, folder)):
        prefix = os.path.relpath(where, base).replace(os.sep, "/")
        yield from (f"{prefix}/{name}" for name in files if name.endswith(suffix) and not name.startswith("."))


def refuse_existing(found: Path | None, overwrite: bool) -> None:
    """OutputExists when `found` is a label file that this write would replace and nobody asked for that."""
    if found is not None and not overwrite:
        raise OutputExists(f"{found} exists already; choose another place, or overwrite=True (--overwrite)")


def check_transfer(images: str) -> None:
    if images not in TRANSFERS:
        raise UsageError(f"unknown way to place images {images!r}; known: {', '.join(TRANSFERS)}")


def place_image(files: ImageFiles, name: str, target: Path, images: str) -> None:
    """The image `name` at `target`: a copy, a hard link, a symbolic link, or nothing.

    Raises LeadsOutside where it lies outside what the dataset may read, ImageError where the file is no image, and
    ImageChanged where it is another one than the labels were made for.
    """
    if images == "none":
        return
    root = files.root
    if root is None:
        raise UsageError(
            f"the images of this dataset are unknown: name their folder (--image-root), or place none (--images none; "
            f"image {name})"
        )
    source = files.find(name)
    if images == "symlink" and root.name.startswith(EXTRACTED):
        raise UsageError(f"{name} lies inside a label file; no link can lead to it, so copy the pictures")
    if not source.is_file():
        if name in files.expected:
            raise ImageChanged(name, "the file is gone since it was labeled")
        raise UsageError(
            f"{source}: no such image; name the folder of the images (--image-root), or place none of them "
            "(--images none)"
        )
    if target.is_file() and os.path.samefile(source, target) and (images == "symlink" or not target.is_symlink()):
        return  # already there, or the dataset is written around its own images
    if images == "copy" and target.is_file() and not target.is_symlink() and filecmp.cmp(source, target, shallow=False):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=".image.", suffix=".tmp", dir=target.parent)
    os.close(handle)
    try:
        if images == "copy":
            shutil.copyfile(source, temporary)
            shutil.copymode(source, temporary)
            files.confirm(name, Path(temporary))
        else:
            os.unlink(temporary)
            files.confirm(name, source)
            if images == "hardlink":
                os.link(source.resolve(), temporary)
            else:  # to the image as the dataset has it: its own links are followed from there
                os.symlink(os.path.abspath(source), temporary)
        os.replace(temporary, target)
    except OSError as error:
        error.filename = os.fspath(target)
        advice = "" if images == "copy" else "; place copies (--images copy)"
        raise UsageError(f"{source}: cannot {images} to {target}: {reason(error)}{advice}") from error
    finally:
        if os.path.lexists(temporary):
            os.unlink(temporary)


def find_image_root(names: list[str], candidates: list[Path], reach: Reach) -> Path | None:
    """The first folder within reach that holds the first of `names` that any of them holds; None when none does."""
    candidates = [folder for folder in candidates if reach.holds(folder)]
    for name in names[:50]:
        for folder in candidates:
            if (folder / name).is_file():
                return folder
    return None


class Names:
    """Label file names for images, one each: a later image whose label would take a taken name gets a new one.

    `a.jpg` and `a.png` both want `a.txt`; the later becomes `a_png`, then `a_png_2`. Letter case does not tell
    names apart, since some file systems see none.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, path: str) -> str:
        """The image path to write `path` as: itself where its stem is free."""
        stem, _, suffix = path.rpartition(".")
        if suffix.isalnum() and stem and stem[-1] not in "./" and "//" not in path and "./" not in path:
            key = stem.casefold()  # as most names are; pathlib takes a tenth of a conversion's time
            if key not in self._taken:
                self._taken.add(key)
                return path
        image = PurePosixPath(path)
        stem, suffix, tries = image.stem, image.suffix, 1
        while str(image.with_name(stem + suffix).with_suffix("")).casefold() in self._taken:
            extension = suffix[1:] or "file"
            stem = f"{PurePosixPath(path).stem}_{extension}" + (f"_{tries}" if tries > 1 else "")
            tries += 1
        image = image.with_name(stem + suffix)
        self._taken.add(str(image.with_suffix("")).casefold())
        return str(image)
