"""Names in label files that differ from those on disk, as tools write them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

import converters
from samlabel.geometry import mask_from_uncompressed


def picture(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 24)).save(file)


def voc(folder: Path, name: str, file: str) -> None:
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    text = f"<annotation><filename>{name}</filename><object><name>a</name>{box}</object></annotation>"
    (folder / "a.xml").write_text(text, encoding="utf-8")
    picture(folder / file)


def yolo(folder: Path, name: str, file: str) -> None:
    (folder / "data.yaml").write_text("path: .\ntrain: train.txt\nnames: [a]\n", encoding="utf-8")
    (folder / "train.txt").write_text(name + "\n", encoding="utf-8")
    picture(folder / file)
    label = (folder / file.replace("images", "labels")).with_suffix(".txt")
    label.parent.mkdir(parents=True)
    label.write_text("0 0.5 0.5 0.5 0.5\n", encoding="utf-8")


def labelstudio(folder: Path, name: str, file: str) -> None:
    value = {"x": 1, "y": 1, "width": 5, "height": 5, "rectanglelabels": ["a"]}
    result = [{"type": "rectanglelabels", "value": value}]
    task = {"id": 1, "data": {"image": name}, "annotations": [{"result": result}]}
    (folder / "tasks.json").write_text(json.dumps([task]), encoding="utf-8")
    picture(folder / file)


def labelme(folder: Path, name: str, file: str) -> None:
    segm = "<segm><mask>m.png</mask></segm>"
    size = "<imagesize><nrows>24</nrows><ncols>32</ncols></imagesize>"
    text = f"<annotation><filename>{name}</filename>{size}<object><name>a</name>{segm}</object></annotation>"
    (folder / "a.xml").write_text(text, encoding="utf-8")
    picture(folder / file)
    picture(folder / "Masks" / "m.png")


# what the tool writes -> its format, the name in its label, the file on disk
NAMES: dict[str, tuple[Callable[[Path, str, str], None], str, str]] = {
    "VOC, a stem": (voc, "a", "a.png"),
    "YOLO, data/ before it": (yolo, "data/images/train/1.png", "images/train/1.png"),
    "Label Studio, an upload": (labelstudio, "/data/upload/1/1234abcd-a.png", "a.png"),
    "Label Studio, an upload as it is": (labelstudio, "/data/upload/1/1234abcd-a.png", "1234abcd-a.png"),
    "Label Studio, a local file with #": (labelstudio, "/data/local-files/?d=b#1.png", "b#1.png"),
    "LabelMe 3, masks beside it": (labelme, "a.png", "a.png"),
}


@pytest.mark.parametrize("case", NAMES)
def test_the_image_of_a_label_is_found_where_it_is(case: str, tmp_path: Path) -> None:
    draw, name, file = NAMES[case]
    draw(tmp_path, name, file)
    dataset = converters.read(tmp_path)
    (record,) = dataset.records
    assert (len(record.annotations), record.size) == (1, (24, 32))
    assert dataset.image_root is not None and (dataset.image_root / record.path).samefile(tmp_path / file)


def test_yolo_class_numbers_may_be_in_quotation_marks(tmp_path: Path) -> None:
    yolo(tmp_path, "images/a.png", "images/a.png")
    (tmp_path / "data.yaml").write_text("path: .\ntrain: train.txt\nnames: {'0': a, '1': b}\n", encoding="utf-8")
    assert [(one.id, one.name) for one in converters.read(tmp_path).categories] == [(0, "a"), (1, "b")]


def test_run_lengths_may_be_written_with_a_point() -> None:
    assert mask_from_uncompressed([2.0, 3.0, 1.0], (2, 3)) == mask_from_uncompressed([2, 3, 1], (2, 3))
    with pytest.raises(ValueError, match="whole numbers"):
        mask_from_uncompressed([2.5, 3.5], (2, 3))
