"""Formats are told from what files hold, whatever the order, size and encoding of it."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from converters import convert, detect_format, read
from converters.io.outline import END, is_json_with
from samlabel.errors import FormatError

LARGE = 3 << 20  # characters, more than recognition looks at in one go
IMAGE = {"id": 1, "file_name": "a.png", "width": 8, "height": 6}
OBJECT = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 3], "area": 12, "iscrowd": 0}
COCO: dict[str, Any] = {
    "images": [IMAGE],
    "annotations": [OBJECT],
    "categories": [{"id": 1, "name": "cat"}],
}
MANY = [{**OBJECT, "id": n, "note": '[{\\"' * 8} for n in range(1, 30_000)]
CLASSES = [{"id": n, "name": f"class number {n}", "supercategory": "of many"} for n in range(1, 60_001)]
SHAPE = {"label": "cat", "points": [[1, 1], [5, 1], [5, 4]], "shape_type": "polygon"}
LABELME = {"imagePath": "a.png", "imageWidth": 8, "imageHeight": 6, "shapes": [SHAPE]}
SA1B = {
    "image": {"image_id": 1, "width": 8, "height": 6, "file_name": "a.png"},
    "annotations": [{"id": 1, "bbox": [1, 1, 4, 3], "segmentation": {"size": [6, 8], "counts": [7, 3, 38]}}],
}
REGION = {
    "id": "r",
    "type": "rectanglelabels",
    "from_name": "label",
    "to_name": "image",
    "original_width": 8,
    "original_height": 6,
    "value": {"x": 10, "y": 10, "width": 50, "height": 50, "rectanglelabels": ["cat"]},
}
TASKS = [{"id": 1, "data": {"image": "a.png"}, "annotations": [{"id": 1, "result": [REGION]}]}]
BEFORE = "A" * LARGE

# name -> (format, content)
CONTENTS: dict[str, tuple[str, Any]] = {
    "coco": ("coco", COCO),
    "coco-sorted": ("coco", dict(sorted(COCO.items()))),
    "coco-many-objects-first": ("coco", {"annotations": MANY, "categories": COCO["categories"], "images": [IMAGE]}),
    "coco-60000-classes-first": ("coco", {"categories": CLASSES, "images": [IMAGE], "annotations": [OBJECT]}),
    "coco-long-text-first": ("coco", {"info": {"note": BEFORE}, **COCO}),
    "coco-empty-sorted": ("coco", {"annotations": [], "categories": [], "images": []}),
    "labelme": ("labelme", LABELME),
    "labelme-sorted": ("labelme", dict(sorted(LABELME.items()))),
    "labelme-image-data-first": ("labelme", {"imageData": None, "flags": {"note": BEFORE}, **LABELME}),
    "sa1b": ("sa1b", SA1B),
    "sa1b-sorted": ("sa1b", dict(sorted(SA1B.items()))),
    "sa1b-long-text-first": ("sa1b", {"info": BEFORE, **SA1B}),
    "labelstudio": ("labelstudio", TASKS),
    "labelstudio-sorted": ("labelstudio", [dict(sorted(TASKS[0].items()))]),
    "labelstudio-long-text-first": ("labelstudio", [{"agreement": BEFORE, **TASKS[0]}]),
}


@pytest.mark.parametrize(("name", "content"), CONTENTS.values(), ids=CONTENTS)
def test_neither_order_of_keys_nor_size_hides_a_format(name: str, content: Any, tmp_path: Path) -> None:
    file = tmp_path / "labels.json"
    file.write_text(json.dumps(content))
    for place in (file, tmp_path):
        assert detect_format(place)[0].name == name


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("case", ["coco", "labelme", "sa1b", "labelstudio"])
def test_json_in_utf_16_is_read(case: str, encoding: str, tmp_path: Path) -> None:
    name, content = CONTENTS[case]
    file = tmp_path / "labels.json"
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    file.write_text(mark + json.dumps(content, ensure_ascii=False).replace('"cat"', '"鳥"'), encoding=encoding)
    assert detect_format(file)[0].name == name
    dataset = read(file)
    (record,) = dataset.records
    assert len(record.annotations) == 1
    assert all(category.name in ("鳥", "object") for category in dataset.categories)


XML = {
    "voc": (
        "<annotation><filename>a.png</filename><size><width>8</width><height>6</height><depth>3</depth></size><object>"
        "<name>鳥</name><bndbox><xmin>2</xmin><ymin>2</ymin><xmax>5</xmax><ymax>4</ymax></bndbox></object></annotation>"
    ),
    "cvat": (
        '<annotations><image id="0" name="a.png" width="8" height="6"><box label="鳥" xtl="1" ytl="1" xbr="5" ybr="4"/>'
        "</image></annotations>"
    ),
    "labelme": (
        "<annotation><filename>a.png</filename><object><name>鳥</name><deleted>0</deleted><polygon><pt><x>1</x><y>1"
        "</y></pt><pt><x>5</x><y>1</y></pt><pt><x>5</x><y>4</y></pt></polygon></object><imagesize><nrows>6</nrows>"
        "<ncols>8</ncols></imagesize></annotation>"
    ),
}


@pytest.mark.parametrize("declared", ["", '<?xml version="1.0" encoding="utf-16"?>'], ids=["bare", "declared"])
@pytest.mark.parametrize("name", XML)
def test_xml_in_utf_16_is_read(name: str, declared: str, tmp_path: Path) -> None:
    file = tmp_path / "a.xml"
    file.write_text(declared + XML[name], encoding="utf-16")
    assert detect_format(file)[0].name == name
    dataset = read(file)
    (record,) = dataset.records
    assert len(record.annotations) == 1
    assert [category.name for category in dataset.categories] == ["鳥"]


def test_xml_that_declares_another_encoding_than_it_has_is_told_so(tmp_path: Path) -> None:
    file = tmp_path / "a.xml"
    file.write_text('<?xml version="1.0" encoding="utf-8"?>' + XML["voc"], encoding="utf-16")
    with pytest.raises(FormatError, match="encoding specified in XML declaration is incorrect"):
        list(read(file).records)


def test_json_in_utf_16_without_a_mark_is_told_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(json.dumps(COCO).replace("cat", "é").encode("latin-1"))
    with pytest.raises(FormatError):
        list(read(file).records)
    file.write_bytes(json.dumps({**COCO, "info": "é"}, ensure_ascii=False).encode("latin-1"))
    with pytest.raises(FormatError, match="not UTF-8 text.*save it as UTF-8"):
        list(read(file).records)


def test_what_samlabel_writes_of_60000_classes_is_recognized(tmp_path: Path) -> None:
    source = tmp_path / "labels.json"
    source.write_text(json.dumps({**COCO, "categories": CLASSES}))
    convert(source, tmp_path / "out", to="coco", images="none")
    assert detect_format(tmp_path / "out")[0].name == "coco"


@pytest.mark.parametrize(
    "text",
    ['{"a": {"images": 1}}', '["images"]', '"images"', '{"a": "\\"images\\": ["}', "}{", '{"a": ', "", "\\", "]" * 9],
)
def test_a_word_elsewhere_is_no_key_of_the_top(text: str, tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text(text)
    assert not is_json_with(file, "{", lambda keys: "images" in keys or None)


@pytest.mark.parametrize("shift", range(12))
def test_keys_are_found_across_the_pieces_that_a_file_is_read_in(shift: int, tmp_path: Path) -> None:
    long = "\\\\" * ((1 << 17) - 10) + "x" * shift
    file = tmp_path / "a.json"
    file.write_text('{"a":"' + long + '","key":[{"in\\u0041ner":1,"inner" : "\\""}],"z":{"y":{"x":{"w":1}}}}')
    seen: set[str] = set()
    is_json_with(file, "{", lambda keys: seen.update(keys))
    assert seen - {"key.?"} >= {"a", "key", "key.inner", "z", "z.y", END}
    assert "w" not in seen


def test_recognition_holds_a_piece_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text(json.dumps({"annotations": [{"a": "[" * 50, "b": [1, 2]}] * 600_000, "z": 1}))
    tracemalloc.start()
    assert is_json_with(file, "{", lambda keys: "z" in keys or None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert file.stat().st_size > 40 << 20
    assert peak < 20 << 20
