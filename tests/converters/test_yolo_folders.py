"""YOLO folders as other tools lay them out: where labels are found, lists, pose labels, labels that nobody reads."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

import converters
from samlabel.errors import FormatError
from tests.converters.cases import SIZE


def put(folder: Path, files: dict[str, str]) -> Path:
    """Files by name below `folder`; those of pictures are drawn."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".png"):
            Image.new("RGB", SIZE[::-1]).save(folder / name)
        else:
            (folder / name).write_text(text, encoding="utf-8")
    return folder


BOX = "0 0.5 0.5 0.5 0.5\n"


@pytest.mark.parametrize(
    "files",
    [
        {"Images/a.png": "", "Annotations/a.txt": BOX},
        {"images/train/a.png": "", "annotations/train/a.txt": BOX},
        {"Images/a.png": "", "Labels/a.txt": BOX},
        {"Images/a.png": "", "Images/a.txt": BOX, "obj.names": "x\n"},
        {"a.png": "", "a.txt": BOX, "obj.names": "x\n"},
        {"set/images/a.png": "", "set/labels/a.txt": BOX, "data.yaml": "names: [x]\ntrain: set/images\n"},
    ],
    ids=["Images, Annotations", "annotations", "Labels", "beside in Images", "beside", "labels"],
)
def test_a_label_is_found_in_every_layout(files: dict[str, str], tmp_path: Path) -> None:
    put(tmp_path, files)
    assert converters.detect_format(tmp_path)[0].name == "yolo"
    assert [len(record.annotations) for record in converters.read(tmp_path).records] == [1]


YAML = "names: [x]\ntrain: images\n"


POSE = "names: [x]\ntrain: images\nkpt_shape: [2, {}]\n"


@pytest.mark.parametrize(
    ("each", "row", "points"),
    [
        (3, "0 0.5 0.5 0.5 0.5 0.25 0.5 2 0 0 0.0\n", [8, 12, 2, 0, 0, 0]),
        (2, "0 0.5 0.5 0.5 0.5 0.25 0.5 0 0\n", [8, 12, 2, 0, 0, 0]),
    ],
)
def test_rows_of_pose_labels_are_boxes_with_keypoints_and_no_polygons(
    each: int, row: str, points: list[float], tmp_path: Path
) -> None:
    put(tmp_path, {"images/a.png": "", "labels/a.txt": row, "data.yaml": POSE.format(each)})
    ((one,),) = (record.annotations for record in converters.read(tmp_path).records)
    assert one.mask is None and one.box == (8, 6, 24, 18)
    assert dict(one.extra) == {"keypoints": points, "num_keypoints": 1}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (BOX, "4 numbers after the class; kpt_shape asks for 4 . 2 x 3"),
        ("0 0.5 0.5 0.5 0.5 0.25 0.5 7 0 0 0\n", "keypoint .0.25, 0.5, 7.0. is not"),
        ("0 0.5 0.5 0.5 0.5 nan 0.5 2 0 0 0\n", "keypoint .nan, 0.5, 2.0. is not"),
    ],
)
def test_broken_rows_of_pose_labels_are_one_line(row: str, words: str, tmp_path: Path) -> None:
    put(tmp_path, {"images/a.png": "", "labels/a.txt": row, "data.yaml": POSE.format(3)})
    with pytest.raises(FormatError, match=words):
        list(converters.read(tmp_path).records)


def test_a_list_file_chooses_among_the_images_of_a_folder(tmp_path: Path) -> None:
    labels = {f"labels/{name}.txt": BOX for name in "abc"}
    images = {f"images/{name}.png": "" for name in "abc"}
    lists = {"train.txt": "\ufeff./images/a.png\r\n", "val.txt": "images\\c.png\n"}
    data = {"data.yaml": "names: [x]\ntrain: train.txt\nval: val.txt\n"}
    put(tmp_path, {**labels, **images, **lists, **data})
    assert [record.path for record in converters.read(tmp_path).records] == ["a.png", "c.png"]
    (tmp_path / "images" / "b.png").unlink()
    with pytest.raises(FormatError, match="b.txt: a label without its image"):
        converters.read(tmp_path)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"images/a.png": "", "data.yaml": YAML}, "1 images and no label file"),
        ({"images/a.png": "", "txt/a.txt": BOX, "data.yaml": YAML}, "txt/a.txt: may be the label"),
        ({"images/a.png": "", "labelTxt/a.txt": "0 0 0 2 2 2 2 0 x 0", "data.yaml": YAML}, "oriented boxes of DOTA"),
        ({"images/a.png": "", "labels/a.txt": BOX, "labels/val/b.txt": BOX}, "val/b.txt: a label without its image"),
    ],
    ids=["none", "elsewhere", "DOTA", "split without images"],
)
def test_labels_that_nobody_would_read_are_an_error_and_not_nothing(
    files: dict[str, str], words: str, tmp_path: Path
) -> None:
    with pytest.raises(FormatError, match=words):
        converters.read(put(tmp_path, files), "yolo")


def test_images_without_labels_are_empty_where_others_have_some(tmp_path: Path) -> None:
    files = {"images/a.png": "", "images/b.png": "", "labels/b.txt": BOX, "data.yaml": YAML, "val/images/a.png": ""}
    put(tmp_path, {**files, "val/labels/a.txt": BOX})  # a split that data.yaml leaves out
    assert [len(record.annotations) for record in converters.read(tmp_path).records] == [0, 1]


SCORED = "1 0.5 0.5 0.5 0.5 0.875\n0 0.25 0.25 0.75 0.25 0.75 0.75 0.5\n0 0.5 0.5 0.5 0.5\n"


def test_a_number_after_a_box_or_a_polygon_is_its_score(tmp_path: Path) -> None:
    put(tmp_path, {"images/a.png": "", "labels/a.txt": SCORED, "data.yaml": "names: [x, y]\n"})
    (record,) = converters.read(tmp_path).records
    plain = "1 0.5 0.5 0.5 0.5\n0 0.25 0.25 0.75 0.25 0.75 0.75\n0 0.5 0.5 0.5 0.5\n"
    put(tmp_path, {"labels/a.txt": plain})
    (same,) = converters.read(tmp_path).records
    assert [one.score for one in record.annotations] == [0.875, 0.5, None]
    assert [(one.box, one.mask) for one in record.annotations] == [(one.box, one.mask) for one in same.annotations]
    assert record.annotations[1].mask is not None


@pytest.mark.parametrize("score", ["1.5", "-0.1", "nan"])
@pytest.mark.parametrize("row", ["0 0.5 0.5 0.5 0.5", "0 0.25 0.25 0.75 0.25 0.75 0.75"], ids=["box", "polygon"])
def test_a_score_beyond_0_and_1_is_refused_with_its_line(row: str, score: str, tmp_path: Path) -> None:
    put(tmp_path, {"images/a.png": "", "labels/a.txt": f"{BOX}{row} {score}\n", "data.yaml": YAML})
    with pytest.raises(FormatError, match=f"a.txt:2: score {score} is not a number from 0 to 1"):
        list(converters.read(tmp_path).records)


def test_rows_of_pose_labels_have_no_score(tmp_path: Path) -> None:
    row = "0 0.5 0.5 0.5 0.5 0.25 0.5 0.75 0.5 0.9\n"  # a score after the keypoints
    put(tmp_path, {"images/a.png": "", "labels/a.txt": row, "data.yaml": POSE.format(2)})
    with pytest.raises(FormatError, match="kpt_shape asks for 4 . 2 x 2"):
        list(converters.read(tmp_path).records)
