"""Which files are images: plain raster formats, told by content and never by name."""

from __future__ import annotations

import io
import os
import stat
from functools import cache
from pathlib import Path
from typing import IO, Any

from .errors import ImageError

# Pillow picks a decoder by content; EPS would start Ghostscript, so only plain raster formats are let in.
_DECODERS = ("JPEG", "PNG", "BMP", "DIB", "GIF", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF")
_TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height
_WIDTH, _HEIGHT = 256, 257  # tags of a TIFF: ImageWidth and ImageLength, as they are stored


def open_header(data: bytes | IO[bytes]) -> Any:
    """Pillow's image of these bytes, or of a file open for reading, with only its head read; None when it is none.

    Not `Image.open`: ultralytics replaces that function by one that prints to stdout and wants to install packages, and
    it would try decoders that are not in our list.
    """
    import struct

    from PIL import Image as pillow

    stream = io.BytesIO(data) if isinstance(data, bytes) else data
    head = stream.read(16)
    for name in _decoders():
        factory, accept = pillow.OPEN[name]
        accepted = accept is not None and accept(head)
        if accepted and not isinstance(accepted, str):  # text says which library this Pillow lacks
            stream.seek(0)
            try:
                return factory(stream, "")
            except (SyntaxError, IndexError, TypeError, struct.error):
                continue
    return None


def measure(data: bytes | Path, name: str | None = None) -> tuple[int, int]:
    """(height, width) of the upright image in these bytes or this file, from its head; ImageError when it is none.

    `name` begins the message, instead of the file's path.
    """
    try:
        if isinstance(data, bytes):
            found = _size(data)
        else:
            if not stat.S_ISREG(os.stat(data).st_mode):  # a pipe would wait for who writes to it
                raise ImageError(f"{_named(data, name)}: not a regular file")
            with open(data, "rb") as stream:
                found = _size(stream)
    except ImageError:
        raise
    except OSError as error:
        what = "cannot be read" if error.strerror else "not a readable image"  # Pillow's own have no number
        raise ImageError(f"{_named(data, name)}: {what}: {error.strerror or error}") from error
    except Exception as error:  # Pillow leaks what it likes on broken bytes
        raise ImageError(f"{_named(data, name)}: not a readable image: {' '.join(str(error).split())}") from error
    if found is None:
        raise ImageError(f"{_named(data, name)}: not an image in a known format")
    return found


def _named(data: bytes | Path, name: str | None) -> str:
    return name or ("the image" if isinstance(data, bytes) else str(data))


def _size(data: bytes | IO[bytes]) -> tuple[int, int] | None:
    opened = open_header(data)
    if opened is None:
        return None
    width, height = opened.size
    if opened.format == "TIFF":  # Pillow has turned the size of one already, but not in every version
        width, height = opened.tag_v2.get(_WIDTH, width), opened.tag_v2.get(_HEIGHT, height)
    turned = opened.getexif().get(0x0112, 1) in _TURNED
    return (width, height) if turned else (height, width)


@cache
def _decoders() -> tuple[str, ...]:
    """The allowed decoders that this Pillow was built with."""
    import warnings

    from PIL import Image as pillow

    pillow.init()
    # Oversized images become errors of ours, odd EXIF is survived: nothing is left to warn about.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    return tuple(name for name in _DECODERS if name in pillow.OPEN)
