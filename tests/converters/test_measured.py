"""Which masks are measured, and what counts as the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import converters
from converters.format import agreement
from converters.round_trip import ALL_OF_THE_FIRST
from samlabel.geometry import polygons_to_mask

SIZE = (40, 60)


def coco(folder: Path, polygons: list[list[float]]) -> Path:
    found = [
        {"id": n, "image_id": 1, "category_id": 1, "segmentation": [one]} for n, one in enumerate(polygons, start=1)
    ]
    content: dict[str, Any] = {"images": [{"id": 1, "file_name": "a.png", "width": SIZE[1], "height": SIZE[0]}]}
    content.update(categories=[{"id": 1, "name": "x"}], annotations=found)
    Image.new("RGB", SIZE[::-1]).save(folder / "a.png")
    (folder / "in.json").write_text(json.dumps(content), encoding="utf-8")
    return folder / "in.json"


def square(place: int) -> list[float]:
    x, y = place % 50, place // 50 % 30
    return [x, y, x + 5, y, x + 5, y + 5, x, y + 5]


@pytest.mark.parametrize("objects", [ALL_OF_THE_FIRST, ALL_OF_THE_FIRST + 1], ids=["as many", "one more"])
def test_masks_of_the_first_image_are_measured_up_to_the_limit(objects: int, tmp_path: Path) -> None:
    file = coco(tmp_path, [square(place) for place in range(objects)])
    receipt = converters.convert(file, tmp_path / "out", to="yolo", images="none", dry_run=True)
    assert (receipt.mask_iou.masks, receipt.mask_iou.measured) == (objects, ALL_OF_THE_FIRST)


def test_two_masks_without_a_pixel_do_not_agree() -> None:
    empty = polygons_to_mask((), SIZE)
    assert agreement(empty, empty) == agreement(empty, None) == 0


OUTSIDE = [100, 50, 120, 50, 120, 70]


@pytest.mark.parametrize("name", converters.names())
def test_a_mask_outside_its_image_comes_back_empty_or_is_told_as_lost(name: str, tmp_path: Path) -> None:
    file = coco(tmp_path, [OUTSIDE, [10, 10, 20, 10, 20, 20]])
    receipt = converters.convert(file, tmp_path / "out", to=name, allow_lossy=True)
    areas = [one.mask.area for record in converters.read(tmp_path / "out", name).records for one in record.annotations]
    keeps = "empty_masks" in converters.get(name).capabilities.keeps
    assert areas == ([0, 45] if keeps else [45])
    assert receipt.losses.get("empty-mask-lost", 0) == (0 if keeps else 1)
