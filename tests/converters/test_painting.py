"""Pictures of object numbers, painted, written and read a few rows at a time."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from converters.io import painting, png
from converters.io.painting import Painting, painted, save
from converters.io.png import read_numbered
from samlabel.errors import FormatError
from samlabel.geometry import polygons_to_mask
from samlabel.types import Mask
from tests.fuzz import bombs


def some_paintings(count: int, most: int) -> list[Painting]:
    rng = np.random.default_rng(5)
    found = []
    while len(found) < count:
        size = (int(rng.integers(1, 70)), int(rng.integers(1, 70)))
        masks = []
        for _ in range(int(rng.integers(1, 9))):
            number = int(rng.integers(1, most + 1))
            noise = Mask.from_pixels(rng.random(size) < rng.random())
            masks.append((number, noise if number % 2 else polygons_to_mask([rng.uniform(0, 70, 6)], size)))
        masks = list(dict(masks).items())
        found.append(painted([*masks, (most, masks[0][1])] if most not in dict(masks) else masks, size))
    return found


def plain(picture: Painting) -> np.ndarray:
    pixels = np.zeros(picture.size, dtype=np.uint16)
    for number, mask in picture.masks:
        pixels[mask.to_pixels()] = number
    return pixels


@pytest.mark.parametrize(("bits", "most"), [(8, 250), (16, 65535)])
@pytest.mark.parametrize("strip", [1, 100, 2**22])
@pytest.mark.parametrize("decoded", [1, 2**29], ids=["row by row", "by Pillow"])
def test_a_picture_is_painted_written_and_read_back(
    bits: int, most: int, strip: int, decoded: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(painting, "STRIP", strip)
    monkeypatch.setattr(png, "STRIP", strip)
    monkeypatch.setattr(png, "DECODED", decoded)
    for picture in some_paintings(20, most):
        wanted = plain(picture)
        assert picture.visible() == {number: np.count_nonzero(wanted == number) for number, _ in picture.masks}
        out = io.BytesIO()
        save(picture, out, bits=bits)
        with Image.open(io.BytesIO(out.getvalue())) as image:
            assert (np.asarray(image) == wanted).all()
        found = read_numbered(out.getvalue(), "a.png", np.asarray)
        assert found.numbers == sorted(set(wanted.ravel().tolist()) - {0}) and found.mask(70_000) is None
        for number in found.numbers:
            assert found.mask(number) == Mask.from_pixels(wanted == number)


def test_rows_of_every_filter_that_needs_no_other_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(png, "DECODED", 1)
    data = bombs.png(4, 2, rows=lambda y: b"\1\0\0\2")
    assert read_numbered(data, "a.png", np.asarray).numbers == [1, 2]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"no PNG", "not a readable PNG"),
        (bombs.png(40, 40)[:45], "not a readable PNG"),
        (bombs.png(2**21, 1, bits=1), "no size of an image"),
        (bombs.png(45_000, 40_000, bits=1), "row by row"),
    ],
    ids=["other bytes", "cut", "a side too long", "of 1 bit and too large"],
)
def test_a_picture_that_cannot_be_read_is_refused_in_one_line(data: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(FormatError, match=words) as caught:
        read_numbered(tmp_path / "a.png", str(tmp_path / "a.png"), np.asarray)
    assert "a.png: " in str(caught.value) and "\n" not in str(caught.value)


def test_stretches_beyond_all_measure_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(png, "SEGMENTS", 1000)
    data = bombs.png(100, 100, rows=lambda y: bytes([y % 2]) * 100)
    with pytest.raises(FormatError, match="more than 1000 stretches"):
        read_numbered(data, "a.png", np.asarray)
