"""Boxes that exist already find the image they belong to, and say what found none."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image as Picture

import converters
from samlabel.annotate import auto_annotate
from samlabel.detectors import load
from samlabel.errors import Conflicted, FormatError, UnknownName, UsageError
from samlabel.protocols import Image
from samlabel.runs.run import Summary

CATEGORIES = [{"id": 3, "name": "cat", "supercategory": "animal"}, {"id": 17, "name": "dog"}]


def image(path: str, *, height: int = 40, width: int = 60) -> Image:
    return Image(path, np.zeros((height, width, 3), np.uint8))


def coco(folder: Path, names: list[str], annotations: list[dict], *, height: int = 40, width: int = 60) -> str:
    images = [{"id": i, "file_name": name, "height": height, "width": width} for i, name in enumerate(names, start=1)]
    objects = [{"id": i, **annotation} for i, annotation in enumerate(annotations, start=1)]
    content = {"images": images, "annotations": objects, "categories": CATEGORIES}
    (folder / "boxes.json").write_text(json.dumps(content), encoding="utf-8")
    return f"labels:{folder / 'boxes.json'}"


def box(image_id: int = 1, *, bbox=(1, 2, 10, 20), category_id: int = 17, **more) -> dict:
    return {"image_id": image_id, "bbox": list(bbox), "category_id": category_id, **more}


def voc(name: str, x: str = "11") -> str:
    return (
        f"<annotation><size><width>60</width><height>40</height><depth>3</depth></size><object><name>{name}</name>"
        f"<bndbox><xmin>{x}</xmin><ymin>6</ymin><xmax>20</xmax><ymax>30</ymax></bndbox></object></annotation>"
    )


def write(folder: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return f"labels:{folder}"


def test_coco_boxes_keep_their_category_ids(tmp_path: Path) -> None:
    detector = load(coco(tmp_path, ["a.jpg", "b.jpg"], [box(), box(2, category_id=3)]))
    assert [(c.id, c.name, c.supercategory) for c in detector.info.categories] == [
        (3, "cat", "animal"),
        (17, "dog", None),
    ]
    first, second = detector.detect([image("a.jpg"), image("b.jpg")])
    assert first.boxes.tolist() == [[1, 2, 11, 22]] and first.category_ids.tolist() == [17]
    assert first.scores.tolist() == [1.0]
    assert second.category_ids.tolist() == [3]
    assert detector.remarks() == []


def test_yolo_rows_give_pixel_boxes_and_names(tmp_path: Path) -> None:
    spec = write(
        tmp_path,
        {
            "data.yaml": "names: [cat, dog]",
            "labels/sub/ä b.txt": "1 0.5 0.5 0.5 0.25\n\n0 0.1 0.1 0.1 0.1 0.9\n",
            "labels/polygon.txt": "0 0.25 0.25 0.75 0.25 0.75 0.5 0.25 0.5\n",
            "labels/empty.txt": "",
        },
    )
    detector = load(spec)
    assert [(c.id, c.name) for c in detector.info.categories] == [(0, "cat"), (1, "dog")]
    found = detector.detect([image("sub/ä b.png"), image("polygon.jpg"), image("empty.jpg")])
    assert found[0].boxes.tolist()[0] == [15, 15, 45, 25] and found[0].category_ids.tolist() == [1, 0]
    assert found[0].scores.tolist() == pytest.approx([1, 0.9])
    assert found[1].boxes.tolist() == [[15, 10, 45, 20]]
    assert len(found[2]) == 0
    assert detector.remarks() == []


@pytest.mark.parametrize(
    ("files", "names"),
    [
        ({"classes.txt": "cat\ndog\n"}, ["cat", "dog"]),
        ({"data.yaml": "names: {0: cat, 1: dog}"}, ["cat", "dog"]),
        ({}, ["class_0", "class_1"]),
    ],
    ids=["classes.txt", "mapping in data.yaml", "no names"],
)
def test_yolo_class_names_come_from_where_tools_put_them(files, names, tmp_path: Path) -> None:
    spec = write(tmp_path, {**files, "a.txt": "1 0.5 0.5 0.5 0.5"})
    assert [c.name for c in load(spec).info.categories] == names


def test_yolo_classes_are_chosen_by_the_index_of_the_file(tmp_path: Path) -> None:
    spec = write(tmp_path, {"data.yaml": "names: [cat, dog]", "a.txt": "1 0.5 0.5 0.5 0.5\n0 0.5 0.5 0.2 0.2"})
    detector = load(spec, classes=[1])
    assert [(c.id, c.name) for c in detector.info.categories] == [(1, "dog")]
    assert detector.detect([image("a.jpg")])[0].category_ids.tolist() == [1]


def test_predictions_of_a_model_are_boxes_with_scores_and_need_no_images(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "data.yaml": "names: [cat, dog]",
            "predict/labels/a.txt": "1 0.5 0.5 0.5 0.5 0.875\n0 0.5 0.5 0.5 0.5 0.25\n",
            "predict/labels/b.txt": "1 0.25 0.25 0.75 0.25 0.75 0.5 0.25 0.5 0.5\n",
        },
    )
    detector = load(f"labels:{tmp_path / 'predict' / 'labels'}", conf=0.5)
    assert [(c.id, c.name) for c in detector.info.categories] == [(0, "cat"), (1, "dog")]
    a, b = detector.detect([image("sub/a.jpg"), image("b.png", height=400, width=600)])
    assert a.boxes.tolist() == [[15, 10, 45, 30]] and a.scores.tolist() == [0.875] and a.category_ids.tolist() == [1]
    assert b.boxes.tolist() == [[150, 100, 450, 200]] and b.scores.tolist() == [0.5]


def test_pictures_that_a_model_drew_on_are_no_part_of_its_predictions(tmp_path: Path) -> None:
    spec = write(tmp_path, {"labels/a.txt": "0 0.5 0.5 0.5 0.5 0.9\n", "args.yaml": "task: detect\n"})
    Picture.new("RGB", (6, 4)).save(tmp_path / "a.png")
    assert len(load(spec).detect([image("a.png")])[0]) == 1


@pytest.mark.parametrize(
    ("label", "path"),
    [
        ("labels/train/a.txt", "train/a.jpg"),
        ("labels/train/a.txt", "images/train/a.jpg"),
        ("train/labels/a.txt", "train/images/a.jpg"),
        ("train/a.txt", "train/a.jpg"),
    ],
)
def test_a_yolo_label_is_found_from_the_path_of_its_image(label: str, path: str, tmp_path: Path) -> None:
    row = "0 0.5 0.5 0.5 0.5"
    spec = write(tmp_path, {"data.yaml": "names: [cat]", label: row, label.replace("train", "valid"): f"{row}\n{row}"})
    detector = load(spec)
    assert [len(found) for found in detector.detect([image(path)])] == [1]
    assert detector.remarks()[0].startswith("1 label matched no image: ")


@pytest.mark.parametrize("names", ["data.yaml", "classes.txt", None])
def test_classes_and_boxes_are_those_that_a_conversion_gives(names: str | None, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "images").mkdir(parents=True)
    Picture.new("RGB", (60, 40)).save(data / "images" / "a.png")
    write(data, {"labels/a.txt": "2 0.5 0.5 0.5 0.25 0.75\n0 0.1 0.2 0.6 0.2 0.4 0.9\n1 0.3 0.3 0.11 0.17\n"})
    if names is not None:
        write(data, {names: "names: [cat, dog, bird]" if names == "data.yaml" else "cat\ndog\nbird\n"})
    converters.convert(data, tmp_path / "coco.json", to="coco", image_root=data / "images")
    direct, converted = load(f"labels:{data}"), load(f"labels:{tmp_path / 'coco.json'}")
    assert [(c.id, c.name) for c in direct.info.categories] == [(c.id, c.name) for c in converted.info.categories]
    (one,), (other,) = direct.detect([image("a.png")]), converted.detect([image("a.png")])
    rows = [sorted(zip(f.category_ids, f.scores, f.boxes.tolist(), strict=True)) for f in (one, other)]
    assert rows[0] == rows[1] and len(one) == 3


CVAT = """<annotations><version>1.1</version><meta><task><labels><label><name>cat</name></label><label><name>dog</name>
</label></labels></task></meta><image id="0" name="sub/a.jpg" width="60" height="40"><box label="dog" xtl="1" ytl="2"
xbr="11" ybr="22"/></image></annotations>"""
LABELME = {
    "version": "5.0.1",
    "flags": {},
    "imagePath": "a.jpg",
    "imageData": None,
    "imageHeight": 40,
    "imageWidth": 60,
    "shapes": [{"label": "dog", "shape_type": "rectangle", "points": [[1, 2], [11, 22]], "flags": {}}],
}


@pytest.mark.parametrize(
    ("name", "text"), [("cvat.xml", CVAT), ("sub/a.json", json.dumps(LABELME))], ids=["cvat", "labelme"]
)
@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
def test_boxes_of_annotation_tools_are_read(name: str, text: str, folder: bool, tmp_path: Path) -> None:
    write(tmp_path, {name: text})
    detector = load(f"labels:{tmp_path if folder else tmp_path / name}")
    (found,) = detector.detect([image("sub/a.jpg")])
    assert found.boxes.tolist() == [[1, 2, 11, 22]] and detector.remarks() == []
    assert [c.name for c in detector.info.categories if c.id in found.category_ids] == ["dog"]


def test_voc_boxes_count_pixels_from_one(tmp_path: Path) -> None:
    spec = write(tmp_path, {"Annotations/a.xml": voc("dog"), "Annotations/sub/b.xml": voc("cat", "1")})
    detector = load(spec)
    assert [(c.id, c.name) for c in detector.info.categories] == [(1, "cat"), (2, "dog")]
    a, b = detector.detect([image("a.jpg"), image("sub/b.jpg")])
    assert a.boxes.tolist() == [[10, 5, 20, 30]] and a.category_ids.tolist() == [2]
    assert b.boxes.tolist() == [[0, 5, 20, 30]]


def test_an_image_elsewhere_is_matched_by_its_file_name_when_only_one_has_it(tmp_path: Path) -> None:
    names = ["train/a.jpg", "train/b.jpg", "val/b.jpg"]
    detector = load(coco(tmp_path, names, [box(1), box(2), box(3)]))
    found = detector.detect([image("a.jpg"), image("b.jpg"), image("val/b.jpg")])
    assert [len(f) for f in found] == [1, 0, 1]
    assert detector.remarks() == [
        "1 image has no entry in the labels: b.jpg",
        "1 label matched no image: train/b.jpg",
    ]


def test_two_images_of_one_name_never_share_boxes_by_name(tmp_path: Path) -> None:
    detector = load(coco(tmp_path, ["x/a.jpg"], [box()]))
    found = detector.detect([image("one/a.jpg"), image("two/a.jpg")])
    assert [len(f) for f in found] == [1, 0]
    assert "two/a.jpg" in detector.remarks()[0]


def test_the_image_of_the_very_path_gets_its_boxes_and_the_other_is_named(tmp_path: Path) -> None:
    detector = load(coco(tmp_path, ["x/a.jpg"], [box()]))
    found = detector.detect([image("a.jpg"), image("x/a.jpg")])
    assert len(found[1]) == 1
    assert detector.remarks() == ["1 label went to two images: x/a.jpg (its own image and, by file name, a.jpg)"]


def test_boxes_made_for_another_size_are_not_used(tmp_path: Path) -> None:
    detector = load(coco(tmp_path, ["a.jpg"], [box()], height=60, width=40))
    assert len(detector.detect([image("a.jpg")])[0]) == 0
    assert detector.remarks() == [
        "1 image differs in size from its labels and got none of their boxes: a.jpg (60x40, labels for 40x60)"
    ]


def test_only_boxes_with_a_score_are_judged_by_it(tmp_path: Path) -> None:
    spec = coco(tmp_path, ["a.jpg"], [box(score=0.1), box(score=0.9), box()])
    assert [round(float(s), 1) for s in load(spec, conf=0.5).detect([image("a.jpg")])[0].scores] == [0.9, 1.0]


def test_max_det_keeps_the_best_of_scored_boxes_and_all_of_drawn_ones(tmp_path: Path) -> None:
    scored = coco(tmp_path, ["a.jpg"], [box(score=0.5), box(score=0.9), box(score=0.7)])
    assert load(scored, max_det=2).detect([image("a.jpg")])[0].scores.tolist() == pytest.approx([0.9, 0.7])
    drawn = coco(tmp_path, ["a.jpg"], [box(), box(), box()])
    assert len(load(drawn, max_det=2).detect([image("a.jpg")])[0]) == 3


def test_another_label_anywhere_gives_another_digest(tmp_path: Path) -> None:
    spec = write(tmp_path, {"a.txt": "0 0.5 0.5 0.5 0.5", "b.txt": ""})
    before = load(spec).info.weights_sha256
    assert load(spec).info.weights_sha256 == before
    write(tmp_path, {"b.txt": "0 0.5 0.5 0.5 0.5"})
    assert load(spec).info.weights_sha256 != before


def test_another_box_score_class_or_image_of_a_file_gives_another_digest(tmp_path: Path) -> None:
    first = load(coco(tmp_path, ["a.jpg"], [box()])).info.weights_sha256
    assert load(coco(tmp_path, ["a.jpg"], [box()])).info.weights_sha256 == first
    for changed in ({"bbox": (1, 2, 10, 21)}, {"score": 0.5}, {"category_id": 3}):
        assert load(coco(tmp_path, ["a.jpg"], [box(**changed)])).info.weights_sha256 != first
    assert load(coco(tmp_path, ["a.jpg"], [box()], height=41)).info.weights_sha256 != first
    for names in (["b.jpg"], ["a.jpg", "b.jpg"]):
        assert load(coco(tmp_path, names, [box()])).info.weights_sha256 != first


def test_crowds_are_left_out_and_counted(tmp_path: Path) -> None:
    detector = load(coco(tmp_path, ["a.jpg"], [box(iscrowd=1), box()]))
    assert len(detector.detect([image("a.jpg")])[0]) == 1
    assert "1 crowd region left out" in detector.remarks()[0]


def test_classes_of_a_dataset_are_chosen_by_name_or_its_own_id(tmp_path: Path) -> None:
    spec = coco(tmp_path, ["a.jpg"], [box(), box(category_id=3)])
    for classes in (["dog"], [17], ["17"]):
        assert load(spec, classes=classes).detect([image("a.jpg")])[0].category_ids.tolist() == [17]
    with pytest.raises(UnknownName, match="17 dog"):
        load(spec, classes=["bird"])


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"x.json": "{"}, "x.json: no format recognized"),
        ({"x.json": '{"images": [], "annotations": ['}, "x.json:1: broken JSON"),
        ({"x.json": "[]"}, "x.json: no format recognized"),
        ({"x.json": json.dumps({"images": [{"id": 1}], "annotations": [], "categories": []})}, "image 1: file_name"),
        ({"a.txt": "0 0.1 0.1 0.1"}, "a.txt:1: 3 numbers after the class"),
        ({"a.txt": "0 0.1 0.1 0.1 0.1\ncat 1 1 1 1"}, "a.txt:2: 'cat 1 1 1 1' is not a row of numbers"),
        ({"a.txt": "0 nan 0.1 0.1 0.1"}, "a.txt:1: nan is not a share"),
        ({"a.txt": "0 0.1 0.1 0.1 0.1 1.5"}, "a.txt:1: score 1.5 is not a number from 0 to 1"),
        ({"data.yaml": "names: [cat]", "a.txt": "4 0.1 0.1 0.1 0.1"}, "a.txt:1: class 4 is beyond the 1 classes"),
        ({"data.yaml": "nothing: 1", "a.txt": ""}, "data.yaml: names is neither a list nor a table"),
        ({"a.xml": voc("dog").replace("</size>", "")}, "a.xml:1: broken XML"),
        ({"a.xml": f'<!DOCTYPE a [<!ENTITY b "c">]>{voc("&b;")}'}, "entit"),
        ({"a.xml": voc("dog", "left")}, "a.xml: object 1: xmin is 'left'"),
        ({"readme.md": "hello"}, "no format recognized"),
        ({"readme.txt": "hello"}, "no format recognized"),
        ({"x.csv": "a,b"}, "x.csv: no format recognized"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_broken_dataset_gives_one_line_with_the_place(files, says: str, tmp_path: Path) -> None:
    write(tmp_path, files)
    only = tmp_path / next(iter(files))
    target = only if only.suffix in (".json", ".csv") else tmp_path
    with pytest.raises(FormatError, match=says) as caught:
        load(f"labels:{target}").detect([image("a.jpg")])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("annotation", "says"),
    [
        ({"bbox": [1, 2, 3]}, "annotation 1: bbox .* is not 4 finite numbers"),
        ({"bbox": [1, 2, -3, 4]}, "annotation 1: bbox .* negative width or height"),
        ({"bbox": [1, 2, float("nan"), 4]}, "boxes.json:1: .*NaN is not a JSON number"),
        ({"category_id": 99}, "annotation 1: category_id 99 is not a listed category"),
        ({"image_id": 7}, "annotation 1 is on image 7, which is not listed"),
    ],
    ids=["three numbers", "negative", "nan", "no category", "no image"],
)
def test_a_broken_annotation_is_named_by_its_id(annotation, says: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=says):
        load(coco(tmp_path, ["a.jpg"], [{**box(), **annotation}]))


def test_a_missing_dataset_or_none_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file or folder"):
        load(f"labels:{tmp_path / 'nowhere.json'}")
    with pytest.raises(UsageError, match="needs a dataset"):
        load("labels")


def test_a_label_of_another_suffix_is_of_the_only_image_of_its_size(tmp_path: Path) -> None:
    detector = load(coco(tmp_path, ["a.png", "b.png"], [box(1), box(2)]))
    found = detector.detect([image("x/a.jpg"), image("b.jpg", height=30)])
    assert [len(one) for one in found] == [1, 0]


def drawn(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        Picture.new("RGB", (60, 40)).save(folder / name)
    return folder


def annotate(images: Path, spec: str, out: Path, fakes: ModuleType) -> Summary:
    return auto_annotate(images, spec, output_dir=out, segmenter=fakes.Segmenter(), device="cpu")


def test_labels_of_which_none_meets_an_image_are_refused_before_anything_is_labeled(
    tmp_path: Path, fakes: ModuleType
) -> None:
    spec = coco(tmp_path, ["x.png", "y.png"], [box(1)])
    images = drawn(tmp_path / "images", "a.png")
    with pytest.raises(Conflicted, match="none of its 2 labels is of an image here, the first is x.png") as refused:
        annotate(images, spec, tmp_path / "out", fakes)
    assert refused.value.exit_code == 4
    assert (tmp_path / "out/.samlabel/journal.jsonl").read_bytes() == b""


def test_what_found_no_partner_is_told_after_a_run_and_a_label_of_an_image_done_before_is_none(
    tmp_path: Path, fakes: ModuleType
) -> None:
    spec = coco(tmp_path, ["a.png", "b.png", "gone.png"], [box(1), box(2), box(3)])
    images = drawn(tmp_path / "images", "a.png", "new.png")
    first = annotate(images, spec, tmp_path / "out", fakes)
    assert first.remarks == (
        "1 image has no entry in the labels: new.png",
        "2 labels matched no image: b.png, gone.png",
    )
    Picture.new("RGB", (60, 40)).save(images / "b.png")
    assert annotate(images, spec, tmp_path / "out", fakes).remarks == ("1 label matched no image: gone.png",)


def test_labels_that_share_the_name_of_an_image_are_told_to_have_none(tmp_path: Path, fakes: ModuleType) -> None:
    spec = coco(tmp_path, ["a.png", "x/b.png", "y/b.png"], [box(1), box(2), box(3)])
    summary = annotate(drawn(tmp_path / "images", "a.png", "b.png"), spec, tmp_path / "out", fakes)
    assert summary.remarks == (
        "1 image has no entry in the labels: b.png",
        "2 labels matched no image: x/b.png, y/b.png",
    )
