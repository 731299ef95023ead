"""PNG pictures of object numbers, read and written strip by strip: https://www.w3.org/TR/png-3/."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from converters.fields.values import size_of
from samlabel.errors import FormatError
from samlabel.geometry import mask_from_changes
from samlabel.types import Mask, Size

from .files import opened

STRIP = 2**22  # pixels in hand at once
DECODED = 2**29  # bytes that a picture may take when Pillow decodes all of it
SEGMENTS = 2**23  # vertical stretches of one number in a picture: 1024 in each of 8192 columns, at 24 bytes
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2}  # a pixel in Pillow; 4 in every other mode

Rows = NDArray[Any]  # (h, W) numbers of a few rows


@dataclass(frozen=True)
class Numbered:
    """Which pixels of a picture have which number, 0 left out."""

    size: Size
    _edges: NDArray[np.int64]  # first pixel of each stretch and the one after its last, number after number
    _bounds: dict[int, tuple[int, int]]  # number -> its edges

    @property
    def numbers(self) -> list[int]:
        return sorted(self._bounds)

    def mask(self, number: int | None) -> Mask | None:
        """The mask of a number, None where no pixel has it."""
        if number is None or number not in self._bounds:
            return None
        first, last = self._bounds[number]
        return mask_from_changes(self._edges[first:last], self.size)


def read_numbered(
    source: Path | bytes,
    where: str,
    numbers_in: Callable[[Any], Rows],
    *,
    size: Size | None = None,
    modes: Sequence[str] = (),
) -> Numbered:
    """What a PNG holds; `numbers_in` gives the numbers of a part of it, as Pillow has it. FormatError at `where`.

    `size` is what the labels say, `modes` are those of Pillow that may be; any where there are none. Pictures whose
    pixels would take more than DECODED bytes are read row by row where they are of one channel of 8 or 16 bits.
    """
    try:
        with io.BytesIO(source) if isinstance(source, bytes) else opened(source) as file:
            image = _image(file)
            if size is not None and (image.height, image.width) != tuple(size):
                raise FormatError(
                    f"{where}: a PNG of {image.width}x{image.height} pixels; expected {size[1]}x{size[0]}"
                )
            shape = size_of(image.height, image.width, where)
            if modes and image.mode not in modes:
                raise FormatError(f"{where}: a PNG of mode {image.mode}; expected one channel of numbers")
            if image.width * image.height * _BYTES.get(image.mode, 4) > DECODED:
                file.seek(0)
                strips = _streamed(file, where)
            else:
                strips = map(numbers_in, _parts(image))
            del image  # its pixels go with its last strip
            return _numbered(strips, shape, where)
    except FormatError:
        raise
    except Exception as error:  # decoders raise what they like on damaged files
        raise FormatError(f"{where}: not a readable PNG: {' '.join(str(error).split())[:200]}") from error


def _image(file: IO[bytes]) -> Any:
    """The picture with its head read. Not `Image.open`, which ultralytics replaces and which warns of large ones."""
    from PIL import PngImagePlugin

    return PngImagePlugin.PngImageFile(file)


def _parts(image: Any) -> Iterator[Any]:
    image.load()
    rows = max(1, STRIP // image.width)
    for top in range(0, image.height, rows):
        yield image.crop((0, top, image.width, min(top + rows, image.height)))


def _numbered(strips: Iterator[Rows], size: Size, where: str) -> Numbered:
    height, width = size
    base = np.arange(width, dtype=np.int64) * height
    before: Rows | None = None
    places: list[NDArray[np.int64]] = []
    values: list[NDArray[np.int64]] = []
    top = count = 0
    for strip in strips:
        # A stretch begins where a pixel differs from the one above it, and in the first row.
        begins = np.ones(strip.shape, dtype=bool)
        begins[1:] = strip[1:] != strip[:-1]
        if before is not None:
            begins[0] = strip[0] != before
        y, x = np.nonzero(begins)
        count += len(y)
        if count > SEGMENTS + width:
            raise FormatError(f"{where}: columns of more than {SEGMENTS} stretches of one number; expected fewer")
        places.append(base[x] + y + top)
        values.append(strip[y, x].astype(np.int64))
        before, top = strip[-1], top + len(strip)
    place, value = np.concatenate(places), np.concatenate(values)
    order = np.argsort(place)
    place, value = place[order], value[order]
    last = np.append(place[1:], height * width)
    order = np.flatnonzero(value)
    order = order[np.argsort(value[order], kind="stable")]
    place, last, value = place[order], last[order], value[order]
    edges = np.stack((place, last), axis=1).ravel()
    first = [*np.flatnonzero(np.diff(value, prepend=0)).tolist(), len(value)]
    bounds = {int(value[a]): (2 * a, 2 * b) for a, b in pairwise(first)}
    return Numbered(size, edges, bounds)


def _streamed(file: IO[bytes], where: str) -> Iterator[Rows]:
    """The rows of a PNG of one channel of 8 or 16 bits, whose filters are those that `Writer` uses, or Sub."""
    file.read(len(_SIGNATURE))
    head, _ = _chunk(file)
    width, height, depth, color, _, _, interlace = struct.unpack(">IIBBBBB", head)
    each = depth // 8
    if depth not in (8, 16) or color not in (0, 3) or interlace:
        raise FormatError(
            f"{where}: a PNG of {width}x{height} pixels, too large to be read but row by row; "
            "expected one channel of 8 or 16 bits, not interlaced"
        )
    line = 1 + width * each
    rows = max(1, STRIP // width)
    before = np.zeros(width * each, dtype=np.uint8)
    held = bytearray()
    left = height
    for data in _inflated(file):
        held += data
        while len(held) >= line * min(rows, left) > 0:
            count = min(rows, left)
            block = np.frombuffer(bytes(held[: line * count]), dtype=np.uint8).reshape(count, line)
            del held[: line * count]
            pixels = np.empty((count, width * each), dtype=np.uint8)
            for row in range(count):
                before = _unfiltered(int(block[row, 0]), block[row, 1:], before, each, where)
                pixels[row] = before
            left -= count
            yield pixels.view(">u2") if each == 2 else pixels
    if left:
        raise FormatError(f"{where}: not a readable PNG: {left} of {height} rows are absent")


def _unfiltered(kind: int, line: NDArray[np.uint8], above: NDArray[np.uint8], each: int, where: str) -> NDArray[Any]:
    if kind == 0:
        return line
    if kind == 1:
        return np.cumsum(line.reshape(-1, each), axis=0, dtype=np.uint8).ravel()
    if kind == 2:
        return line + above
    raise FormatError(f"{where}: a large PNG with filters of the kind {kind}; save it with the filters None, Sub or Up")


def _inflated(file: IO[bytes]) -> Iterator[bytes]:
    inflate = zlib.decompressobj()
    while not inflate.eof:
        data, kind = _chunk(file)
        if kind == b"IEND":
            return
        while kind == b"IDAT" and data:
            yield inflate.decompress(data, STRIP)
            data = inflate.unconsumed_tail


def _chunk(file: IO[bytes]) -> tuple[bytes, bytes]:
    """Data and kind of the next chunk; nothing is allocated for a length that the file does not have."""
    length, kind = struct.unpack(">I4s", file.read(8))
    data = file.read(length)
    if len(file.read(4)) < 4:
        raise ValueError("it ends in the middle")
    return data, kind


class Writer:
    """A PNG of one channel, its rows written as they come; `close` ends it."""

    def __init__(self, out: IO[bytes], size: Size, *, bits: int, palette: bytes = b"") -> None:
        self._out, self._bits = out, bits
        # Lengths of runs are all that there is to pack: as small as by Pillow, and several times as fast.
        self._deflate = zlib.compressobj(6, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
        self._before: NDArray[np.uint8] | None = None
        out.write(_SIGNATURE)
        self._put(b"IHDR", struct.pack(">IIBBBBB", size[1], size[0], bits, 3 if palette else 0, 0, 0, 0))
        if palette:
            self._put(b"PLTE", palette)

    def rows(self, numbers: Rows) -> None:
        """Write a few rows (h, W): each less the one above, which is nothing where objects go on."""
        lines = np.ascontiguousarray(numbers, dtype=">u2" if self._bits == 16 else np.uint8).view(np.uint8)
        filtered = np.empty((lines.shape[0], lines.shape[1] + 1), dtype=np.uint8)
        filtered[:, 0] = 2
        before = np.zeros(lines.shape[1], dtype=np.uint8) if self._before is None else self._before
        np.subtract(lines[0], before, out=filtered[0, 1:])
        np.subtract(lines[1:], lines[:-1], out=filtered[1:, 1:])
        self._before = lines[-1].copy()
        self._put_data(self._deflate.compress(filtered.tobytes()))

    def close(self) -> None:
        self._put_data(self._deflate.flush())
        self._put(b"IEND", b"")

    def _put_data(self, data: bytes) -> None:
        if data:
            self._put(b"IDAT", data)

    def _put(self, kind: bytes, data: bytes) -> None:
        self._out.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
