"""The shipped models on real photos that they never saw."""

from __future__ import annotations

import importlib.util
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import sam
from samlabel import detectors
from samlabel.detectors import nano
from samlabel.sources.images import decode
from samlabel.training import quality
from samlabel.training.detector import quality as boxes
from samlabel.training.detector.classes import CLASS_NAMES, group_of

DATA = Path(os.environ.get("SAMLABEL_DATA", "absent")) / "photos"
pytestmark = [
    pytest.mark.photos,
    pytest.mark.skipif(not (DATA / "val.json").is_file(), reason="SAMLABEL_DATA holds no photos/val.json"),
]


@pytest.fixture(scope="module")
def reached() -> dict[str, quality.Scores]:
    return quality.measure(sam.load("nano"), DATA, limit=120)


@pytest.fixture(scope="module")
def compared() -> dict[str, quality.Scores]:
    return quality.baselines(DATA, sample=15)


def test_masks_beat_the_filled_box_and_grabcut_overall(
    reached: dict[str, quality.Scores], compared: dict[str, quality.Scores]
) -> None:
    assert reached["box"].mean("all") > compared["filled box"].mean("all") + 0.08
    assert reached["box"].mean("all") > compared["GrabCut"].mean("all") + 0.15


def test_a_corrective_click_makes_masks_better(reached: dict[str, quality.Scores]) -> None:
    assert reached["refined"].mean("all") > reached["box"].mean("all")


def test_predicted_iou_ranks_good_masks_first(reached: dict[str, quality.Scores]) -> None:
    truth, predicted = (np.array(reached[k].values["all"]) for k in ("box", "predicted"))
    assert np.abs(truth - predicted).mean() < 0.1
    assert quality.auc(predicted, truth > 0.75) > 0.75


@pytest.fixture(scope="module")
def ordinary() -> list[boxes.Photo]:
    """The fully labeled photos with what the bundled detector finds in them, however little it believes in it."""
    detector = detectors.load("nano", conf=boxes.LOWEST, max_det=100)
    return boxes.searched(detector, DATA, boxes.photos(DATA, boxes.COMPLETE))


def test_people_animals_vehicles_and_other_things_are_found(ordinary: list[boxes.Photo]) -> None:
    groups, _ = boxes.average_precision(ordinary, {name: group_of(name) for name in CLASS_NAMES})
    for group, least in (("person", 0.68), ("animal", 0.8), ("vehicle", 0.57), ("other", 0.41)):
        assert groups[group] >= least - 0.005, group


def test_about_three_of_four_labels_are_right_at_the_default_score(ordinary: list[boxes.Photo]) -> None:
    assert 0.7 < boxes.counts(ordinary, nano.CONF).precision < 0.8


@pytest.mark.parametrize(
    ("name", "expected"),
    [("bus.jpg", {"person": 4, "bus": 1}), ("zidane.jpg", {"person": 2, "tie": 1})],
    ids=["bus", "zidane"],
)
def test_the_photos_of_the_demo_get_each_object_once(name: str, expected: dict[str, int]) -> None:
    spec = importlib.util.find_spec("ultralytics")
    assert spec is not None and spec.origin is not None
    detector = detectors.load("nano")
    (found,) = detector.detect([decode(Path(spec.origin).parent / "assets", name).image])
    names = {category.id: category.name for category in detector.info.categories}
    assert Counter(names[kind] for kind in found.category_ids.tolist()) == expected
