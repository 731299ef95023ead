"""SA-1B: the record of its README key for key, and what it cannot say beside it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import converters
from converters.formats.sa1b.writer import ids_of
from samlabel.errors import FormatError
from samlabel.types import Dataset, ImageRecord
from tests.converters.cases import HOLED, LETTERS, SIZE, drawn, one, thing

IMAGE = {"image_id": 7, "width": 32, "height": 24, "file_name": "a.png"}
OBJECT = {
    "id": 3,
    "segmentation": {"size": list(SIZE), "counts": HOLED.counts.decode()},
    "bbox": [4, 4, 16, 16],
    "area": HOLED.area,
    "predicted_iou": 0.9,
    "stability_score": 0.95,
    "crop_box": [0, 0, 32, 24],
    "point_coords": [[5.0, 5.0]],
}


def write_record(folder: Path, image=IMAGE, *objects) -> Path:
    file = folder / "a.json"
    file.write_text(json.dumps({"image": image, "annotations": list(objects)}), encoding="utf-8")
    return folder


def test_a_record_has_the_keys_and_types_of_the_readme(tmp_path: Path) -> None:
    from pycocotools import mask as coco

    dataset = drawn("same stem in two folders", tmp_path / "photos")
    converters.write(dataset, tmp_path / "out", "sa1b")
    assert sorted(f.relative_to(tmp_path / "out").as_posix() for f in (tmp_path / "out").rglob("*.*")) == [
        "samlabel.jsonl",
        "x/a.json",
        "x/a.png",
        "y/a.json",
        "y/a.png",
    ]
    content = json.loads((tmp_path / "out" / "x" / "a.json").read_text(encoding="utf-8"))
    assert set(content) == {"image", "annotations"}
    assert content["image"] == {"image_id": 853179640869, "width": 32, "height": 24, "file_name": "a.png"}
    (found,) = content["annotations"]
    assert set(found) == set(OBJECT)
    assert np.array_equal(coco.decode(found["segmentation"]).astype(bool), HOLED.to_pixels())
    assert (found["bbox"], found["area"], found["crop_box"]) == ([4, 4, 16, 16], HOLED.area, [0, 0, 32, 24])
    assert all(isinstance(found[key], float) for key in ("predicted_iou", "stability_score"))
    ((x, y),) = found["point_coords"]
    assert HOLED.to_pixels()[int(y), int(x)]


def test_ids_of_an_image_and_its_objects_depend_on_that_image_alone(tmp_path: Path) -> None:
    a, b = one(thing(HOLED), thing(HOLED)), one(thing(HOLED), path="b.png")

    def ids(*records: ImageRecord) -> dict[str, list[int]]:
        converters.write(Dataset(LETTERS, records), tmp_path, "sa1b", images="none", overwrite=True)
        found = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(tmp_path.glob("*.json"))]
        return {r["image"]["file_name"]: [r["image"]["image_id"], *(a["id"] for a in r["annotations"])] for r in found}

    together = ids(*a, *b)
    assert together == ids(*b, *a) and together["b.png"] == ids(*b)["b.png"]
    every = [number for numbers in together.values() for number in numbers]
    assert len({*every}) == len(every) == 5 and max(every) < 2**53


def test_ids_that_objects_have_are_kept(tmp_path: Path) -> None:
    base = ids_of(replace(one()[0], id=2), [thing(HOLED)])[1][0]
    objects = [thing(HOLED), replace(thing(HOLED), id=base), replace(thing(HOLED), id=7), replace(thing(HOLED), id=7)]
    assert ids_of(replace(one()[0], id=2), objects) == (2, [base + 1, base, 7, base + 2])


def test_an_official_record_is_read_whole(tmp_path: Path) -> None:
    dataset = converters.read(write_record(tmp_path, IMAGE, OBJECT))
    (record,) = dataset.records
    (found,) = record.annotations
    assert [c.name for c in dataset.categories] == ["object"]
    assert (record.path, record.size, record.id) == ("a.png", SIZE, 7)
    assert (found.mask, found.box, found.id) == (HOLED, (4, 4, 20, 20), 3)
    assert (found.predicted_iou, found.stability_score) == (0.9, 0.95)
    assert (found.point_coords, found.crop_box) == (((5.0, 5.0),), (0, 0, 32, 24))


def test_without_the_file_beside_them_classes_are_lost_and_the_receipt_says_so(tmp_path: Path) -> None:
    dataset = replace(drawn("two parts", tmp_path / "photos"), extra={"info": {"year": 2024}})
    converters.write(dataset, tmp_path / "in.json", "coco")
    receipt = converters.convert(
        tmp_path / "in.json", tmp_path / "out", to="sa1b", sidecar=False, allow_lossy=True, images="none"
    )
    assert receipt.losses == {"category-name-lost": 1} and receipt.notes["dataset-fields-lost"] == 1
    assert not (tmp_path / "out" / "samlabel.jsonl").exists()


@pytest.mark.parametrize(
    ("image", "objects", "words"),
    [
        ({**IMAGE, "width": -1}, [], "size"),
        ({**IMAGE, "file_name": "../../a.png"}, [], "leaves"),
        (5, [], "not SA-1B"),
        (IMAGE, [{**OBJECT, "segmentation": None}], "no segmentation"),
        (IMAGE, [{**OBJECT, "segmentation": {"size": [32, 24], "counts": HOLED.counts.decode()}}], "size"),
        (IMAGE, [{**OBJECT, "bbox": [1, 2]}], "bbox"),
        (IMAGE, [{**OBJECT, "bbox": [1, 2, -3, 4]}], "negative"),
        (IMAGE, [{**OBJECT, "point_coords": 4}], "point_coords"),
        (IMAGE, [{**OBJECT, "point_coords": [4]}], "point_coords"),
        (IMAGE, [{**OBJECT, "predicted_iou": "high"}], "predicted_iou"),
        (IMAGE, [7], "not an object"),
    ],
)
def test_a_broken_record_is_one_line(image, objects, words: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=words) as error:
        list(converters.read(write_record(tmp_path, image, *objects), "sa1b").records)
    assert "\n" not in str(error.value) and str(tmp_path / "a.json") in str(error.value)


@pytest.mark.parametrize(
    "line",
    ["x", "{}", '{"categories":[]}\n{"file":1}', "[1]", '{"categories":5}', '{"categories":[],"dataset":5}'],
)
def test_a_damaged_file_beside_the_records_is_named(line: str, tmp_path: Path) -> None:
    write_record(tmp_path, IMAGE, OBJECT)
    (tmp_path / "samlabel.jsonl").write_text(line + "\n", encoding="utf-8")
    with pytest.raises(FormatError, match="samlabel.jsonl"):
        list(converters.read(tmp_path, "sa1b").records)
