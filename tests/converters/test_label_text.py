"""Label files as other systems leave them: byte-order marks, CRLF, backslashes; and what is refused in any of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import converters
from samlabel.errors import FormatError, SamlabelError
from tests.converters.cases import drawn, seen

TEXT = [name for name in converters.names() if name != "parquet"]
SUFFIXES = (".json", ".xml", ".txt", ".yaml")


def written(name: str, case: str, folder: Path) -> Path:
    converters.write(drawn(case, folder / "photos"), folder / "labels", name, images="copy")
    return folder / "labels"


def change(path: Path, old: bytes, new: bytes) -> int:
    """Replace `old` in every text file below `path`; how often it was there."""
    count = 0
    for file in path.rglob("*"):
        if file.suffix in SUFFIXES:
            data = file.read_bytes()
            count += data.count(old)
            file.write_bytes(data.replace(old, new))
    return count


@pytest.mark.parametrize("name", TEXT)
def test_a_byte_order_mark_changes_nothing(name: str, tmp_path: Path) -> None:
    path = written(name, "names", tmp_path)
    want = seen(converters.read(path, name), frozenset())
    files = [file for file in path.rglob("*") if file.suffix in SUFFIXES and file.stat().st_size]
    for file in files:
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert files
    assert converters.detect_format(path)[0].name == name
    assert seen(converters.read(path), frozenset()) == want


@pytest.mark.parametrize("name", TEXT)
def test_lines_that_end_as_on_windows_change_nothing(name: str, tmp_path: Path) -> None:
    path = written(name, "names", tmp_path)
    want = seen(converters.read(path, name), frozenset())
    assert change(path, b"\n", b"\r\n")
    assert converters.detect_format(path)[0].name == name
    assert seen(converters.read(path), frozenset()) == want


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("coco", b"sub dir/", b"sub dir\\\\"),
        ("cvat", b"sub dir/", b"sub dir\\"),
        ("labelme", b'"imagePath":"', b'"imagePath":".\\\\'),
        ("labelstudio", b"sub%20dir/", b"sub%20dir%5C"),
        ("png", b"sub dir/", b"sub dir\\\\"),
        ("sa1b", b'"file_name":"', b'"file_name":".\\\\'),
        ("voc", b"sub dir/", b"sub dir\\"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_backslashes_separate_folders(name: str, old: bytes, new: bytes, tmp_path: Path) -> None:
    path = written(name, "names", tmp_path)
    want = seen(converters.read(path, name), frozenset())
    assert change(path, old, new)
    assert seen(converters.read(path, name), frozenset()) == want


@pytest.mark.parametrize(
    "climb", [b"../../b", b"/etc/b", b"C:/b", b"..\\\\..\\\\b"], ids=["..", "root", "drive", "windows .."]
)
@pytest.mark.parametrize("name", [name for name in TEXT if name != "yolo"])
def test_an_image_name_that_leaves_the_dataset_is_refused(name: str, climb: bytes, tmp_path: Path) -> None:
    path = written(name, "empty image", tmp_path)
    if name in ("cvat", "voc"):
        climb = climb.replace(b"\\\\", b"\\")
    if name == "labelstudio":
        climb = climb.replace(b"\\\\", b"%5C")
    old = {"labelme": b'"imagePath":"b', "voc": b"<filename>b", "cvat": b'name="b', "labelstudio": b"?d=b"}
    before = old.get(name, b'"file_name":"b')
    assert change(path, before, before[:-1] + climb) == 1
    with pytest.raises(FormatError, match=r"leaves the dataset|leads out") as refusal:
        list(converters.read(path, name).records)
    assert "\n" not in str(refusal.value)


BOMB = (
    b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">'
    b'<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;"><!ENTITY d "&c;&c;&c;&c;&c;&c;&c;&c;">]>'
)
FETCH = b'<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/hostname">]>'


@pytest.mark.parametrize("declared", [BOMB, FETCH, b"<!DOCTYPE annotation>"], ids=["bomb", "file", "document type"])
@pytest.mark.parametrize("name", ["cvat", "voc", "labelstudio"])
def test_xml_that_declares_entities_or_a_document_type_is_refused(name: str, declared: bytes, tmp_path: Path) -> None:
    path = written(name, "hole", tmp_path)
    file = next(path.rglob("*.xml"))
    data = file.read_bytes()
    start = data.index(b"?>") + 2 if data.startswith(b"<?xml") else 0
    file.write_bytes(data[:start] + declared + data[start:].replace(b"cat", b"&d;" if declared is BOMB else b"&f;"))
    with pytest.raises(FormatError, match="declares a document type or entities"):
        list(converters.read(path, name).records)


@pytest.mark.parametrize("name", ["cvat", "voc"])
def test_truncated_xml_is_named_with_its_line(name: str, tmp_path: Path) -> None:
    path = written(name, "hole", tmp_path)
    file = next(path.rglob("*.xml"))
    file.write_bytes(file.read_bytes()[:-15])
    with pytest.raises(FormatError, match=rf"{file.name}:\d+: broken XML"):
        list(converters.read(path, name).records)


@pytest.mark.parametrize("name", ["cvat", "voc"])
def test_a_name_that_xml_cannot_write_is_refused_before_anything_is_written(name: str, tmp_path: Path) -> None:
    dataset = drawn("hole", tmp_path / "photos")
    categories = (replace(dataset.categories[0], name="cat\x01"), *dataset.categories[1:])
    with pytest.raises(SamlabelError, match="XML cannot write"):
        converters.write(replace(dataset, categories=categories), tmp_path / "out", name, images="none")
    assert not list((tmp_path / "out").rglob("*.xml"))


@pytest.mark.parametrize("name", ["cvat", "labelme", "labelstudio", "voc"])
def test_two_categories_of_one_name_are_refused_where_names_are_all_there_is(name: str, tmp_path: Path) -> None:
    dataset = drawn("hole", tmp_path / "photos")
    categories = (*dataset.categories, replace(dataset.categories[0], id=4))
    with pytest.raises(SamlabelError, match="two categories are called 'cat'"):
        converters.write(replace(dataset, categories=categories), tmp_path / "out", name, images="none")


@pytest.mark.parametrize("name", converters.names())
def test_a_name_of_markup_and_quotes_comes_back(name: str, tmp_path: Path) -> None:
    names = ("<b>&amp;\"'", "a\\b", "100 %", "#7", "x:1,2,3:y:z", "- yes")
    dataset = drawn("hole", tmp_path / "photos")
    categories = tuple(replace(dataset.categories[0], id=n, name=text) for n, text in enumerate(names, start=1))
    converters.write(replace(dataset, categories=categories), tmp_path / "out", name, images="copy")
    assert [c.name for c in converters.read(tmp_path / "out", name).categories] == list(names)


ODD: dict[str, object] = {
    "flags": 5,
    "description": [1],
    "label": "x",
    "points": {},
    "mask": 0,
    "number": 9,
    "box": "b",
    "segmentations": [],
    "other_shapes": 7,
    "attributes": 3,
    "occluded": "yes",
    "pose": 4,
    "difficult": [],
    "meta": None,
    "value": 1,
}
ODD_IMAGE: dict[str, object] = {
    "flags": [1],
    "version": 2,
    "shapes": "none",
    "objects": 1,
    "mask": "m",
    "other_shapes": [{"type": "points", "a b": 1}, 5],
}


@pytest.mark.parametrize("name", converters.names())
def test_further_fields_with_names_that_a_format_uses_itself_do_no_harm(name: str, tmp_path: Path) -> None:
    dataset = drawn("hole", tmp_path / "photos")
    (record,) = dataset.records
    annotation = replace(record.annotations[0], id=1, extra=ODD)
    odd = replace(dataset, records=[replace(record, annotations=(annotation,), extra=ODD_IMAGE)])
    converters.write(odd, tmp_path / "out", name, images="copy")
    keeps = converters.get(name).capabilities.keeps
    assert seen(converters.read(tmp_path / "out", name), keeps) == seen(odd, keeps)
