from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from samlabel.errors import UsageError
from samlabel.objects import Objects
from samlabel.options import Detecting, Grid, Thresholds
from samlabel.pipeline.context import ImageContext
from samlabel.pipeline.select import usable, why_dropped
from samlabel.pipeline.stages import Select
from samlabel.types import Annotation, Mask

FOUR = Mask.from_pixels(np.pad(np.ones((2, 2), bool), 1))
GOOD = Annotation(1, FOUR.box, FOUR, 0.9, 0.8, 0.7)
ALL = Thresholds(0.5, 0.5, 4)
CASES = {
    "good": (GOOD, None),
    "empty": (replace(GOOD, mask=Mask.from_pixels(np.zeros((4, 4)))), "empty_mask"),
    "no mask": (replace(GOOD, mask=None), "empty_mask"),
    "small": (replace(GOOD, mask=Mask.from_pixels(np.eye(3))), "min_area"),
    "unsure": (replace(GOOD, predicted_iou=0.49), "pred_iou_thresh"),
    "on the limit": (replace(GOOD, predicted_iou=0.5), None),
    "not a number": (replace(GOOD, predicted_iou=float("nan")), "pred_iou_thresh"),
    "shaky": (replace(GOOD, stability_score=0.1), "stability_score_thresh"),
    "unjudged": (replace(GOOD, predicted_iou=None, stability_score=None), None),
}


def selected(annotation: Annotation, thresholds: Thresholds) -> tuple[list[Annotation], dict[str, int]]:
    """What the stage keeps of one object, and what it counts."""
    from types import SimpleNamespace

    encoded: Any = SimpleNamespace(path="a.png", pixels=16)
    context = ImageContext(encoded)
    [kept] = Select(thresholds).run([context], [Objects.of([annotation])])
    return list(kept.annotations()), dict(context.dropped)


@pytest.mark.parametrize(("annotation", "reason"), CASES.values(), ids=CASES)
def test_each_candidate_is_kept_or_counted_under_one_reason(annotation: Annotation, reason: str | None) -> None:
    expected = ([annotation], {}) if reason is None else ([], {reason: 1})
    assert selected(annotation, ALL) == expected
    assert why_dropped(annotation, ALL) == reason


def test_by_default_only_empty_masks_are_dropped() -> None:
    poor = replace(GOOD, predicted_iou=0.0, stability_score=0.0)
    assert selected(poor, Thresholds()) == ([poor], {})


def test_scores_are_judged_as_they_are_written() -> None:
    kept, dropped = selected(replace(GOOD, predicted_iou=0.49999999), ALL)
    assert [one.predicted_iou for one in kept] == [0.5] and dropped == {}


def test_boxes_are_clipped_and_useless_ones_counted() -> None:
    boxes = [[-5, -5, 3, 4], [1, 1, 1, 3], [50, 50, 60, 60], [np.nan, 0, 1, 1], [0, 0, 9, 9]]
    dropped: Counter[str] = Counter()
    kept = usable(Objects(boxes=np.array(boxes), category_ids=np.arange(5)), (8, 9), dropped)
    assert kept.boxes.tolist() == [[0, 0, 3, 4], [0, 0, 9, 8]]
    assert (kept.category_ids.tolist(), kept.row_ids.tolist(), dropped) == ([0, 4], [0, 4], {"bad_box": 3})


@pytest.mark.parametrize(
    "make",
    [
        lambda: Detecting(conf=1.5),
        lambda: Detecting(max_det=0),
        lambda: Thresholds(pred_iou_thresh=-1),
        lambda: Thresholds(stability_score_thresh=float("nan")),
        lambda: Grid(points_per_side=0),
    ],
    ids=["conf", "max_det", "iou", "nan", "grid"],
)
def test_an_impossible_threshold_is_a_usage_error(make: object) -> None:
    with pytest.raises(UsageError, match="wanted"):
        make()  # type: ignore[operator]
