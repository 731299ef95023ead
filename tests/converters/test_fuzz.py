"""Damaged label files of every format: one clear line or a dataset, never a traceback, a hang or a write.

A few hundred damaged inputs a format by default; SAMLABEL_FUZZ=20000 makes it that many inputs in all.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import converters
from converters._brush import brush_decode, brush_encode
from converters._shapes import from_row_runs, row_runs
from samlabel.errors import SamlabelError
from samlabel.types import Dataset
from tests.converters.cases import CASES, LETTERS, drawn, files_of

FORMATS = converters.names()
ROUNDS = int(os.environ.get("SAMLABEL_FUZZ", "0")) // len(FORMATS) + 1 if "SAMLABEL_FUZZ" in os.environ else 120
SECONDS = 10.0  # far more than any input needs, on any machine

WORDS = (
    b"NaN", b"Infinity", b"-1", b"1e308", b"1e999", b"0", b"", b"null", b"true", b"[]", b"{}", b'""', b"\x00",
    b"\xff\xfe", b"99999999999999999999",
    b"2147483648", b"../../x", b"C:\\x.png", b"/etc/passwd", b"\xef\xbb\xbf", b"\r", b"&amp;",
    b'<!DOCTYPE a [<!ENTITY b "c">]>', b"&b;", b"<a>", b"]]>", b"\xf0\x9f\x8d\x95", b",", b'"', b"[[[[[[[[", b"-0.0",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**31, 2**63, 10**30, 1.5, -1e308, "", "x", "../../x", "NaN", "0", [], {}, [None], [[]],
    [1, 2], [[0, 0], [5, 5]], {"size": [1, 1], "counts": "0"}, {"counts": [1, 2]}, "\ud800", "a\x00b", "/", ".",
)  # fmt: skip


def seed(name: str, folder: Path) -> Path:
    """A small dataset in the format, with what the format can hold."""
    records = []
    for place, case in enumerate(("hole", "scores", "boxes among masks", "empty image", "further fields")):
        drawn(case, folder / "photos" / f"{place}")
        records += [type(r)(f"{place}/{r.path}", r.size, r.annotations, r.id, r.extra) for r in CASES[case][1]]
    dataset = Dataset(LETTERS, records, folder / "photos")
    converters.write(dataset, folder / "labels", name, images="copy")
    return folder / "labels"


def nodes(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place (container, key) in a JSON value."""
    for key in range(len(value)) if isinstance(value, list) else list(value) if isinstance(value, dict) else ():
        yield value, key
        yield from nodes(value[key])


def damage_json(data: bytes, rng: random.Random) -> bytes:
    value = json.loads(data)
    places = list(nodes(value))
    if not places:
        return b"[" + data
    container, key = rng.choice(places)
    choice = rng.random()
    if choice < 0.2:
        del container[key]
    elif choice < 0.3 and isinstance(container, list):
        container.append(container[key])
    else:
        container[key] = rng.choice(VALUES)
    return json.dumps(value).encode("utf-8", "surrogatepass")


def damage_words(data: bytes, rng: random.Random) -> bytes:
    """One number, name or text between quotes replaced by something that does not belong there."""
    found = list(re.finditer(rb'"[^"]*"|>[^<]+<|[-+.0-9]+|[A-Za-z_]+', data))
    if not found:
        return data + rng.choice(WORDS)
    match = rng.choice(found)
    start, end = match.span()
    if data[start : start + 1] in (b'"', b">"):
        start, end = start + 1, end - 1
    return data[:start] + rng.choice(WORDS) + data[end:]


def damage_bytes(data: bytes, rng: random.Random) -> bytes:
    size = len(data)
    start = rng.randrange(size + 1)
    stop = min(size, start + rng.randrange(1, 40))
    choice = rng.randrange(5)
    if choice == 0:
        return data[:start]
    if choice == 1:
        return data[:start] + data[stop:]
    if choice == 2:
        return data[:stop] + data[start:]
    if choice == 3:
        return data[:start] + bytes(rng.randrange(256) for _ in range(stop - start)) + data[stop:]
    return data[:start] + rng.choice(WORDS) + data[start:]


def damaged(data: bytes, suffix: str, rng: random.Random) -> bytes:
    ways = [damage_bytes]
    if suffix == ".json":
        ways += [damage_json] * 4 + [damage_words] * 2
    elif suffix in (".xml", ".txt", ".yaml", ".jsonl"):
        ways += [damage_words] * 4
    return rng.choice(ways)(data, rng)


def outcome(path: Path, name: str | None) -> str:
    """What reading says: "read", or the one line of a SamlabelError. Anything else fails the test."""
    began = time.monotonic()
    try:
        for record in converters.read(path, name).records:
            for annotation in record.annotations:
                assert annotation.mask is None or annotation.mask.area >= 0
        said = "read"
    except SamlabelError as error:
        said = str(error)
    assert time.monotonic() - began < SECONDS
    assert said and "\n" not in said
    return said


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files_are_read_or_refused_in_one_line(name: str, tmp_path: Path) -> None:
    path = seed(name, tmp_path)
    labels = [f for f, data in files_of(path).items() if data and not f.startswith(("images/", "JPEGImages/"))]
    labels = [f for f in labels if not (name in ("labelme", "sa1b") and f.endswith(".png"))]
    before = files_of(tmp_path)
    rng = random.Random(f"{name} 1")
    refused = 0
    for turn in range(ROUNDS):
        file = rng.choice(labels)
        good = (path / file).read_bytes()
        bad = damaged(good, Path(file).suffix, rng)
        (path / file).write_bytes(bad)
        try:
            said = outcome(path, name)
            if turn % 4 == 0:
                outcome(path, None)
            if said == "read" and turn % 4 == 1:
                convert_what_was_read(path, name, tmp_path)
        except Exception as error:
            raise AssertionError(f"turn {turn}, {file}: {error!r}; the file was {bad[:2000]!r}") from error
        finally:
            (path / file).write_bytes(good)
        refused += said != "read"
    assert files_of(tmp_path) == before  # reading changes nothing
    assert refused > ROUNDS / 10


def convert_what_was_read(path: Path, name: str, folder: Path) -> None:
    """What was read without complaint is written without a traceback, and only below its target."""
    outside = files_of(folder)
    try:
        converters.write(converters.read(path, name), folder / "target", "coco", images="none")
    except SamlabelError as error:
        assert "\n" not in str(error)
    shutil.rmtree(folder / "target", ignore_errors=True)
    assert files_of(folder) == outside


@pytest.mark.photos
@pytest.mark.parametrize("place", ["labelme_real", "cvat_dataset/for_images/export_project", "voc_dataset/voc_dataset1",
                                   "roboflow_dataset/voc", "coco_dataset/coco_person_keypoints/annotations/"
                                   "person_keypoints_val.json", "roboflow_dataset/yolo"])  # fmt: skip
def test_damaged_files_of_other_tools_are_read_or_refused(place: str, photos_data: Path, tmp_path: Path) -> None:
    source = photos_data / "fixtures" / place
    path = tmp_path / source.name
    if source.is_dir():
        shutil.copytree(source, path, copy_function=shutil.copyfile)
        for folder in [path, *path.rglob("*")]:
            folder.chmod(0o755)
    else:
        shutil.copyfile(source, path)
    name = converters.detect_format(path)[0]
    texts = (
        [path]
        if path.is_file()
        else [f for f in sorted(path.rglob("*")) if f.suffix in (".json", ".xml", ".txt", ".yaml")]
    )
    rng = random.Random(place)
    for turn in range(ROUNDS):
        file = rng.choice([f for f in texts if f.stat().st_size])
        good = file.read_bytes()
        bad = damaged(good, file.suffix, rng)
        file.write_bytes(bad)
        try:
            outcome(path, name)
        except Exception as error:
            raise AssertionError(f"turn {turn}, {file}: {error!r}; the file was {bad[:2000]!r}") from error
        finally:
            file.write_bytes(good)


QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@QUICK
@given(st.integers(1, 12), st.integers(1, 12), st.data())
def test_brushes_come_back_for_any_pixels(height: int, width: int, data: st.DataObject) -> None:
    bits = data.draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
    pixels = np.array(bits).reshape(height, width)
    assert (brush_decode(bytes(brush_encode(pixels)), (height, width)) == pixels).all()
    assert (from_row_runs(np.array(row_runs(pixels)), height, width) == pixels).all()


@QUICK
@given(st.binary(max_size=200), st.integers(1, 40), st.integers(1, 40))
def test_any_bytes_are_a_brush_of_that_size_or_a_value_error(data: bytes, height: int, width: int) -> None:
    header = (height * width * 4).to_bytes(4, "big")
    for candidate in (data, header + data):
        try:
            assert brush_decode(candidate, (height, width)).shape == (height, width)
        except ValueError as error:
            assert str(error)


def test_a_brush_of_a_run_beyond_16_bits_comes_back() -> None:
    pixels = np.zeros((300, 300), bool)
    pixels[10:290] = True
    assert (brush_decode(bytes(brush_encode(pixels)), pixels.shape) == pixels).all()
