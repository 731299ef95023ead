"""Folders of label files: what is in them, and where their images lie."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from converters.lenient import broken
from samlabel.decoders import measure
from samlabel.errors import FormatError, ImageError
from samlabel.reach import Reach
from samlabel.types import Size

from .files import encoding_of, opened


def files_below(folder: Path, *suffixes: str) -> Iterator[Path]:
    """Files of these suffixes below a folder in the order of their paths; nothing hidden."""
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(where, f) for f in sorted(files) if f.lower().endswith(suffixes) and not f.startswith("."))


def head_of(file: Path, length: int = 1 << 16) -> bytes:
    """The first bytes of a file, without a byte-order mark and the white space after it; none when unreadable.

    Those of UTF-16 are given as UTF-8.
    """
    if not file.is_file():  # a pipe would wait for its writer
        return b""
    try:
        with opened(file) as handle:
            head = handle.read(length)
    except (FormatError, OSError):
        return b""
    if (encoding := encoding_of(head)) != "utf-8-sig":
        head = head.decode(encoding, "ignore").encode("utf-8", "ignore")
    return head.lstrip(b"\xef\xbb\xbf \t\r\n")


def beside(label: str, name: str) -> str:
    """The image `name` as the label file `label` means it: from the label's folder, '..' worked out.

    It may still begin with '..' when it leads out of the dataset; `relative_name` refuses that.
    """
    joined = os.path.normpath(f"{PurePosixPath(label).parent}/{name}".replace("\\", "/"))
    return joined.replace(os.sep, "/")


def size_from_image(root: Path | None, name: str, where: str, reach: Reach) -> Size:
    """The size of an image whose label does not tell it; FormatError when the image is not there either."""
    if root is None or not (root / name).is_file():
        raise FormatError(f"{where}: no size, and no image {name} to measure; name the folder of the images")
    try:
        return measure(reach.check(root / name))
    except ImageError as error:
        raise FormatError(str(error)) from error


class Once:
    """Refuses an image that two labels describe."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def check(self, name: str, where: str) -> None:
        if name in self._seen:
            raise broken("duplicate-id", f"{where}: {name} is described twice")
        self._seen.add(name)
