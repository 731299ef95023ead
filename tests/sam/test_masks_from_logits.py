"""Run lengths straight from low-res logits, against the plain twin: enlarge twice, cut, count."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from pycocotools import mask as coco
from torch.nn import functional as F

import sam
from sam.masks import edge_crossings, rle
from sam.masks.bilinear import Frame, exact_logits
from sam.masks.from_logits import masks_from_logits
from sam.transforms import resized, to_original

# Where torch's kernels multiply and add at once, as on x86 of the last ten years, the last bit is the same;
# elsewhere a value within a few roundings of the threshold may fall on its other side.
SAME_BITS = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
OFFICIAL, NANO, DRAWN = (256, 1024), (192, 384), (64, 256)  # sides of the low-res logits and of the padded square


def frame_of(model: tuple[int, int], size: tuple[int, int]) -> Frame:
    low, side = model
    return Frame((low, low), side, resized(size, side), size)


def plain(logits: np.ndarray, frame: Frame) -> np.ndarray:
    """(N, H, W) logits at the size of the image: the twin, 4 bytes a pixel and mask."""
    tensor = torch.from_numpy(logits)[:, None]
    return to_original(tensor, side=frame.side, input_size=frame.input_size, size=frame.size)[:, 0].numpy()


def smooth(low: int, count: int, seed: int) -> np.ndarray:
    """Logits like a model's: blobs with smooth edges, plateaus, holes, some at the border."""
    coarse = torch.randn(count, 1, low // 16 + 2, low // 16 + 2, generator=torch.Generator().manual_seed(seed)) * 8
    return F.interpolate(coarse, (low, low), mode="bicubic")[:, 0].clamp(-20, 12).contiguous().numpy()


def kinds(low: int) -> np.ndarray:
    """Logits of every kind: smooth, noise, on a few levels only (many ties), all at one level, one cell."""
    one_cell = np.full((low, low), -5, np.float32)
    one_cell[low // 3, low // 4] = 5
    corner = np.full((low, low), -5, np.float32)
    corner[0, 0] = corner[-1, -1] = 3
    noise = np.random.default_rng(1).normal(0, 5, (low, low)).astype(np.float32)
    levels = [np.full((low, low), level, np.float32) for level in (-1, 0, 1, 9)]
    return np.stack([*smooth(low, 3, 2), noise, np.round(smooth(low, 1, 5)[0]), one_cell, corner, *levels])


def assert_same_masks(logits: np.ndarray, frame: Frame, threshold: float) -> None:
    wanted = plain(logits, frame)
    found = list(masks_from_logits(logits, frame, threshold=threshold, stability_offset=1.0))
    assert len(found) == len(logits)
    for one, values in zip(found, wanted, strict=True):
        pixels = values > threshold
        differs = rle.to_pixels(one.runs, one.size) != pixels
        if SAME_BITS:
            assert not differs.any()
            inner, outer = (values > threshold + 1).sum(), (values > threshold - 1).sum()
            assert one.stability_score == inner / max(outer, 1)
            assert np.array_equal(one.runs, rle.to_runs(pixels))
        assert np.abs(values[differs] - threshold).max(initial=0) <= 2**-18 * np.abs(values).max()
        packed = coco.encode(np.asfortranarray(rle.to_pixels(one.runs, one.size), dtype=np.uint8))
        assert one.counts == packed["counts"]
        assert one.area == coco.area(packed)
        x, y, width, height = coco.toBbox(packed)
        assert one.box == (x, y, x + width, y + height)


@pytest.mark.parametrize("threshold", [0.0, 0.3, -2.0])
@pytest.mark.parametrize(
    ("model", "size"),
    [
        (OFFICIAL, (270, 203)),
        (OFFICIAL, (97, 64)),
        (OFFICIAL, (60, 60)),
        (OFFICIAL, (1, 1)),
        (OFFICIAL, (1, 129)),
        (OFFICIAL, (300, 1)),
        (NANO, (384, 384)),
        (NANO, (401, 517)),
        (NANO, (64, 64)),
        (NANO, (2, 3)),
        (DRAWN, (150, 220)),
        (DRAWN, (257, 1000)),
        ((30, 90), (110, 71)),
        ((40, 40), (33, 90)),
    ],
    ids=str,
)
def test_runs_areas_boxes_and_stability_are_those_of_the_plain_twin(model, size, threshold):
    assert_same_masks(kinds(model[0]), frame_of(model, size), threshold)


@pytest.mark.parametrize("size", [(1080, 810), (3000, 4000)], ids=str)
def test_photos_of_one_and_of_twelve_megapixels_have_the_plain_twins_masks(size):
    assert_same_masks(smooth(256, 2, 7), frame_of(OFFICIAL, size), 0.0)


def test_masks_of_the_nano_model_are_those_it_makes_as_pixels(picture):
    model = sam.load("nano")
    boxes = [[20, 25, 110, 120], [90, 80, 210, 140], [0, 0, 219, 149], [100, 70, 101, 71]]
    prediction = model.predict(model.embed(picture), boxes=boxes, multimask_output=True)
    found = list(prediction.rles(stability_offset=1.0))
    masks, logits = prediction.masks().flatten(0, 1).numpy(), prediction.logits().flatten(0, 1)
    scores = sam.automatic.scoring.stability_score(logits, 0.0, 1.0)
    for one, mask, score in zip(found, masks, scores, strict=True):
        assert (rle.to_pixels(one.runs, one.size) != mask).sum() <= (0 if SAME_BITS else 1)
        assert one.stability_score == pytest.approx(float(score), abs=1e-6 if SAME_BITS else 1e-3)
    some = list(prediction.rles(torch.tensor([5, 0])))
    assert [one.counts for one in some] == [found[5].counts, found[0].counts]
    assert some[0].stability_score is None


@pytest.mark.parametrize(("model", "size"), [(OFFICIAL, (270, 403)), (NANO, (500, 333)), (OFFICIAL, (50, 70))], ids=str)
def test_a_pixel_computed_alone_has_the_bits_it_has_in_the_whole_image(model, size):
    frame = frame_of(model, size)
    logits = np.random.default_rng(0).normal(0, 5, (2, model[0], model[0])).astype(np.float32)
    wanted = plain(logits, frame)
    mask, y, x = (index.reshape(-1) for index in np.indices(wanted.shape))
    found = exact_logits(logits, frame, mask, y, x).reshape(wanted.shape)
    if SAME_BITS:
        assert np.array_equal(found, wanted)
    assert np.abs(found - wanted).max() <= 2**-20 * np.abs(wanted).max()


def test_how_many_are_worked_on_at_once_changes_nothing(monkeypatch):
    logits, frame = smooth(64, 11, 3), frame_of(DRAWN, (300, 200))
    expected = [one.counts for one in masks_from_logits(logits, frame, threshold=0.0)]
    monkeypatch.setattr(edge_crossings, "_MASKS_AT_ONCE", 3)
    monkeypatch.setattr(edge_crossings, "_BLOCKS_AT_ONCE", 17)
    assert [one.counts for one in masks_from_logits(logits, frame, threshold=0.0)] == expected
    assert list(masks_from_logits(logits[:0], frame, threshold=0.0, stability_offset=1.0)) == []


def test_logits_that_are_no_numbers_still_give_masks():
    logits, frame = smooth(64, 3, 3), frame_of(DRAWN, (300, 200))
    logits[0], logits[1, 20:40], logits[2, :, 5] = np.nan, np.inf, -np.inf
    for one in masks_from_logits(logits, frame, threshold=0.0, stability_offset=1.0):
        assert one.runs.sum() == 300 * 200 and (one.runs[1:] > 0).all()


def disc(radius: float) -> np.ndarray:
    """(1, 256, 256) logits of a disc of `radius` low-res samples, positive inside."""
    y, x = np.mgrid[:256, :256] - 127.3
    return np.clip(radius - np.hypot(x, y), -8, 8).astype(np.float32)[None]


def work(monkeypatch, radius: float, side: int) -> tuple[int, int]:
    """Blocks sampled, and places where an edge is looked for, for a disc in a square image."""
    blocks, places = [], []
    sampled, on_columns = edge_crossings.Blocks.sampled, edge_crossings._segments

    def count_blocks(batch, index):
        blocks.append(len(index))
        return sampled(batch, index)

    def count_places(batch, level, cells):
        places.append(len(cells.mask))
        return on_columns(batch, level, cells)

    with monkeypatch.context() as patch:
        patch.setattr(edge_crossings.Blocks, "sampled", count_blocks)
        patch.setattr(edge_crossings, "_segments", count_places)
        (found,) = masks_from_logits(disc(radius), frame_of(OFFICIAL, (side, side)), threshold=0.0)
    assert found.area == pytest.approx(np.pi * (radius * side / 256) ** 2, rel=0.02)
    return sum(blocks), sum(places)


def test_work_follows_the_edge_of_a_mask_and_not_its_pixels(monkeypatch):
    # A disc of twice the radius has twice the edge and four times the pixels.
    (units, places), (units2, places2) = work(monkeypatch, 40, 1500), work(monkeypatch, 80, 1500)
    assert 1.8 < units2 / units < 2.2 and 1.8 < places2 / places < 2.2
    # The same disc in an image of twice the side: as many units, twice the columns, four times the pixels.
    units3, places3 = work(monkeypatch, 40, 3000)
    assert units3 == units and 1.8 < places3 / places < 2.2
    assert places3 < 0.01 * 3000 * 3000


def test_memory_does_not_grow_with_the_image():
    peaks = []
    for size in ((480, 640), (6000, 8000)):
        frame = frame_of(OFFICIAL, size)
        list(
            masks_from_logits(disc(60), frame, threshold=0.0, stability_offset=1.0)
        )  # the tables of this size are kept
        tracemalloc.start()
        list(masks_from_logits(np.repeat(disc(60), 8, axis=0), frame, threshold=0.0, stability_offset=1.0))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 6000 * 8000 / 4  # less than a quarter of a byte a pixel for eight masks
    assert peaks[1] < 3 * peaks[0]


@pytest.mark.parametrize("whole", [(30, 50), (20, 50), (33, 41), (20, 40)], ids=str)
def test_runs_of_a_part_lie_where_its_pixels_lie_in_the_whole(whole):
    size = (20, 40)
    rng = np.random.default_rng(4)
    for share in (0, 0.03, 0.5, 0.97, 1):
        mask = rng.random(size) < share
        x, y = whole[1] - size[1], whole[0] - size[0]
        pixels = np.zeros(whole, dtype=bool)
        pixels[y : y + size[0], x : x + size[1]] = mask
        assert np.array_equal(rle.placed(rle.to_runs(mask), size, (x, y), whole), rle.to_runs(pixels))


@pytest.mark.parametrize("size", [(7, 9), (1, 6), (6, 1), (2, 5), (3, 3), (1, 1)], ids=str)
def test_measures_of_runs_are_those_of_pixels(size):
    rng = np.random.default_rng(5)
    edge = np.ones(size, dtype=bool)
    edge[1:-1, 1:-1] = False
    for share in (0, 0.1, 0.5, 0.9, 1) * 4:
        mask = rng.random(size) < share
        runs, packed = rle.to_runs(mask), coco.encode(np.asfortranarray(mask, dtype=np.uint8))
        x, y, width, height = coco.toBbox(packed)
        assert rle.box(runs, size) == (x, y, x + width, y + height)
        assert rle.on_border(runs, size) == mask[edge].sum()
        assert rle.pack(runs) == packed["counts"]


@pytest.mark.parametrize("counts", [[0, 1 << 20, 3, 70000, 1 << 29], [12_000_000], [5, 15, 16, 31, 32, 1]], ids=str)
def test_long_and_short_runs_are_packed_as_pycocotools_packs_them(counts):
    pixels = sum(counts)
    theirs = coco.frPyObjects({"size": [pixels, 1], "counts": counts}, pixels, 1)
    assert rle.pack(np.array(counts)) == theirs["counts"]
