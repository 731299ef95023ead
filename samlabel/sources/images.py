"""Image files decoded: upright, RGB, 8 bit."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..decoders import measure, open_header
from ..errors import ImageError, brief, reason
from ..file_state import State, state_of
from ..protocols import Image

if TYPE_CHECKING:
    import numpy as np

SUFFIXES = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".bmp",
        ".dib",
        ".gif",
        ".webp",
        ".tif",
        ".tiff",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".jp2",
        ".j2k",
        ".avif",
        ".mpo",
    ]
)
MAX_PIXELS = 2**27  # 134 megapixels: a 12000 x 9000 photo passes, a bomb does not
MAX_BYTES = 2**31
STRIP = 2**20  # pixels that are turned into RGB at a time


@dataclass(frozen=True, slots=True)
class Failed:
    """One picture that could not be labelled, where that was noticed, and why."""

    path: str
    stage: str  # "scan", "decode", "detect" or "segment"
    reason: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """One picture with hash and state of the file that it came from."""

    image: Image
    sha256: str
    stat: State  # of the file before it was read


@dataclass(frozen=True, slots=True)
class Encoded:
    """An image file in memory with its head read, small enough to be decoded."""

    path: str
    pixels: int
    sha256: str
    stat: State  # of the file before it was read
    _opened: Any

    def decode(self) -> Decoded:
        """The upright RGB pixels, once; ImageError says why not."""
        try:
            pixels = _to_rgb(self._opened)
        except Exception as error:  # Pillow leaks struct.error, SyntaxError, zlib.error and more on broken bytes
            raise ImageError(f"{self.path}: cannot be decoded: {brief(error)}") from error
        return Decoded(Image(self.path, pixels), self.sha256, self.stat)


def encoded(root: Path, path: str, *, max_pixels: int = MAX_PIXELS) -> Encoded:
    """The image `root/path` before it is decoded; ImageError for one of more than `max_pixels`, or that is none."""
    data, state = _read(root / path, path)
    sha256 = hashlib.sha256(data).hexdigest()
    if not data:
        raise ImageError(f"{path}: the file is empty")
    try:
        opened = open_header(data)
    except Exception as error:
        raise ImageError(f"{path}: cannot be decoded: {brief(error)}") from error
    if opened is None:
        raise ImageError(f"{path}: not a picture in a known format (it starts with {data[:8]!r})")
    width, height = opened.size
    if width * height > max_pixels:
        raise ImageError(f"{path}: {width} x {height} pixels; raise max_pixels ({max_pixels}) if you trust it")
    return Encoded(path, width * height, sha256, state, opened)


def decode(root: Path, path: str, *, max_pixels: int = MAX_PIXELS) -> Decoded:
    """The picture `root/path` as upright RGB, first frame; ImageError says why not.

    Transparent parts become white, values of 10 to 16 bits keep their upper 8, EXIF orientation is applied
    once. The pixels are checked against `max_pixels` before they are decoded.
    """
    return encoded(root, path, max_pixels=max_pixels).decode()


def header_size(root: Path, path: str) -> tuple[int, int]:
    """(height, width) of the upright picture `root/path`, from its head; FileNotFoundError, or ImageError."""
    if not (root / path).exists():
        raise FileNotFoundError(root / path)
    return measure(root / path, path)


def _read(file: Path, path: str) -> tuple[bytes, State]:
    try:
        found = file.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ImageError(f"{path}: not a regular file")
        if found.st_size > MAX_BYTES:
            raise ImageError(f"{path}: {found.st_size} bytes; a picture file over {MAX_BYTES} is not read")
        with file.open("rb") as stream:
            state = state_of(stream.fileno())  # before the bytes, so that a change while they are read shows later
            return stream.read(), state
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {reason(error)}") from error


def _to_rgb(opened: Any) -> np.ndarray:
    """The upright pixels (H, W, 3); beside Pillow's own there is never more than these and a strip of them."""
    import numpy as np
    from PIL import Image as pillow

    opened.load()
    try:
        orientation = opened.getexif().get(0x0112, 1)
    except Exception:  # a damaged EXIF block says nothing about the orientation; the pixels are fine
        orientation = 1
    width, height = opened.size
    method, swaps, reverses = _TURNS.get(orientation, (None, False, False))
    pixels = np.empty((width, height, 3) if swaps else (height, width, 3), dtype=np.uint8)
    scale = _scale(opened)
    for box in _strips(opened.size):
        strip = _strip_to_rgb(opened, box, scale)
        if method is not None:
            strip = np.asarray(pillow.fromarray(strip).transpose(pillow.Transpose(method)))
        place = slice(height - box[3], height - box[1]) if reverses else slice(box[1], box[3])
        pixels[(slice(None), place) if swaps else place] = strip
    opened.close()  # Pillow's pixels go with it
    return pixels


# https://exiftool.org/TagNames/EXIF.html, 0x0112: what makes an image upright, by Pillow's number of the turn; whether
# rows become columns, and whether the first row comes last.
_TURNS = {
    2: (0, False, False),  # FLIP_LEFT_RIGHT
    3: (3, False, True),  # ROTATE_180
    4: (1, False, True),  # FLIP_TOP_BOTTOM
    5: (5, True, False),  # TRANSPOSE
    6: (4, True, True),  # ROTATE_270
    7: (6, True, True),  # TRANSVERSE
    8: (2, True, False),  # ROTATE_90
}


def _strips(size: tuple[int, int]) -> Iterator[tuple[int, int, int, int]]:
    """Boxes of a few rows each, from top to bottom."""
    width, height = size
    rows = max(1, STRIP // width)
    for top in range(0, height, rows):
        yield (0, top, width, min(top + rows, height))


# https://www.loc.gov/preservation/digital/formats/content/tiff_tags.shtml: MaxSampleValue, one number a channel.
_MAX_SAMPLE_VALUE = 281
_DEPTHS = (8, 10, 12, 14, 16)  # bits of what cameras, microscopes and X-ray detectors give


def _scale(opened: Any) -> float:
    """What numbers of more than 8 bits are multiplied by; shares of 1 become 255.

    Cameras write 10, 12 or 14 bits as 16. How many it are is what a TIFF's tag says, else the fewest that hold the
    largest number; the upper 8 of them are kept.
    """
    if not opened.mode.startswith(("I", "F")):
        return 1
    most = max(float(_numbers(opened, box).max()) for box in _strips(opened.size))
    if opened.mode == "F":
        return 255 if most <= 1 else 1
    bits = next((depth for depth in _DEPTHS if max(most, _declared(opened)) < 2**depth), 16)
    return 1 / (1 << (bits - 8))


def _declared(opened: Any) -> float:
    """The largest number that a TIFF says it may hold; 0 where it says nothing."""
    if opened.format != "TIFF":
        return 0
    found = opened.tag_v2.get(_MAX_SAMPLE_VALUE, 0)
    found = found[0] if isinstance(found, tuple) and found else found
    return float(found) if isinstance(found, (int, float)) and 0 < found < 2**16 else 0


def _numbers(opened: Any, box: tuple[int, int, int, int]) -> np.ndarray:
    import numpy as np

    return np.nan_to_num(np.asarray(opened.crop(box)).astype(np.float64), nan=0.0, posinf=255.0, neginf=0.0)


def _strip_to_rgb(opened: Any, box: tuple[int, int, int, int], scale: float) -> np.ndarray:
    import numpy as np
    from PIL import Image as pillow

    if opened.mode.startswith(("I", "F")):
        grey = np.clip(np.floor(_numbers(opened, box) * scale), 0, 255).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    part = opened.crop(box)
    if "A" in opened.getbands() or "transparency" in opened.info:
        layer = part.convert("RGBA")
        part = pillow.alpha_composite(pillow.new("RGBA", layer.size, "white"), layer)
    return np.asarray(part.convert("RGB"))
