"""Objects that are nearly one: each once, as comparing every pair finds them, and quickly where they are thousands."""

from __future__ import annotations

import random
import time

import pytest

from samlabel.datasets import near_duplicates as module
from samlabel.datasets.near_duplicates import TooManyPairs, duplicates
from samlabel.geometry import polygons_to_mask
from samlabel.types import Annotation, Mask

SIZE = (40, 40)


def square(x: float, y: float, width: float, height: float) -> Mask:
    return polygons_to_mask([[x, y, x + width, y, x + width, y + height, x, y + height]], SIZE)


def drawn(seed: int) -> list[Annotation]:
    rng, objects = random.Random(seed), []
    for _ in range(25):
        x, y, width, height = rng.randint(0, 20), rng.randint(0, 20), rng.randint(0, 12), rng.randint(0, 12)
        mask = square(x, y, width, height) if rng.random() < 0.6 else None
        objects.append(Annotation(rng.randint(1, 2), (x, y, x + width, y + height), mask))
        if rng.random() < 0.3:
            objects.append(Annotation(rng.randint(1, 2), objects[-1].box, objects[-1].mask))
    return objects


def box_iou(a: Annotation, b: Annotation) -> float:
    (x0, y0, x1, y1), (u0, v0, u1, v1) = a.box, b.box
    common = max(0.0, min(x1, u1) - max(x0, u0)) * max(0.0, min(y1, v1) - max(y0, v0))
    either = (x1 - x0) * (y1 - y0) + (u1 - u0) * (v1 - v0) - common
    return common / either if either > 0 else 0.0


def every_pair(objects: list[Annotation], iou: float) -> set[tuple[int, bool]]:
    found = set()
    for second, b in enumerate(objects):
        for a in objects[:second]:
            overlap = box_iou(a, b)
            if a.mask is not None and b.mask is not None and overlap >= iou / 4:
                overlap = a.mask.iou(b.mask)
            if overlap >= iou:
                found.add((second, a.category_id == b.category_id))
    return found


@pytest.mark.parametrize("iou", [0.5, 0.95])
def test_the_objects_found_are_those_that_comparing_every_pair_finds(iou: float) -> None:
    for seed in range(60):
        objects = drawn(seed)
        found = [(one.second, one.same_category) for one in duplicates(objects, iou)]
        wanted = every_pair(objects, iou)
        assert len(found) == len(set(found)) and set(found) <= wanted
        assert {second for second, _ in found} == {second for second, _ in wanted}


@pytest.mark.parametrize("step", [0, 1e-6], ids=["equal", "nearly equal"])
def test_thousands_of_copies_are_found_each_once_in_seconds(step: float) -> None:
    mask = square(1, 1, 30, 30)
    objects = [Annotation(1, (1, 1, 31 + step * n, 31), mask) for n in range(12_000)]
    start = time.process_time()
    found = list(duplicates(objects, 0.95))
    assert [one.second for one in found] == list(range(1, 12_000))
    assert {one.first for one in found} == {0} and time.process_time() - start < 20


@pytest.mark.parametrize("limit", ["PAIRS_MAX", "MASKS_MAX"])
def test_more_overlaps_than_are_compared_end_in_an_exception(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, limit, 10)
    objects = [Annotation(1, (0, 0, 20, 20), square(n % 6, n // 6, 10, 10)) for n in range(30)]
    with pytest.raises(TooManyPairs):
        list(duplicates(objects, 0.95))
