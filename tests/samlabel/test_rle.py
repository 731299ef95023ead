"""Work on runs alone equals the same work on pixels, and polygons worked out by columns equal pycocotools' own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from pycocotools import mask as coco

from samlabel.geometry import (
    cropped,
    mask_from_rows,
    mask_from_uncompressed,
    mask_iou,
    mask_rows,
    mask_runs,
    mask_union,
    mask_window,
    outlines_to_counts,
    polygon_masks,
    polygons_to_mask,
    raster,
    rle,
)
from samlabel.types import GIANT, Mask

Draw = Callable[[np.random.Generator], np.ndarray]
OUTLINES: dict[str, Draw] = {
    "any": lambda rng: rng.uniform(-40, 90, (rng.integers(3, 12), 2)),
    "whole": lambda rng: np.round(rng.uniform(-40, 90, (rng.integers(3, 12), 2))),
    "fifths": lambda rng: np.round(5 * rng.uniform(-40, 90, (rng.integers(3, 12), 2))) / 5,
    "tenths": lambda rng: np.round(rng.uniform(-40, 90, (rng.integers(3, 12), 2)), 1),
    "far": lambda rng: np.round(rng.uniform(-600, 600, (rng.integers(3, 12), 2)), 2),
    "upright": lambda rng: np.repeat(np.round(rng.uniform(-40, 90, (5, 2))), 2, axis=0)[:, ::-1],
}


def some_masks(count: int, seed: int) -> list[tuple[Mask, np.ndarray]]:
    """Masks of noise, of stripes and of polygons, with their pixels."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        height, width = (int(side) for side in rng.integers(1, 40, 2))
        pixels = rng.random((height, width)) < rng.random()
        if number % 3 == 1:
            pixels = np.tile(np.arange(height)[:, None] % 3 == 0, (1, width))
        elif number % 3 == 2:
            pixels = polygons_to_mask([rng.uniform(0, 40, 8)], (height, width)).to_pixels()
        found.append((Mask.from_pixels(pixels), pixels))
    return found


@pytest.mark.parametrize("draw", OUTLINES.values(), ids=OUTLINES.keys())
def test_outlines_by_columns_are_those_that_pycocotools_walks(draw: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    sizes = [tuple(int(side) for side in rng.integers(1, 60, 2)) for _ in range(300)]
    drawn = [[draw(rng) for _ in range(1 + place % 3)] for place in range(300)]
    plain = [outlines_to_counts(rings, size) for rings, size in zip(drawn, sizes, strict=True)]
    monkeypatch.setattr(raster, "STEPS", 0)  # nothing is short any more
    assert [outlines_to_counts(rings, size) for rings, size in zip(drawn, sizes, strict=True)] == plain
    merged = [
        coco.merge(coco.frPyObjects([r.ravel() for r in rings], *size))
        for rings, size in zip(drawn, sizes, strict=True)
    ]
    assert [one["counts"] for one in merged] == plain


def test_the_columns_that_are_crossed_are_counted_before_they_are_worked_out() -> None:
    square = np.array([[10.0, 10.0], [20.0, 10.0], [20.0, 20.0], [10.0, 20.0]])
    assert raster.count_crossings(square, (100, 100)) == 20
    assert raster.count_crossings(square * 1000, (100, 100)) == 0
    far = np.array([[-1000.0, 5.0], [1000.0, 5.0], [1000.0, 50.0], [-1000.0, 50.0]])
    assert raster.count_crossings(far, (100, 100)) == 200


@pytest.mark.parametrize("many", [False, True], ids=["one by one", "many at once"])
def test_a_polygon_that_crosses_too_many_columns_is_refused(many: bool) -> None:
    zigzag = np.tile([[0.0, 0.0], [20000.0, 1.0]], (200, 1))
    assert raster.count_crossings(zigzag, (50, 20000)) > raster.CROSSINGS_MAX - 10**6
    longer = np.tile(zigzag, (2, 1))
    if many:
        assert polygon_masks([[zigzag[:100].tobytes()], [longer.tobytes()]], (50, 20000)) is None
    else:
        with pytest.raises(ValueError, match="columns of pixels in a 20000x50 image; expected at most 4194304"):
            polygons_to_mask([longer.ravel()], (50, 20000))


def test_runs_row_by_row_are_those_of_the_pixels_and_come_back() -> None:
    for mask, pixels in some_masks(120, 1):
        flat = np.concatenate(([False], pixels.ravel(), [not pixels.ravel()[-1]]))
        wanted = np.diff(np.flatnonzero(np.diff(flat)), prepend=0)
        rows = mask_rows(mask)
        assert rows.tolist() == wanted.tolist()
        assert mask_from_rows(rows, mask.size, whole=mask.size) == mask
        whole = (mask.size[0] + 5, mask.size[1] + 3)
        placed = np.zeros(whole, dtype=bool)
        placed[4 : 4 + mask.size[0], 2 : 2 + mask.size[1]] = pixels
        assert mask_from_rows(rows, mask.size, corner=(2, 4), whole=whole) == Mask.from_pixels(placed)


def test_a_window_a_union_and_an_overlap_are_those_of_the_pixels() -> None:
    rng = np.random.default_rng(2)
    for mask, pixels in some_masks(120, 2):
        height, width = mask.size
        (x0, x1), (y0, y1) = (
            sorted(int(v) for v in rng.choice(side + 1, 2, replace=False)) for side in (width, height)
        )
        box = (x0, y0, x1, y1)
        assert (mask_window(mask, box) == pixels[y0:y1, x0:x1]).all()
        assert cropped(mask, box) == Mask.from_pixels(pixels[y0:y1, x0:x1])
        other = rng.random(mask.size) < 0.3
        assert mask_union([mask, Mask.from_pixels(other)]) == Mask.from_pixels(pixels | other)
        either = np.count_nonzero(pixels | other)
        wanted = np.count_nonzero(pixels & other) / either if either else 0
        assert mask_iou(mask, Mask.from_pixels(other)) == wanted


def test_numbers_of_any_size_are_packed_as_pycocotools_packs_them() -> None:
    rng = np.random.default_rng(4)
    for _ in range(200):
        runs = rng.integers(1, 10 ** int(rng.integers(1, 7)), int(rng.integers(1, 40)))
        size = (1, int(runs.sum()))
        assert rle.pack(runs) == coco.frPyObjects({"size": list(size), "counts": runs.tolist()}, *size)["counts"]


def test_masks_of_images_that_pycocotools_misreads_are_measured_from_their_runs() -> None:
    size = (30_000, 30_000)
    assert size[0] * size[1] >= GIANT
    mask = mask_from_uncompressed([10, size[0] * size[1] - 30, 5, 10, 5], size)
    assert mask.area == size[0] * size[1] - 20 and mask.box == (0, 0, 30_000, 30_000)
    assert mask_runs(mask).tolist() == [10, size[0] * size[1] - 30, 5, 10, 5]
    other = mask_from_uncompressed([0, size[0] * size[1]], size)
    assert mask.iou(other) == (size[0] * size[1] - 20) / (size[0] * size[1])


def test_a_mask_of_more_runs_by_rows_than_are_handled_is_refused() -> None:
    stripes = mask_from_uncompressed([3000] * 3000, (3000, 3000))  # every other column, all the way down
    with pytest.raises(ValueError, match="runs when taken row by row; expected at most 4194304"):
        mask_rows(stripes)
    with pytest.raises(ValueError, match="leaves the 4x4 image"):
        mask_from_rows(np.array([1, 3]), (2, 2), corner=(3, 0), whole=(4, 4))
