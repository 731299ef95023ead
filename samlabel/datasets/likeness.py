"""Photos that look alike, found by a hash of what they show."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np

from ..decoders import open_header
from ..sources.images import MAX_PIXELS

BITS = 128
NEAR = 8  # bits that two hashes of one photo may differ in: saved again, resized, a little brighter
_BANDS = NEAR + 1  # hashes that differ in 8 bits agree in at least one of 9 bands


def picture_hash(file: Path) -> int | None:
    """128 bits that hardly change when a photo is resized, compressed or lightened; None without a picture or detail.

    A difference hash: whether brightness rises from one cell of a coarse grid to the next, along rows and columns.
    http://www.hackerfactor.com/blog/index.php?/archives/529-Kind-of-Like-That.html
    """
    from PIL import Image, ImageOps

    try:
        if not file.is_file():  # a pipe would wait for its writer
            return None
        with file.open("rb") as stream:
            image = open_header(stream)
            if image is None or image.width * image.height > MAX_PIXELS:
                return None
            image.draft("L", (72, 72))
            grey = ImageOps.exif_transpose(image).convert("L")
            wide = np.asarray(grey.resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
            tall = np.asarray(grey.resize((8, 9), Image.Resampling.BOX), dtype=np.int16)
    except Exception:  # decoders raise what they like on damaged files; such a photo is like no other
        return None
    if wide.max() - wide.min() < 8:  # an empty sheet is like every other empty sheet
        return None
    bits = np.concatenate(((np.diff(wide, axis=1) > 0).ravel(), (np.diff(tall, axis=0) > 0).ravel()))
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def groups_of_like(hashes: Mapping[str, int | None]) -> list[list[str]]:
    """Names in groups of those whose hashes lie within NEAR bits of each other, chains included; singles are groups."""
    names = list(hashes)
    leader = list(range(len(names)))

    def find(n: int) -> int:
        while leader[n] != n:
            leader[n] = leader[leader[n]]
            n = leader[n]
        return n

    known = [(number, value) for number, name in enumerate(names) if (value := hashes[name]) is not None]
    edges = [round(BITS * band / _BANDS) for band in range(_BANDS + 1)]
    for low, high in pairwise(edges):
        buckets: dict[int, list[tuple[int, int]]] = {}
        for number, value in known:
            buckets.setdefault((value >> low) & ((1 << (high - low)) - 1), []).append((number, value))
        for bucket in buckets.values():
            for place, (number, value) in enumerate(bucket):
                for other, there in bucket[:place]:
                    if find(number) != find(other) and bin(value ^ there).count("1") <= NEAR:
                        leader[find(number)] = find(other)
    groups: dict[int, list[str]] = {}
    for number, name in enumerate(names):
        groups.setdefault(find(number), []).append(name)
    return list(groups.values())
