"""Files of a dataset: read as JSON, named as datasets name them, images put beside labels."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from samlabel.errors import FormatError, ImageError, OutputExists, UsageError
from samlabel.files import OutputFolder

IMAGE_SUFFIXES = frozenset(
    [".bmp", ".dng", ".gif", ".heic", ".heif", ".jp2", ".jpeg", ".jpg", ".mpo", ".png", ".tif", ".tiff", ".webp"]
)
TRANSFERS = ("copy", "hardlink", "symlink", "none")
LONGEST_NAME, LONGEST_PATH = 255, 2048  # bytes that file systems allow a name, and that leave room for a folder
EXTRACTED = "samlabel-pictures-"  # begins the names of folders whose pictures are there only while a record passes


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, with or without a byte-order mark; FormatError when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise FormatError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: not UTF-8 text (byte {error.start})") from error


_NO_NUMBER = re.compile(r"[\[,:]\s*-?(?:NaN|Infinity)(?=\s*[],}])")


def read_json(path: Path) -> Any:
    """The value in a JSON file; NaN and Infinity, which JSON does not have, are refused like any other fault."""

    def refuse(word: str) -> NoReturn:
        raise ValueError(f"{word} is not a JSON number")

    text = read_text(path)
    try:
        return json.loads(text, parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise FormatError(f"{path}:{error.lineno}: broken JSON: {error.msg} (column {error.colno})") from error
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)
        odd = _NO_NUMBER.search(text)
        line = f":{text.count(chr(10), 0, odd.end()) + 1}" if odd else ""
        raise FormatError(f"{path}{line}: broken JSON: {reason}") from error


def dump_json(value: Any) -> str:
    """Compact JSON text, keys in their order, letters of any script as they are."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:  # a file name that is no UTF-8: escaped, it still comes back as it was
            return json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text


def relative_name(name: Any, where: str) -> str:
    """An image name as a POSIX path inside the dataset; FormatError when it leads out of it.

    Backslashes are separators: files made on Windows carry them, and no dataset means anything else by them.
    """
    if not isinstance(name, str) or not name.strip():
        raise FormatError(f"{where}: file_name is {name!r}, wanted the name of an image file")
    plain = name.replace("\\", "/")
    path = PurePosixPath(plain)
    drive = len(plain) > 1 and plain[1] == ":"
    if path.is_absolute() or drive or ".." in path.parts or "\0" in plain or not path.parts:
        raise FormatError(f"{where}: file_name {name!r} leaves the dataset folder")
    try:
        data = plain.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise FormatError(f"{where}: file_name {name!r} holds half a character, which no file is called") from None
    if len(data) > LONGEST_PATH or max(map(len, data.split(b"/"))) > LONGEST_NAME:
        raise FormatError(f"{where}: file_name {name!r:.40} of {len(data)} bytes is longer than that of any file")
    return str(path)


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


def place_image(root: Path | None, name: str, out: OutputFolder, target: str, images: str) -> None:
    """The image `root / name` at `target` in `out`: a copy, a hard link, a symbolic link, or nothing."""
    if images == "none":
        return
    if root is None:
        raise UsageError(
            f"the images of this dataset are unknown: name their folder (--image-root), or place none (--images none; "
            f"image {name})"
        )
    source = root / name
    if images == "symlink" and root.name.startswith(EXTRACTED):
        raise UsageError(f"{name} lies inside a label file; no link can lead to it, so copy the pictures")
    if not source.is_file():
        raise UsageError(
            f"{source}: no such image; name the folder of the images (--image-root), or place none of them "
            "(--images none)"
        )
    try:
        out.place(source, target, images)
    except OSError as error:
        raise UsageError(
            f"{source}: cannot {images} to {out.path / target}: {error.strerror}; try images='copy'"
        ) from error


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) of the upright image, from its header; ImageError when it is no image."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            width, height = image.size
            orientation = image.getexif().get(0x0112, 1)
    except Exception as error:  # decoders raise what they like on damaged files, and ultralytics replaces Image.open
        reason = " ".join(str(error).split())
        raise ImageError(f"{path}: not a readable image: {reason}") from error
    return (width, height) if orientation in (5, 6, 7, 8) else (height, width)


def find_image_root(names: list[str], candidates: list[Path]) -> Path | None:
    """The first folder that holds the first of `names` that any of them holds; None when none does."""
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
