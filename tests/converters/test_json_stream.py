"""Large JSON files in pieces: the same values as the json module, whatever the size of a piece."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

import converters
from converters.io.files import read_json
from converters.io.json_stream import JsonFile
from samlabel.errors import FormatError
from tests.converters.cases import CASES, drawn, seen

CONTENT: dict[str, Any] = {
    "info": {"a": [1, {"b": "}, {"}], "c": None},
    "images": [{"id": n, "file_name": f'{n} "é" 鳥 \\.png'} for n in range(30)],
    "number": -12.5e3,
    "empty": [],
    "annotations": [
        {"id": n, "segmentation": [[n + 0.25] * 6, [1e-7, 2]], "tags": [{"x": 1}, {"x": 2}], "text": "], [{,\n"}
        for n in range(200)
    ],
    "text": "é" * 50,
    "truth": [True, False, None],
}


def read_all(file: Path, **options: Any) -> dict[str, Any]:
    with JsonFile(file, lists=("images", "annotations", "empty"), **options) as content:
        return {key: list(value) if hasattr(value, "__next__") else value for key, value in content}


@pytest.mark.parametrize("fast", [True, False], ids=["orjson", "json"])
@pytest.mark.parametrize("chunk", [1, 7, 64, 1000, 1 << 20])
@pytest.mark.parametrize("indent", [None, 1], ids=["compact", "indented"])
def test_the_values_are_those_of_json(
    chunk: int, indent: int | None, fast: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not fast:
        monkeypatch.setattr("converters.io.json_stream._fast_loads", lambda: None)
    file = tmp_path / "in.json"
    file.write_text("\ufeff" + json.dumps(CONTENT, indent=indent, ensure_ascii=False) + " \r\n", encoding="utf-8")
    if chunk < 64:
        small = {**CONTENT, "annotations": CONTENT["annotations"][:5]}
        file.write_text(json.dumps(small, indent=indent), encoding="utf-8")
        assert read_all(file, chunk=chunk) == small
    else:
        assert read_all(file, chunk=chunk) == CONTENT


@pytest.mark.parametrize("chunk", [16, 1 << 20])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"images": [{"a": 1}, {"a": }]}', ":1: broken JSON: Expecting value"),
        ('{"images": [{"a": 1} {"a": 2}]}', "',' delimiter"),
        ('{"images": [\n{"a": 1},\n{"a" 2}]}', ":3: broken JSON"),
        ('{"images": [{"a": 1}]', "broken JSON"),
        ('{"images": [{"a": "x', "Unterminated string"),
        ('{"images": []} x', "Extra data"),
        ('{"images": [NaN]}', "NaN is not a JSON number"),
        ('{"images": [1,]}', "Expecting value"),
        ("{1: 2}", "property name"),
        ('{"a" 1}', "':' delimiter"),
        ("[]", "wanted a JSON object"),
        ("", "Expecting value"),
        ('{"a": ' + "[" * 200_000, "nested too deep"),
        ('{"images": [' + '{"a":' * 200_000, "nested too deep"),
    ],
    ids=lambda value: value[:30],
)
def test_a_fault_is_one_line_with_its_place(text: str, words: str, chunk: int, tmp_path: Path) -> None:
    if len(text) > 1000 and chunk < 1000:
        pytest.skip("one size is enough")
    file = tmp_path / "in.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(FormatError) as error:
        read_all(file, chunk=chunk)
    assert words in str(error.value) and "\n" not in str(error.value) and str(file) in str(error.value)


@pytest.mark.parametrize("order", ["images first", "annotations first", "shuffled"])
def test_objects_come_to_their_images_in_whatever_order_the_file_has_them(
    order: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("converters.io.spool.SPOOL_MEMORY", 100)  # to a temporary file at once
    images = [{"id": 50 - n, "file_name": f"{n:02}.png", "width": 32, "height": 24} for n in range(20)]
    objects = [
        {
            "id": n,
            "image_id": 50 - n % 20,
            "category_id": 1,
            "bbox": [n % 7, 0, 4, 4],
            "segmentation": [[n % 7, 0, n % 7 + 4, 0, n % 7 + 4, 4.5]],
        }
        for n in range(100)
    ]
    if order == "shuffled":
        random.Random(0).shuffle(objects)
        random.Random(1).shuffle(images)
    content = {"images": images, "annotations": objects, "categories": [{"id": 1, "name": "x"}]}
    if order == "annotations first":
        content = dict(reversed(content.items()))
    file = tmp_path / "in.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    dataset = converters.read(file)
    for _ in range(2):
        found = {r.id: [a.id for a in r.annotations] for r in dataset.records}
        assert found == {
            image["id"]: [o["id"] for o in objects if o["image_id"] == image["id"]]
            for image in sorted(images, key=lambda i: i["file_name"])
        }
        assert list(found) == [50 - n for n in range(20)]


def test_reading_holds_no_objects_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tracemalloc

    monkeypatch.setattr("converters.io.spool.SPOOL_MEMORY", 1000)
    monkeypatch.setattr("converters.io.json_stream.CHUNK", 20_000)

    def file_of(count: int) -> Path:
        ring = [[float(n) for n in range(200)]]
        images = [{"id": n, "file_name": f"{n}.png", "width": 500, "height": 500} for n in range(10)]
        objects = [
            {"id": n, "image_id": n % 10, "category_id": 1, "bbox": [0, 0, 4, 4], "segmentation": ring}
            for n in range(count)
        ]
        file = tmp_path / f"{count}.json"
        file.write_text(json.dumps({"images": images, "annotations": objects, "categories": [{"id": 1, "name": "x"}]}))
        return file

    peaks = []
    for count in (1500, 4500):  # 2.4 and 7 MB of points; a megabyte waits to be written
        file = file_of(count)
        tracemalloc.start()
        converters.read(file)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 500_000


@pytest.mark.parametrize("case", CASES)
def test_coco_comes_back_the_same_in_pieces(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("converters.io.json_stream.CHUNK", 50)
    dataset = drawn(case, tmp_path / "photos")
    converters.write(dataset, tmp_path / "out.json", "coco")
    keeps = converters.get("coco").capabilities.keeps
    assert seen(converters.read(tmp_path / "out.json", image_root=tmp_path / "photos"), keeps) == seen(dataset, keeps)


def test_a_number_that_is_none_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "in.json"
    file.write_text('{"images": [\n{"a": 1},\n{"a": NaN}\n]}', encoding="utf-8")
    with pytest.raises(FormatError, match=r"in\.json:3: broken JSON: NaN is not a JSON number"):
        read_all(file, chunk=16)
    with pytest.raises(FormatError, match=r"in\.json:3: broken JSON: NaN is not a JSON number"):
        read_json(file)
