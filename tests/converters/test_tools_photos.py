"""Files that other tools wrote, and real masks of photos through every format: recognised, read, and given back."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

import converters
from samlabel.errors import FormatError
from samlabel.types import Dataset

pytestmark = pytest.mark.photos


@pytest.mark.parametrize(
    ("place", "name", "objects", "classes"),
    [
        ("labelme_real", "labelme", {"2011_000003.jpg": 4, "2011_000006.jpg": 7, "2011_000025.jpg": 3}, 7),
        ("labelme_dataset", "labelme", {"subset1/img1.png": 7}, 7),
        ("cvat_dataset/for_images/export_task", "cvat", {"img0.jpg": 1, "img1.jpg": 1}, 3),
        (
            "cvat_dataset/for_images/export_project",
            "cvat",
            {f"{subset}/img{n}.jpg": 1 for subset in ("Test", "Train", "Validation") for n in (0, 1)},
            2,
        ),
        ("voc_dataset/voc_dataset1", "voc", {"2007_000001.jpg": 2}, 20),
        ("voc_dataset/voc_dataset3", "voc", {"2007_000001.jpg": 1}, 1),
        ("roboflow_dataset/voc", "voc", {"train/train_001.jpg": 1, "train/train_002.jpg": 1, "val/val_001.jpg": 2}, 2),
        ("roboflow_dataset/coco/train", "coco", {"train_001.jpg": 1, "train_002.jpg": 1}, None),
    ],
    ids=lambda value: value if (isinstance(value, str) and "/" in value) or value == "labelme_real" else "",
)
def test_files_of_other_tools_are_recognised_and_read(
    place: str, name: str, objects: dict[str, int], classes: int | None, photos_data: Path
) -> None:
    path = photos_data / "fixtures" / place
    found, why = converters.detect_format(path)
    assert found.name == name and len(why) > 10
    dataset = converters.read(path)
    records = list(dataset.records)
    assert {record.path: len(record.annotations) for record in records} == objects
    assert classes is None or len(dataset.categories) == classes
    assert dataset.image_root is not None and all((dataset.image_root / record.path).is_file() for record in records)


def test_a_mask_of_voc_is_the_object_of_its_number(photos_data: Path) -> None:
    (record,) = converters.read(photos_data / "fixtures" / "voc_dataset" / "voc_dataset1").records
    cat, person = record.annotations
    assert (cat.mask.area, cat.box, person.mask) == (200, (0, 1, 3, 4), None)


def test_voc_files_without_sizes_or_images_ask_for_the_images(photos_data: Path) -> None:
    with pytest.raises(FormatError, match="name the folder of the images"):
        list(converters.read(photos_data / "fixtures" / "voc_dataset" / "voc_dataset2").records)


@pytest.mark.parametrize(("kind", "areas"), [("brush", [12104, 5716, 11709]), ("polygon", None)])
def test_regions_of_label_studios_own_backend_are_read(
    kind: str, areas: list[int] | None, photos_data: Path, tmp_path: Path
) -> None:
    file = photos_data / "fixtures" / "labelstudio" / f"test_{kind}_labels.json"
    predictions = json.loads(file.read_text(encoding="utf-8"))  # what its model answers with, without the task
    task = {"id": 1, "data": {"image": "a.jpg", "width": 768, "height": 576}, "predictions": predictions}
    (tmp_path / "tasks.json").write_text(json.dumps([task]), encoding="utf-8")
    dataset = converters.read(tmp_path)
    (record,) = dataset.records
    assert [c.name for c in dataset.categories] == ["Person"]
    assert (record.size, len(record.annotations)) == ((576, 768), 3)
    assert all(a.mask is not None and a.mask.area and a.score for a in record.annotations)
    assert areas is None or [a.mask.area for a in record.annotations] == areas


@pytest.fixture
def hundred(photos_data: Path, tmp_path: Path) -> Path:
    """A COCO file of 100 real photos' masks, every third image of the set."""
    whole = converters.read(photos_data / "photos" / "val.json")
    chosen = itertools.islice(whole.records, 0, 300, 3)
    converters.write(Dataset(whole.categories, chosen), tmp_path / "in.json", "coco")
    return tmp_path / "in.json"


@pytest.mark.parametrize("name", ["cvat", "labelme", "labelstudio", "parquet", "png"])
def test_real_masks_come_back_bit_for_bit(name: str, hundred: Path, tmp_path: Path) -> None:
    receipt = converters.convert(hundred, tmp_path / "out", to=name, images="none")
    assert (receipt.losses, receipt.images_out) == ({}, 100)
    got = {record.path: record for record in converters.read(tmp_path / "out").records}
    for record in converters.read(hundred).records:
        back = got[record.path]
        assert back.size == record.size
        assert [(a.mask, a.iscrowd) for a in back.annotations] == [(a.mask, a.iscrowd) for a in record.annotations]


def test_voc_counts_every_real_mask_that_another_one_cuts(hundred: Path, tmp_path: Path) -> None:
    receipt = converters.convert(hundred, tmp_path / "out", to="voc", images="none", allow_lossy=True)
    got = {record.path: record for record in converters.read(tmp_path / "out").records}
    pairs = [
        (a.mask, b.mask)
        for record in converters.read(hundred).records
        for a, b in zip(record.annotations, got[record.path].annotations, strict=True)
    ]
    assert len(pairs) == receipt.objects_out
    assert sum(one != other for one, other in pairs) == receipt.losses["mask-changed"]
