"""Masks to polygons and back: bit for bit, whatever the shape."""

from __future__ import annotations

import numpy as np
import pytest

from samlabel import geometry
from samlabel.types import Mask

SHAPES = {
    "one pixel": ["1"],
    "one pixel in a corner": ["000", "000", "001"],
    "full image": ["111", "111"],
    "one row": ["01110"],
    "one column": ["0", "1", "1"],
    "hole": ["1111", "1011", "1001", "1111"],
    "hole of one pixel": ["111", "101", "111"],
    "part in a hole": ["11111", "10001", "10101", "10001", "11111"],
    "hole in a part in a hole": [
        "111111111",
        "100000001",
        "101111101",
        "101000101",
        "101010101",
        "101000101",
        "101111101",
        "100000001",
        "111111111",
    ],
    "two holes below one edge": ["1111111", "1011101", "1111111"],
    "holes side by side and below": ["11111", "10101", "11111", "11011", "11111"],
    "diagonal pair": ["10", "01"],
    "other diagonal pair": ["01", "10"],
    "checkerboard": ["10101", "01010", "10101", "01010"],
    "ring of diagonals": ["010", "101", "010"],
    "hole that touches the outside by a corner": ["1110", "1011", "1101", "0111"],
    "two parts": ["1100011", "1100011"],
    "all four borders": ["0110", "1111", "1111", "0110"],
    "runs on over the column's end": ["111", "011", "111"],
}
INSET = 1 / 16


def drawn(rows: list[str]) -> np.ndarray:
    return np.array([[cell == "1" for cell in row] for row in rows])


def random_masks(count: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    masks = []
    for number in range(count):
        noise = rng.random(rng.integers(1, 24, 2))
        if number % 2:  # blobs, as masks of photos are
            padded = np.pad(noise, 1, mode="edge")
            noise = sum(padded[y : y + noise.shape[0], x : x + noise.shape[1]] for y in range(3) for x in range(3)) / 9
        masks.append(noise < rng.choice([0.2, 0.45, 0.5, 0.55, 0.9]))
    return masks


CASES = [pytest.param(drawn(rows), id=name) for name, rows in SHAPES.items()]


def plain_parts_and_holes(pixels: np.ndarray) -> tuple[int, int]:
    """The slow twin: label 8-connected foreground and 4-connected background one pixel at a time."""

    def regions(wanted: np.ndarray, diagonal: bool) -> int:
        left = {tuple(p) for p in np.argwhere(wanted)}
        steps = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if (a or b) and (diagonal or not (a and b))]
        count = 0
        while left:
            count += 1
            todo = [left.pop()]
            while todo:
                y, x = todo.pop()
                near = {(y + a, x + b) for a, b in steps} & left
                left -= near
                todo += near
        return count

    outside = np.pad(~pixels, 1, constant_values=True)
    return regions(pixels, True), regions(outside, False) - 1


def assert_exact(pixels: np.ndarray) -> None:
    from pycocotools import mask as coco

    mask = Mask.from_pixels(pixels)
    polygons = geometry.mask_to_polygons(mask)
    back = coco.decode(coco.merge(coco.frPyObjects(polygons, *mask.size))) if polygons else np.zeros(mask.size)
    assert np.array_equal(back.astype(bool), pixels)
    assert (len(polygons), geometry.count_parts_and_holes(mask)[1]) == plain_parts_and_holes(pixels)


@pytest.mark.parametrize("pixels", CASES)
def test_polygons_give_the_same_mask_back_through_pycocotools(pixels: np.ndarray) -> None:
    assert_exact(pixels)


def test_random_masks_come_back_bit_for_bit_with_their_parts_and_holes_counted() -> None:
    for pixels in random_masks(300):
        assert_exact(pixels)


def test_a_mask_turned_or_mirrored_is_still_exact() -> None:
    for pixels in random_masks(20, seed=1):
        for turned in (pixels.T, pixels[::-1], pixels[:, ::-1]):
            assert_exact(np.ascontiguousarray(turned))


@pytest.mark.parametrize("pixels", CASES)
def test_one_inset_contour_gives_the_same_mask_back(pixels: np.ndarray) -> None:
    mask = Mask.from_pixels(pixels)
    contour = geometry.join_contours(geometry.mask_to_contours(mask, inset=INSET))
    assert geometry.polygons_to_mask([contour.ravel()], mask.size) == mask


def test_one_inset_contour_of_any_random_mask_is_exact_and_fills_its_own_pixels_in_opencv() -> None:
    import cv2

    for pixels in random_masks(200, seed=2):
        mask = Mask.from_pixels(pixels)
        contours = geometry.mask_to_contours(mask, inset=INSET)
        if not contours:
            assert not pixels.any()
            continue
        contour = geometry.join_contours(contours)
        assert geometry.polygons_to_mask([contour.ravel()], mask.size) == mask
        painted = np.zeros(mask.size, np.uint8)
        cv2.fillPoly(painted, [contour.astype(np.int32)], 1)
        assert not (pixels & ~painted.astype(bool)).any()
        if len(contours) == 1:
            assert np.array_equal(painted.astype(bool), pixels)


def test_a_polygon_has_no_corner_on_a_straight_line() -> None:
    assert geometry.mask_to_polygons(Mask.from_pixels(np.ones((5, 7), bool))) == [[0, 0, 7, 0, 7, 5, 0, 5]]


def test_an_empty_mask_has_no_polygon_and_none_gives_an_empty_mask() -> None:
    empty = Mask.from_pixels(np.zeros((3, 4), bool))
    assert geometry.mask_to_polygons(empty) == []
    assert geometry.polygons_to_mask([], (3, 4)) == empty


def test_an_outline_whose_seams_alone_are_over_the_budget_keeps_its_shape() -> None:
    y, x = np.mgrid[:120, :120]
    pixels = (x - 60) ** 2 + (y - 60) ** 2 < 55**2
    for at in range(20, 100, 16):
        pixels[at : at + 4, 30 + at // 2 : 38 + at // 2] = False
    mask = Mask.from_pixels(pixels)
    (points,) = (np.array(polygon).reshape(-1, 2) for polygon in mask.to_polygons())
    seams = len(geometry.simplify_to(points, max_points=None, tolerance=1e5))
    found = geometry.simplify_to(points, max_points=8, tolerance=0.0)
    assert 8 < seams < len(found) <= seams + 8 < len(points)
    assert Mask.from_polygons([found.ravel().tolist()], mask.size).iou(mask) > 0.7


def test_simplifying_drops_corners_and_stays_close() -> None:
    y, x = np.mgrid[:60, :60]
    disc = (x - 30) ** 2 + (y - 30) ** 2 < 25**2
    disc &= (x - 30) ** 2 + (y - 30) ** 2 > 8**2
    mask = Mask.from_pixels(disc)
    exact, rough = mask.to_polygons(), geometry.mask_to_polygons(mask, tolerance=1.0)
    assert len(rough[0]) < len(exact[0]) / 2
    assert geometry.polygons_to_mask(rough, mask.size).iou(mask) > 0.95


def test_runs_are_those_of_the_uncompressed_form() -> None:
    for pixels in random_masks(50, seed=3):
        mask = Mask.from_pixels(pixels)
        runs = geometry.mask_runs(mask)
        assert np.array_equal(np.repeat(np.arange(len(runs)) % 2, runs), pixels.T.ravel())
        assert geometry.mask_from_uncompressed(runs.tolist(), mask.size) == mask


def test_uncompressed_runs_of_zero_pixels_are_taken_up() -> None:
    plain = geometry.mask_from_uncompressed([1, 3, 2], (3, 2))
    assert geometry.mask_from_uncompressed([1, 1, 0, 2, 2], (3, 2)) == plain


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: geometry.mask_from_counts("`0", (2, 3)), "size"),
        (lambda: geometry.mask_from_counts("", (2, 3)), "text"),
        (lambda: geometry.mask_from_counts("é", (2, 3)), "text"),
        (lambda: geometry.mask_from_counts("oooooooooooooo", (2, 3)), "number"),
        (lambda: geometry.mask_from_counts("6", (100_000, 100_000)), "pixels"),
        (lambda: geometry.mask_from_uncompressed([10**18, 10**18], (2, 3)), "cover"),
        (lambda: geometry.mask_from_uncompressed([7, -1], (2, 3)), "negative"),
        (lambda: geometry.mask_from_uncompressed(["6"], (2, 3)), "whole numbers"),
        (lambda: geometry.mask_from_uncompressed([[6], 1], (2, 3)), "whole numbers"),
        (lambda: geometry.polygons_to_mask([[0, 0, 1, 1]], (2, 3)), "three points"),
        (lambda: geometry.polygons_to_mask([[0, 0, 1, 1, float("nan"), 2]], (2, 3)), "finite"),
        (lambda: geometry.polygons_to_mask([[0, 0, 1e9, 1, 2, 2]], (2, 3)), "outside"),
        (lambda: geometry.polygons_to_mask([["a", 0, 1, 1, 2, 2]], (2, 3)), "numbers"),
        (lambda: geometry.innermost_point(Mask.from_pixels(np.zeros((2, 2)))), "empty"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_a_mask_is_refused_in_words(call, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


def test_the_innermost_point_lies_inside_and_as_deep_as_any() -> None:
    for pixels in random_masks(60, seed=4):
        if not pixels.any():
            continue
        x, y = geometry.innermost_point(Mask.from_pixels(pixels))
        row, column = int(y), int(x)
        assert pixels[row, column] and (x % 1, y % 1) == (0.5, 0.5)
        outside = np.argwhere(np.pad(~pixels, 1, constant_values=True)) - 1
        depth = {tuple(p): np.abs(outside - p).sum(axis=1).min() for p in np.argwhere(pixels)}
        assert depth[row, column] == max(depth.values())


def test_boxes_change_notation_and_back() -> None:
    assert geometry.box_from_xywh((1, 2, 3, 4)) == (1, 2, 4, 6)
    assert geometry.box_to_xywh((1, 2, 4, 6)) == (1, 2, 3, 4)
    assert geometry.clip_box((-5, 1, 99, 2), (10, 20)) == (0, 1, 20, 2)
    assert geometry.bounding_points([3, 1, 0, 2, 5, 9]) == (0, 1, 5, 9)
