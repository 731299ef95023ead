"""labelme, CVAT and Label Studio: what their files hold besides plain masks, and files by other hands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

import converters
from samlabel.errors import FormatError, UsageError
from samlabel.types import ImageRecord
from tests.converters.cases import CASES, HOLED, SIZE, TWO, drawn, rectangle


def shape(label: str, points: list[list[float]], kind: str = "polygon", **fields: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, "flags": {}, **fields}


def labelme_file(folder: Path, shapes: list[dict[str, Any]], **fields: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    content = {"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": "a.png", "imageData": None}
    content.update({"imageHeight": SIZE[0], "imageWidth": SIZE[1], **fields})
    (folder / "a.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def only(path: Path, name: str | None = None) -> ImageRecord:
    (record,) = converters.read(path, name).records
    return record


SQUARE = [[4, 4], [10, 4], [10, 10], [4, 10]]


def test_labelme_shapes_of_one_group_and_label_are_one_object(tmp_path: Path) -> None:
    far = [[x + 12, y + 5] for x, y in SQUARE]
    shapes = [shape("a", SQUARE, group_id=7), shape("b", SQUARE, group_id=7), shape("a", far, group_id=7)]
    record = only(labelme_file(tmp_path, [*shapes, shape("a", SQUARE)]))
    assert [a.mask.area for a in record.annotations] == [72, 36, 36]


def test_labelme_rectangles_are_boxes_and_circles_are_masks(tmp_path: Path) -> None:
    shapes = [shape("a", [[20, 15], [3, 2.5]], "rectangle"), shape("a", [[16, 12], [16, 4]], "circle")]
    box, disc = only(labelme_file(tmp_path, shapes)).annotations
    assert (box.mask, box.box) == (None, (3, 2.5, 20, 15))
    assert disc.mask.area == pytest.approx(np.pi * 64, abs=6)
    assert disc.mask.box == (8, 4, 24, 20)


def test_labelme_points_and_lines_are_kept_and_go_back_into_the_file(tmp_path: Path) -> None:
    line = shape("edge", [[1, 1], [5, 5]], "line")
    path = labelme_file(tmp_path / "in", [line, shape("a", SQUARE)])
    record = only(path)
    assert (len(record.annotations), record.extra["other_shapes"]) == (1, [line])
    converters.convert(path, tmp_path / "out", to="labelme", images="none")
    assert json.loads((tmp_path / "out" / "a.json").read_text(encoding="utf-8"))["shapes"][-1] == line
    receipt = converters.convert(path, tmp_path / "yolo", to="yolo", dry_run=True)
    assert receipt.notes["fields-lost"] == 1


def test_labelme_polygons_fill_their_own_pixels_as_labelme_draws_them(tmp_path: Path) -> None:
    checked = 0
    for place, case in enumerate(case for case in CASES if case != "same stem, two extensions"):
        home = tmp_path / str(place)
        dataset = drawn(case, home / "photos")
        converters.write(dataset, home / "out", "labelme", shapes="polygon", images="none")
        for record in dataset.records:
            shapes = json.loads((home / "out" / record.path).with_suffix(".json").read_text(encoding="utf-8"))["shapes"]
            for number, annotation in enumerate(record.annotations, start=1):
                mine = [s for s in shapes if s["group_id"] in (number, None)]
                if (
                    annotation.mask is None
                    or not annotation.mask.area
                    or (len(mine) > 1 and len(record.annotations) > 1)
                ):
                    continue
                canvas = Image.new("L", record.size[::-1])
                for one in mine:  # labelme's shape_to_mask
                    ImageDraw.Draw(canvas).polygon(xy=[tuple(p) for p in one["points"]], outline=1, fill=1)
                assert ((np.asarray(canvas) > 0) == annotation.mask.to_pixels()).all(), case
                checked += 1
    assert checked > 20


def test_a_labelme_image_above_its_file_is_found_from_the_folder_above(tmp_path: Path) -> None:
    labelme_file(tmp_path / "labels", [shape("a", SQUARE)], imagePath="..\\images\\a.png")
    assert only(tmp_path).path == "images/a.png"
    with pytest.raises(FormatError, match="read the folder above"):
        only(tmp_path / "labels")
    record = next(iter(converters.read(tmp_path / "labels", image_root=tmp_path).records))
    assert record.path == "images/a.png"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"points": [[1, 2], [3, 4]]}, "three points"),
        ({"points": [[1, "x"], [3, 4], [5, 6]]}, "coordinate is 'x'"),
        ({"points": [[1, 1e300], [3, 4], [5, 6]]}, "finite number"),
        ({"label": 5}, "label is 5"),
        ({"group_id": [1]}, "group_id"),
        ({"shape_type": "circle"}, "4 points; a circle has 2"),
        ({"shape_type": "mask", "points": [[1, 1], [3, 3]], "mask": "!!"}, "no PNG in base64"),
    ],
    ids=["two points", "text", "far away", "label", "group", "circle", "bitmap"],
)
def test_a_wrong_labelme_shape_is_named(wrong: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = labelme_file(tmp_path, [{**shape("a", SQUARE), **wrong}])
    with pytest.raises(FormatError, match=words) as refusal:
        only(path, "labelme")
    assert "a.json" in str(refusal.value)


def cvat_file(folder: Path, body: str, labels: str = "<label><name>a</name></label>") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    meta = f"<meta><task><labels>{labels}</labels></task></meta>"
    image = f'<image id="3" name="a.png" width="{SIZE[1]}" height="{SIZE[0]}">{body}</image>'
    (folder / "annotations.xml").write_text(
        f'<?xml version="1.0"?><annotations><version>1.1</version>{meta}{image}</annotations>', encoding="utf-8"
    )
    return folder


def test_cvat_shapes_of_every_kind(tmp_path: Path) -> None:
    body = (
        '<box label="a" xtl="1" ytl="2" xbr="5" ybr="6"/>'
        '<box label="a" xtl="10" ytl="10" xbr="20" ybr="14" rotation="90"/>'
        '<ellipse label="a" cx="16" cy="12" rx="6" ry="3"/>'
        '<polygon label="a" points="4,4;10,4;10,10;4,10" group_id="2"/>'
        '<polygon label="a" points="20,4;26,4;26,10;20,10" group_id="2"/>'
        '<mask label="a" rle="1, 2, 3" left="7" top="9" width="3" height="2"/>'
        '<points label="a" points="1,1"/><tag label="a"/>'
    )
    record = only(cvat_file(tmp_path, body))
    box, turned, ellipse, pair, mask = record.annotations
    assert (record.id, box.box, box.mask) == (3, (1, 2, 5, 6), None)
    assert turned.mask.box == (13, 7, 17, 17)
    assert ellipse.mask.area == pytest.approx(np.pi * 18, abs=5)
    assert pair.mask.area == 72
    assert (mask.mask.box, mask.mask.area) == ((8, 9, 10, 10), 2)
    assert [one["type"] for one in record.extra["other_shapes"]] == ["points", "tag"]


def test_cvat_attributes_are_kept_and_scores_among_them_are_read(tmp_path: Path) -> None:
    body = (
        '<polygon label="a" source="auto" occluded="1" points="4,4;10,4;10,10">'
        '<attribute name="score">0.5</attribute><attribute name="colour">&lt;red&gt;</attribute></polygon>'
    )
    path = cvat_file(tmp_path / "in", body)
    (annotation,) = only(path).annotations
    assert (annotation.score, annotation.source) == (0.5, "auto")
    assert annotation.extra == {"occluded": True, "attributes": {"colour": "<red>"}}
    converters.convert(path, tmp_path / "out", to="cvat")
    (again,) = only(tmp_path / "out").annotations
    assert (again.score, again.source, again.extra) == (0.5, "auto", annotation.extra)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('<mask label="a" rle="1, 2" left="0" top="0" width="2" height="2"/>', r"cover 3 pixels; size \[2, 2\] has 4"),
        ('<mask label="a" rle="4" left="31" top="0" width="2" height="2"/>', "leaves the 32x24 image"),
        ('<mask label="a" rle="-4" left="0" top="0" width="2" height="2"/>', "whole numbers"),
        ('<polygon label="a" points="1,2;3"/>', "x,y;x,y"),
        ('<polygon label="a" points="1,2;3,nan;5,6"/>', "finite number"),
        ('<box label="a" xtl="1" ytl="2" xbr="3"/>', "ybr is None"),
    ],
    ids=["runs", "outside", "negative", "pairs", "nan", "missing side"],
)
def test_a_wrong_cvat_shape_is_named(body: str, words: str, tmp_path: Path) -> None:
    path = cvat_file(tmp_path, body)
    with pytest.raises(FormatError, match=words) as refusal:
        only(path)
    assert "annotations.xml: image 'a.png'" in str(refusal.value)


def test_a_few_bytes_that_claim_gigabytes_of_pixels_are_read_as_runs(tmp_path: Path) -> None:
    path = cvat_file(tmp_path, '<mask label="a" rle="5,2147395590,5" left="0" top="0" width="46340" height="46340"/>')
    file = path / "annotations.xml"
    file.write_text(file.read_text().replace('width="32" height="24"', 'width="46340" height="46340"'))
    mask = only(path).annotations[0].mask
    assert mask is not None and mask.area == 46340**2 - 10 and mask.box == (0, 0, 46340, 46340)


def test_cvat_for_video_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "annotations.xml").write_text('<annotations><track id="0" label="a"/></annotations>')
    with pytest.raises(FormatError, match="CVAT for video"):
        converters.read(tmp_path, "cvat")


def studio_file(folder: Path, *results: dict[str, Any], **task: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    size = {"original_height": SIZE[0], "original_width": SIZE[1], "image_rotation": 0}
    entry = {"result": [{**size, "to_name": "image", "from_name": "x", **result} for result in results]}
    content = {"id": 1, "data": {"image": "a.png"}, "annotations": [entry], **task}
    (folder / "project-1.json").write_text(json.dumps([content]), encoding="utf-8")
    return folder


def region(kind: str, **value: Any) -> dict[str, Any]:
    return {"type": kind, "value": {**value, kind: ["a"]}}


def test_label_studio_regions_of_every_kind(tmp_path: Path) -> None:
    path = studio_file(
        tmp_path,
        region("polygonlabels", points=[[12.5, 25], [50, 25], [50, 75], [12.5, 75]]),
        region("rectanglelabels", x=25, y=50, width=50, height=25, rotation=0),
        region("rectanglelabels", x=50, y=50, width=25, height=25, rotation=90),
        region("ellipselabels", x=50, y=50, radiusX=25, radiusY=25, rotation=0),
        region("keypointlabels", x=50, y=50, width=1),
        {"type": "choices", "value": {"choices": ["good"]}},
    )
    record = only(path)
    polygon, box, turned, ellipse = record.annotations
    assert polygon.mask == rectangle(4, 6, 16, 18)
    assert (box.mask, box.box) == (None, (8, 12, 24, 18))
    assert turned.mask.box == (10, 12, 16, 20)
    assert ellipse.mask.area == pytest.approx(np.pi * 48, abs=6)
    assert [item["type"] for item in record.extra["other_shapes"]] == ["keypointlabels", "choices"]


def test_a_label_studio_region_whose_label_is_a_second_result_is_one_object(tmp_path: Path) -> None:
    place = {"x": 25, "y": 50, "width": 50, "height": 25, "rotation": 0}
    path = studio_file(
        tmp_path,
        {"id": "q", "type": "rectangle", "value": place},
        {"id": "q", "type": "labels", "value": {**place, "labels": ["b"]}},
    )
    dataset = converters.read(path)
    assert [c.name for c in dataset.categories] == ["b"]
    assert len(next(iter(dataset.records)).annotations) == 1


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("/data/local-files/?d=my%20set/a.png", "my set/a.png"),
        ("/data/upload/12/3f2b-a.png", "3f2b-a.png"),
        ("https://host/one/a.png?x=1", "one/a.png"),
        ("s3://bucket/one/a.png", "one/a.png"),
        ("one/a b.png", "one/a b.png"),
    ],
)
def test_addresses_of_label_studio_images(address: str, name: str, tmp_path: Path) -> None:
    path = studio_file(
        tmp_path, region("polygonlabels", points=[[1, 1], [9, 1], [9, 9]]), data={"picture": 1, "image": address}
    )
    assert only(path).path == name


def test_label_studio_takes_the_first_annotation_that_counts_and_says_that_there_were_others(tmp_path: Path) -> None:
    size = {"original_height": SIZE[0], "original_width": SIZE[1]}
    result = [{**size, **region("polygonlabels", points=[[1, 1], [90, 1], [90, 90]])}]
    annotations = [{"was_cancelled": True, "result": result * 3}, {"result": result}, {"result": result * 2}]
    record = only(studio_file(tmp_path, annotations=annotations, predictions=[{"result": result * 5}]))
    assert (len(record.annotations), record.extra) == (1, {"other_annotations": 1})


def test_predictions_of_label_studio_count_when_nobody_annotated(tmp_path: Path) -> None:
    dataset = drawn("scores", tmp_path / "photos")
    converters.write(dataset, tmp_path / "out", "labelstudio", into="predictions")
    (task,) = json.loads((tmp_path / "out" / "tasks.json").read_text(encoding="utf-8"))
    assert task["annotations"] == [] and task["predictions"][0]["result"][0]["score"] == 0.123456789
    assert [a.mask for a in only(tmp_path / "out").annotations] == [HOLED, TWO]


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (region("brushlabels", format="rle", rle=[0, 0, 12, 0, 57]), "too few"),
        (region("brushlabels", format="rle", rle=[255] * 20), "brush mask of 4294967295 values"),
        (region("brushlabels", format="rle", rle=[1, 256]), "list of bytes"),
        (region("polygonlabels", points=[[1, 2, 3]]), r"list of \[x, y\]"),
        ({**region("polygonlabels", points=[[1, 2], [3, 4], [5, 6]]), "image_rotation": 90}, "image_rotation 90"),
    ],
    ids=["short", "huge", "bytes", "points", "turned"],
)
def test_a_wrong_label_studio_region_is_named(result: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = studio_file(tmp_path, result)
    with pytest.raises(FormatError, match=words) as refusal:
        only(path)
    assert "task 1: region 0" in str(refusal.value)


@pytest.mark.parametrize("shapes", ["auto", "polygon", "mask"])
@pytest.mark.parametrize("name", ["cvat", "labelme", "labelstudio"])
def test_masks_are_exact_as_polygons_and_as_bitmaps(name: str, shapes: str, tmp_path: Path) -> None:
    for case in ("hole", "two parts", "nested parts", "diagonal pixels", "every border", "full image"):
        home = tmp_path / case
        dataset = drawn(case, home / "photos")
        converters.write(dataset, home / "out", name, shapes=shapes)
        got = [a.mask for record in converters.read(home / "out").records for a in record.annotations]
        assert got == [a.mask for record in dataset.records for a in record.annotations], case


@pytest.mark.parametrize("name", ["cvat", "labelme", "labelstudio"])
def test_an_unknown_choice_of_shapes_is_answered_with_the_known_ones(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="auto, polygon, mask"):
        converters.write(drawn("hole", tmp_path / "photos"), tmp_path / "out", name, shapes="polygons")


def test_unlabelled_things_are_of_the_class_object(tmp_path: Path) -> None:
    dataset = converters.read(cvat_file(tmp_path, '<polygon label="" points="1,2;13,2;16,15"/>', labels=""))
    assert [c.name for c in dataset.categories] == ["object"]
