"""Pascal VOC, pictures of object numbers, and Parquet: what they hold, and files by other hands."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import converters
from converters.formats.voc.reader import palette
from samlabel.errors import FormatError, MissingDependency, UsageError
from samlabel.types import Annotation, Category, Dataset, ImageRecord
from tests.converters.cases import HOLED, LETTERS, SIZE, TWO, drawn, one, rectangle, thing


def only(path: Path, name: str | None = None) -> ImageRecord:
    (record,) = converters.read(path, name).records
    return record


def voc_file(
    folder: Path, body: str, size: str = "<size><width>32</width><height>24</height><depth>3</depth></size>"
) -> Path:
    (folder / "Annotations").mkdir(parents=True, exist_ok=True)
    text = f"<annotation><folder>x</folder><filename>a.png</filename>{size}{body}</annotation>"
    (folder / "Annotations" / "a.xml").write_text(text, encoding="utf-8")
    return folder


def item(name: str, *box: float, more: str = "") -> str:
    given = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=False)  # a box may lack its last sides
    sides = "".join(f"<{side}>{value}</{side}>" for side, value in given)
    return f"<object><name>{name}</name><bndbox>{sides}</bndbox>{more}</object>"


def test_voc_counts_pixels_from_1_and_includes_the_last(tmp_path: Path) -> None:
    record = only(voc_file(tmp_path, item("a", 1, 1, 1, 1) + item("a", 3, 4, 32, 24) + item("a", 0, 0, 5, 5)))
    assert [a.box for a in record.annotations] == [(0, 0, 1, 1), (2, 3, 32, 24), (0, 0, 5, 5)]


def test_voc_pictures_give_each_object_its_mask_and_class(tmp_path: Path) -> None:
    dataset = Dataset(LETTERS, one(thing(HOLED, 90), thing(TWO, 3), Annotation(1, (0, 0, 5, 5))))
    converters.write(dataset, tmp_path, "voc", images="none")
    objects = np.asarray(Image.open(tmp_path / "SegmentationObject" / "a.png"))
    classes = np.asarray(Image.open(tmp_path / "SegmentationClass" / "a.png"))
    assert Image.open(tmp_path / "SegmentationClass" / "a.png").mode == "P"
    assert (set(np.unique(objects)), set(np.unique(classes))) == ({0, 1, 2}, {0, 3, 2})
    assert ((objects == 2) == TWO.to_pixels()).all()  # the smaller one is in front
    assert (tmp_path / "ImageSets" / "Segmentation" / "trainval.txt").read_text() == "a\n"


def test_voc_masks_that_overlap_are_counted_before_anything_is_written(tmp_path: Path) -> None:
    records = [ImageRecord("a.png", SIZE, (thing(rectangle(0, 0, 20, 20)), thing(rectangle(10, 10, 15, 15), 3)))]
    converters.write(Dataset(LETTERS, records), tmp_path / "in.json", "coco")
    receipt = converters.convert(tmp_path / "in.json", tmp_path / "out", to="voc", images="none", dry_run=True)
    assert receipt.losses == {"mask-changed": 1}
    assert not (tmp_path / "out").exists()


def test_voc_pictures_in_colours_are_read_by_the_palette(tmp_path: Path) -> None:
    assert palette()[:5].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128]]
    path = voc_file(tmp_path, item("a", 1, 1, 5, 5) + item("b", 1, 1, 5, 5))
    numbers = np.zeros(SIZE, np.uint8)
    numbers[3:9, 4:7], numbers[20:, :2], numbers[0] = 1, 2, 255
    (path / "SegmentationObject").mkdir()
    Image.fromarray(palette()[numbers]).save(path / "SegmentationObject" / "a.png")
    assert [a.mask.area for a in only(path).annotations] == [18, 8]
    Image.fromarray(np.full((*SIZE, 3), 77, np.uint8)).save(path / "SegmentationObject" / "a.png")
    with pytest.raises(FormatError, match="none of VOC's palette"):
        only(path)


def test_voc_without_pictures_has_boxes_and_polygons(tmp_path: Path) -> None:
    points = "".join(
        f"<x{n}>{x}</x{n}><y{n}>{y}</y{n}>" for n, (x, y) in enumerate([(5, 5), (11, 5), (11, 11), (5, 11)], 1)
    )
    record = only(
        voc_file(tmp_path, item("a", 2, 2, 9, 9) + item("a", 5, 5, 10, 10, more=f"<polygon>{points}</polygon>"))
    )
    assert [a.mask and a.mask.box for a in record.annotations] == [None, (4, 4, 10, 10)]


def test_what_else_a_voc_object_says_is_kept(tmp_path: Path) -> None:
    more = "<difficult>1</difficult><truncated>0</truncated><pose>Left</pose><part><name>head</name></part>"
    (annotation,) = only(voc_file(tmp_path / "in", item("a", 1, 1, 5, 5, more=more))).annotations
    assert annotation.extra == {"difficult": "1", "pose": "Left", "part": [{"name": "head"}]}
    converters.convert(tmp_path / "in", tmp_path / "out", to="voc", images="none")
    (again,) = only(tmp_path / "out").annotations
    assert again.extra == {"difficult": "1", "pose": "Left"}


def test_a_voc_image_of_unknown_size_is_measured_or_asked_for(tmp_path: Path) -> None:
    path = voc_file(tmp_path, item("a", 1, 1, 5, 5), size="")
    with pytest.raises(FormatError, match="no size, and no image a.png"):
        only(path)
    (path / "JPEGImages").mkdir()
    Image.new("RGB", (32, 24)).save(path / "JPEGImages" / "a.png")
    assert only(path).size == (24, 32)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (item("a", 5, 5, 1, 1), "negative width"),
        (item("a", 5, 5, 9), "ymax is None"),
        (item("a", "nan", 5, 9, 9), "finite number"),
        ("<object><name>a</name><polygon><x1>1</x1><y1>2</y1></polygon></object>", "three points"),
    ],
    ids=["turned over", "missing", "nan", "point"],
)
def test_a_wrong_voc_object_is_named(body: str, words: str, tmp_path: Path) -> None:
    path = voc_file(tmp_path, item("a", 1, 1, 5, 5) + body)
    with pytest.raises(FormatError, match=words) as refusal:
        only(path)
    assert "a.xml: object 2" in str(refusal.value)


def test_voc_pictures_have_no_room_for_255_classes(tmp_path: Path) -> None:
    categories = tuple(Category(n, f"c{n}") for n in range(255))
    with pytest.raises(UsageError, match="255 categories"):
        converters.write(Dataset(categories, []), tmp_path / "out", "voc")


def test_numbers_of_16_bits_tell_300_objects_apart(tmp_path: Path) -> None:
    dots = [thing(rectangle(x, y, x + 1, y + 1)) for y in range(24) for x in range(32)][:300]
    converters.write(Dataset(LETTERS, one(*dots)), tmp_path, "png")
    picture = np.asarray(Image.open(tmp_path / "masks" / "a.png"))
    assert picture.dtype == np.uint16 and picture.max() == 300
    assert "segmentation" not in (tmp_path / "objects.json").read_text()
    assert [a.mask for a in only(tmp_path).annotations] == [a.mask for a in dots]


def test_only_objects_behind_others_have_their_mask_in_the_table(tmp_path: Path) -> None:
    behind, front = rectangle(0, 0, 20, 20), rectangle(10, 10, 15, 15)
    converters.write(Dataset(LETTERS, one(thing(behind), thing(front))), tmp_path, "png")
    (picture,) = json.loads((tmp_path / "objects.json").read_text())["pictures"]
    assert ["segmentation" in entry for entry in picture["objects"]] == [True, False]
    assert [a.mask for a in only(tmp_path).annotations] == [behind, front]


def test_a_bare_folder_of_pictures_is_read_when_asked_for(tmp_path: Path) -> None:
    numbers = np.zeros(SIZE, np.uint8)
    numbers[3:9, 4:7], numbers[20:, :2] = 9, 200
    for folder in ("masks/sub", "images/sub"):
        (tmp_path / folder).mkdir(parents=True)
    Image.fromarray(numbers).save(tmp_path / "masks" / "sub" / "a.png")
    Image.new("RGB", (32, 24)).save(tmp_path / "images" / "sub" / "a.jpg")
    record = only(tmp_path, "png")
    assert (record.path, [a.mask.area for a in record.annotations]) == ("sub/a.jpg", [18, 8])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"number": 7}, "number 7 does not occur"),
        ({"number": "x"}, "number 'x' does not occur"),
        ({"category_id": 2}, "category_id 2 is not a listed"),
    ],
    ids=["missing", "text", "class"],
)
def test_a_wrong_entry_of_the_table_is_named(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    converters.write(Dataset(LETTERS, one(thing(HOLED))), tmp_path, "png")
    content = json.loads((tmp_path / "objects.json").read_text())
    content["pictures"][0]["objects"][0].update(change)
    (tmp_path / "objects.json").write_text(json.dumps(content))
    with pytest.raises(FormatError, match=words) as refusal:
        only(tmp_path)
    assert "a.png: object 0" in str(refusal.value)


def test_a_picture_of_another_size_is_refused(tmp_path: Path) -> None:
    converters.write(Dataset(LETTERS, one(thing(HOLED))), tmp_path, "png")
    Image.new("I;16", (10, 10)).save(tmp_path / "masks" / "a.png")
    with pytest.raises(FormatError, match="10x10 pixels; expected 32x24"):
        only(tmp_path)


def hub_table(file: Path, row: dict[str, Any], names: list[str] | None) -> Path:
    """A table as on the Hugging Face hub: the picture's bytes, objects as a struct of lists."""
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pyarrow.Table.from_pylist([row])
    if names:
        label = {"names": names, "_type": "ClassLabel"}
        features = {"objects": {"feature": {"category": label}, "_type": "Sequence"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    file.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, file)
    return file


@pytest.mark.parametrize("names", [["cat", "dog"], None], ids=["named", "numbered"])
@pytest.mark.parametrize("inside", ["struct of lists", "list of structs"])
def test_a_table_of_the_hub_is_read(inside: str, names: list[str] | None, tmp_path: Path) -> None:
    drawn("hole", tmp_path / "photos")
    data = (tmp_path / "photos" / "a.png").read_bytes()
    objects: Any = {"bbox": [[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 5.0, 5.0]], "category": [1, 0]}
    if inside == "list of structs":
        objects = [dict(zip(objects, values, strict=True)) for values in zip(*objects.values(), strict=True)]
    row = {"image_id": 15, "image": {"bytes": data, "path": "15.jpg"}, "objects": objects}
    file = hub_table(tmp_path / "data" / "train-0.parquet", row, names)
    dataset = converters.read(file)
    record = only(file)
    assert [c.name for c in dataset.categories] == (names or ["class_0", "class_1"])
    assert (record.path, record.size, record.id) == ("15.jpg", SIZE, 15)
    assert [(a.category_id, a.box) for a in record.annotations] == [(1, (1, 2, 4, 6)), (0, (0, 0, 5, 5))]


@pytest.mark.parametrize(
    ("objects", "words"),
    [
        ({"bbox": [[1.0, 2.0, 3.0]], "category": [0]}, "bbox .* is not 4 finite numbers"),
        ({"bbox": [[1.0, 2.0, -3.0, 4.0]], "category": [0]}, "negative width"),
        ({"bbox": [[1.0, 2.0, 3.0, 4.0]], "category": [-1]}, "category -1"),
        ({"bbox": [[1.0, 2.0, 3.0, 4.0]] * 2, "category": [0]}, "differ in length"),
    ],
    ids=["three numbers", "negative", "class", "lengths"],
)
def test_a_wrong_row_is_named(objects: dict[str, Any], words: str, tmp_path: Path) -> None:
    row = {"image": {"path": "a.jpg"}, "width": 32, "height": 24, "objects": objects}
    file = hub_table(tmp_path / "x.parquet", row, ["cat"])
    with pytest.raises(FormatError, match=words) as refusal:
        only(file)
    assert "x.parquet: row 0" in str(refusal.value)


def test_embedded_pictures_are_the_files_themselves(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    converters.write(drawn("hole", tmp_path / "photos"), tmp_path / "out", "parquet", pictures="embed")
    row = parquet.read_table(tmp_path / "out" / "data").to_pylist()[0]
    assert row["image"]["bytes"] == (tmp_path / "photos" / "a.png").read_bytes()
    with pytest.raises(UsageError, match="name their folder to embed"):
        converters.write(Dataset(LETTERS, one(thing(HOLED))), tmp_path / "two", "parquet", pictures="embed")


def test_parquet_without_pyarrow_names_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingDependency, match=r'pip install "samlabel\[parquet\]"'):
        converters.write(drawn("hole", tmp_path / "photos"), tmp_path / "out", "parquet")


def test_columns_of_odd_names_are_told_in_one_line(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet").write_table(pyarrow.table({"a\nb": [1]}), tmp_path / "a.parquet")
    with pytest.raises(FormatError, match="no column objects; there are") as refused:
        list(converters.read(tmp_path / "a.parquet", "parquet").records)
    assert "\n" not in str(refused.value)
