"""Label Studio's brush format: the RGBA bytes of a mask, row by row, in the bit stream of @thi.ng/rle-pack.

https://www.npmjs.com/package/@thi.ng/rle-pack. A header holds the count of values (32 bits), the bits of a value less
one (5), and the bits of four sizes less one (4 each). Then come blocks: one bit for a run, two for the size to use, the
count less one in that many bits, and the value, once for a run, else every value. Alpha above 0 is inside the mask.
"""

from __future__ import annotations

import numpy as np

from samlabel.geometry import RUNS_MAX
from samlabel.types import Size

_SIZES = (3, 4, 8, 16)
_LONGEST = 1 << 16


def brush_encode(runs: np.ndarray) -> list[int]:
    """The bytes that stand for run lengths row by row: four times 255 for each pixel inside, four times 0 outside."""
    values = np.where(np.arange(len(runs)) % 2 == 1, 255, 0)[runs > 0]
    lengths = 4 * runs[runs > 0]
    total = int(lengths.sum())
    pieces = -(-lengths // _LONGEST)  # a run of more values than 16 bits count is cut
    value = np.repeat(values, pieces)
    count = np.full(len(value), _LONGEST)
    count[np.cumsum(pieces) - 1] = lengths - (pieces - 1) * _LONGEST
    size = np.searchsorted([1 << bits for bits in _SIZES], count - 1, side="right")
    width = np.array(_SIZES)[size]
    code = (((0b100 | size) << width | (count - 1)) << 8) | value
    bits = 3 + width + 8
    header = total << 21 | 7 << 16 | sum((s - 1) << (4 * (3 - i)) for i, s in enumerate(_SIZES))
    places = np.arange(int(bits.max()) - 1, -1, -1)
    stream = ((code[:, None] >> places) & 1)[places < bits[:, None]]
    start = np.array([header >> place & 1 for place in range(52, -1, -1)])
    return np.packbits(np.concatenate((start, stream)).astype(np.uint8)).tolist()


def brush_decode(data: bytes, size: Size) -> np.ndarray:
    """The run lengths row by row, background first, of brush bytes; ValueError when they are of no such RGBA image.

    Nothing is allocated for what the header claims: a run is one number here.
    """
    height, width = size
    total = len(data) * 8
    stream = data + bytes(8)

    def number(at: int, bits: int) -> int:
        first = at >> 3
        return int.from_bytes(stream[first : first + 8], "big") >> (64 - bits - (at & 7)) & ((1 << bits) - 1)

    if total < 53:
        raise ValueError(f"{len(data)} bytes are too few for a brush mask")
    count = number(0, 32)
    if count != 4 * height * width:
        raise ValueError(
            f"a brush mask of {count} values; {width}x{height} pixels of red, green, blue, alpha have "
            f"{4 * height * width}"
        )
    word = number(32, 5) + 1
    sizes = [number(37 + 4 * i, 4) + 1 for i in range(4)]
    at, done = 53, 0
    inside: list[bool] = []
    runs: list[int] = []
    while done < count:
        bits = sizes[number(at + 1, 2)]
        length = number(at + 3, bits) + 1
        is_run = number(at, 1)
        at += 3 + bits
        end = done + length
        if end > count or at + word * (1 if is_run else length) > total:
            raise ValueError("brush bytes end in the middle, or hold more values than their header says")
        if is_run:
            inside.append(number(at, word) > 0)
            runs.append(end // 4 - done // 4)  # every fourth value is an alpha
            at += word
        else:
            for place in range(done + (3 - done) % 4, end, 4):
                inside.append(number(at + word * (place - done), word) > 0)
                runs.append(1)
            at += word * length
        done = end
        if len(runs) > RUNS_MAX:
            raise ValueError(f"a brush of more than {RUNS_MAX} runs; expected fewer")
    ends = np.cumsum(runs)
    changes = np.flatnonzero(np.diff(np.array(inside), prepend=False))
    starts = np.concatenate(([0], ends))[changes]
    return np.diff(np.concatenate(([0], starts, [height * width])))
