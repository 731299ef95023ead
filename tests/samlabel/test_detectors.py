"""Detectors by name, classes by name or number, batches that change nothing."""

from __future__ import annotations

import numpy as np
import pytest

from samlabel import detectors
from samlabel.detectors._batches import inside, same_size
from samlabel.detectors._classes import chosen
from samlabel.errors import UnknownName, UsageError
from samlabel.protocols import Image

COLOURS = {0: "red", 1: "green", 2: "Green", 5: "7", 7: "blue"}


@pytest.mark.parametrize(
    ("spec", "parsed"),
    [
        ("none", ("none", None)),
        ("ultralytics:yolo11n.pt", ("ultralytics", "yolo11n.pt")),
        ("my models/best.pt", ("ultralytics", "my models/best.pt")),
        ("C:\\models\\best.onnx", ("ultralytics", "C:\\models\\best.onnx")),
        ("yolo_openvino_model/", ("ultralytics", "yolo_openvino_model/")),
        ("best_int8.tflite", ("ultralytics", "best_int8.tflite")),
        ("torchvision:ssd300_vgg16", ("torchvision", "ssd300_vgg16")),
        ("labels:C:\\boxes.json", ("labels", "C:\\boxes.json")),
        ("labels:", ("labels", None)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_detector_is_written_as_name_and_what(spec: str, parsed) -> None:
    assert detectors.parse(spec) == parsed


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ("torchvison:ssd300_vgg16", "Did you mean torchvision:ssd300_vgg16"),
        ("boxes.json", "write labels:boxes.json"),
        ("yolo11n", "write ultralytics:yolo11n"),
        ("something", "known: "),
    ],
    ids=["typing error", "label file", "published weights", "nothing like it"],
)
def test_an_unknown_detector_is_refused_with_a_hint(spec: str, hint: str) -> None:
    with pytest.raises(UnknownName, match="unknown detector") as caught:
        detectors.load(spec)
    assert hint in str(caught.value)


def test_the_listing_holds_every_detector_with_one_line() -> None:
    lines = detectors.descriptions()
    assert list(lines) == detectors.names()
    assert {"labels", "none", "torchvision", "ultralytics"} <= set(lines)
    assert all(line and "\n" not in line and len(line) < 120 for line in lines.values())


@pytest.mark.parametrize(
    "options",
    [{"conf": 1.5}, {"conf": -0.1}, {"iou": 2}, {"imgsz": 0}, {"max_det": 0}],
    ids=lambda options: next(iter(options)),
)
def test_impossible_options_are_refused_before_anything_loads(options) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        detectors.load("labels:nowhere.json", **options)


@pytest.mark.parametrize(
    ("classes", "keys"),
    [
        (None, {0, 1, 2, 5, 7}),
        ([], set()),
        (["red"], {0}),
        (["green"], {1}),
        (["GREEN"], {1, 2}),
        ([7], {7}),
        (["7"], {5}),
        (["0", "blue"], {0, 7}),
        ("red", {0}),
    ],
    ids=["all", "none", "name", "exact case wins", "any case", "number", "a name wins over a number", "mixed", "bare"],
)
def test_classes_are_names_or_numbers(classes, keys) -> None:
    assert chosen(classes, COLOURS) == keys


@pytest.mark.parametrize("wanted", ["gren", 3, "-1", "", "99999"], ids=str)
def test_a_class_that_means_nothing_is_refused(wanted) -> None:
    with pytest.raises(UnknownName, match="unknown class"):
        chosen([wanted], COLOURS)


def test_a_long_list_of_classes_is_cut_in_the_message() -> None:
    with pytest.raises(UnknownName) as caught:
        chosen(["dgo"], {**dict.fromkeys(range(80), "thing"), 90: "dog"})
    assert "and 61 more" in str(caught.value) and "Did you mean dog?" in str(caught.value)


def test_batches_hold_images_of_one_size_and_lose_none() -> None:
    images = [Image(str(i), np.zeros((2 + i % 2, 3, 3), np.uint8)) for i in range(5)]
    assert list(same_size(images, together=True)) == [[0, 2, 4], [1, 3]]
    assert list(same_size(images, together=False)) == [[0], [1], [2], [3], [4]]


def test_boxes_are_clipped_and_those_outside_are_left_out() -> None:
    boxes = np.array([[-5, -5, 4, 4], [8, 2, 20, 6], [11, 0, 12, 3], [3, 3, 3, 5], [np.nan, 0, 1, 1]])
    found = inside(boxes, np.arange(5), np.arange(1, 6), (6, 10))
    assert found.boxes.tolist() == [[0, 0, 4, 4], [8, 2, 10, 6]]
    assert found.category_ids.tolist() == [1, 2]
    assert found.scores.tolist() == [0, 1]
