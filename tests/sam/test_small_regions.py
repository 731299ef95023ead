"""Holes and islands that are too small to be meant leave the masks; all others stay as they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import sam
from sam.masks.rle import to_runs
from sam.masks.small_regions import remove_small_regions
from sam.registry import variants

TENTH = {  # drawn maps, and what stays of them without regions of less than a tenth of the mask
    "an island goes": (["####..", "####.#", "####.."], ["####..", "####..", "####.."]),
    "an island that touches a corner belongs to it": (["####..", "####..", "####..", "....#."], None),
    "a part of a tenth stays": (["#####..", "####..#"], None),
    "a hole is filled": (["#####", "##.##", "#####"], ["#####", "#####", "#####"]),
    "a hole at the border stays": (["#####", "#####", "##.##"], None),
    "a hole that opens at a corner is a hole still": ([".#####", "#.####", "######"], [".#####", "######", "######"]),
    "a hole of a tenth stays": (["######", "#..###", "######"], None),
    "an island in a hole goes with the hole's rim": (
        ["#####", "#...#", "#.#.#", "#...#", "#####"],
        ["#####", "#...#", "#...#", "#...#", "#####"],
    ),
    "nothing": (["....", "...."], None),
    "everything": (["####", "####"], None),
}


def drawn(rows: list[str]) -> torch.Tensor:
    return torch.tensor([[1.5 if cell == "#" else -0.5 for cell in row] for row in rows])[None]


@pytest.mark.parametrize(("rows", "wanted"), TENTH.values(), ids=TENTH.keys())
def test_what_is_small_goes_and_all_else_stays(rows, wanted):
    found = remove_small_regions(drawn(rows), 0.1)
    assert ((found > 0) == (drawn(wanted or rows) > 0)).all()
    assert (found.abs() == drawn(rows).abs()).all()


def test_of_many_islands_alike_none_is_small():
    islands = drawn(["#.#.#.#.#.#.#", ".............", "#.#.#.#.#.#.#"])
    assert (remove_small_regions(islands, 0.1) == islands).all()


def regions(inside: np.ndarray, diagonal: bool) -> list[list[tuple[int, int]]]:
    """Cells of each region, found one after another: the plain twin."""
    around = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if diagonal or 0 in (y, x)]
    left = {(int(y), int(x)) for y, x in np.argwhere(inside)}
    found = []
    while left:
        region = [left.pop()]
        for y, x in region:
            near = left & {(y + dy, x + dx) for dy, dx in around}
            left -= near
            region += near
        found.append(region)
    return found


def plainly(inside: np.ndarray, share: float) -> np.ndarray:
    inside, (height, width) = inside.copy(), inside.shape
    area = inside.sum()
    for region in regions(~inside, diagonal=False):
        at_border = any(y in (0, height - 1) or x in (0, width - 1) for y, x in region)
        if len(region) < share * area and not at_border:
            inside[tuple(zip(*region, strict=True))] = True
    islands, area = regions(inside, diagonal=True), inside.sum()
    for region in islands:
        if len(region) < share * area and len(region) < max(map(len, islands)):
            inside[tuple(zip(*region, strict=True))] = False
    return inside


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
@pytest.mark.parametrize("smooth", [1, 3, 5])
def test_many_maps_at_once_are_what_each_is_alone_by_the_plain_way(smooth, share):
    noise = torch.randn(6, 2, 23, 31, generator=torch.Generator().manual_seed(smooth))
    logits = torch.nn.functional.avg_pool2d(noise, smooth, stride=1, padding=smooth // 2)
    found = remove_small_regions(logits, share, threshold=0.05)
    assert (found != logits).any()
    for before, after in zip(logits.flatten(0, 1).numpy(), found.flatten(0, 1).numpy(), strict=True):
        assert ((after > 0.05) == plainly(before > 0.05, share)).all()


def test_masks_in_every_form_are_remove_small_regions_and_the_low_res_logits_as_they_were(picture):
    nano = sam.load("nano", seed=3)
    nano.mask_threshold = float(nano.predict(nano.embed(picture), boxes=[[8, 8, 60, 50]]).low_res_logits.median())
    found = nano.predict(nano.embed(picture), boxes=[[8, 8, 60, 50]])
    as_it_was = replace(found, min_region_fraction=0.0)
    assert found.min_region_fraction == nano.variant.min_region_fraction > 0
    assert (found.low_res_logits == as_it_was.low_res_logits).all()
    assert ((found.logits() > found.mask_threshold) == found.masks()).all()
    assert (found.masks() != as_it_was.masks()).any(), "random weights make specks"
    assert [list(one.runs) for one in found.rles()] == [list(to_runs(mask.numpy())) for mask in found.masks()[:, 0]]


def test_masks_of_the_official_variants_are_never_touched():
    assert all(variant.min_region_fraction == 0 for variant in variants() if variant.bundled is None)
