"""Files of a dataset: read as JSON, named as datasets name them, images put beside labels."""

from __future__ import annotations

import codecs
import io
import json
import os
import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, NoReturn

from samlabel.errors import (
    FormatError,
    ImageChanged,
    OutputExists,
    UsageError,
    brief,
    reason,
    shown,
)
from samlabel.files import OutputFolder
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


_MARKS = ((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def encoding_of(head: bytes) -> str:
    """The encoding that the byte-order mark of a file that begins so tells; UTF-8 without one."""
    return next((name for mark, name in _MARKS if head.startswith(mark)), "utf-8-sig")


def opened_text(path: Path, errors: str = "strict") -> io.TextIOWrapper:
    """A text file, open for reading as `encoding_of` says, with the line ends that it has."""
    handle = opened(path)
    encoding = encoding_of(handle.read(4))
    handle.seek(0)
    return io.TextIOWrapper(handle, encoding=encoding, errors=errors, newline="")


def not_text(path: Path, error: UnicodeError) -> FormatError:
    """What a file is refused with that is not in the encoding it is read as."""
    place = f" (byte {error.start})" if isinstance(error, UnicodeDecodeError) else ""
    told = error.encoding if isinstance(error, UnicodeDecodeError) else "UTF-16"
    name = "UTF-16" if told.lower().startswith("utf-16") else "UTF-8"
    return FormatError(f"{path}: not {name} text{place}; save it as UTF-8")


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, or of one whose byte-order mark says UTF-16; FormatError when it cannot be read."""
    try:
        with opened_text(path) as file:
            file.reconfigure(newline=None)
            return file.read()
    except OSError as error:
        raise FormatError(f"{path}: {reason(error)}") from error
    except UnicodeError as error:
        raise not_text(path, error) from error


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
    return plain.startswith("/") or plain[1:2] == ":" or (".." in plain and ".." in plain.split("/"))


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


def place_image(files: ImageFiles, name: str, out: OutputFolder, target: str, images: str) -> None:
    """The image `name` at `target` in `out`: a copy, a hard link, a symbolic link, or nothing.

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
    try:
        out.place(source, target, images, confirm=lambda copy: files.confirm(name, copy))
    except OSError as error:
        error.filename = os.fspath(out.path / target)
        advice = "" if images == "copy" else "; place copies (--images copy)"
        raise UsageError(f"{source}: cannot {images} to {out.path / target}: {reason(error)}{advice}") from error


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
