"""The shipped models on real photos that they never saw."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import sam
from samlabel.training import quality

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


def test_the_detector_finds_what_ordinary_photos_show() -> None:
    found = quality.detection(DATA)  # all of val: a third of it holds too few people to judge
    assert found["AP50"]["person"] > 0.15 and found["AP50"]["animal"] > 0.6 and found["AP50"]["vehicle"] > 0.11
    for there, hit, _ in found["first"].values():
        assert hit > 0.75 * there
