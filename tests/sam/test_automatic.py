"""The mask generator against golden results of the original, and its parts against plain twins."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools import mask as coco

import sam
from sam import SamAutomaticMaskGenerator
from sam.automatic.crops import crop_boxes, point_grid
from sam.automatic.scoring import near_crop_edge, stability_score
from sam.masks import rle

GOLDEN = json.loads((Path(__file__).parent / "golden" / "automatic.json").read_text())
CASES = {name: case["options"] for name, case in GOLDEN.items()}


def _iou(ours: dict, theirs: dict) -> float:
    return float(coco.iou([ours], [theirs], [0])[0, 0])


@pytest.mark.parametrize("name", CASES)
def test_the_same_masks_in_the_same_order_as_the_original(name, drawn_model, picture):
    records = SamAutomaticMaskGenerator(drawn_model, output_mode="coco_rle", **CASES[name]).generate(picture)
    golden = GOLDEN[name]["records"]
    assert len(golden) >= 5
    assert len(records) == len(golden)
    for ours, theirs in zip(records, golden, strict=True):
        assert ours["point_coords"] == [pytest.approx(theirs["point_coords"][0])]
        assert ours["crop_box"] == theirs["crop_box"]
        assert ours["predicted_iou"] == pytest.approx(theirs["predicted_iou"], abs=1e-5)
        assert ours["stability_score"] == pytest.approx(theirs["stability_score"], abs=1e-3)
        # Another processor may round a logit at the edge of a mask to the other side of zero.
        assert _iou(ours["segmentation"], theirs["segmentation"]) > 0.998
        assert abs(ours["area"] - theirs["area"]) <= 2


def test_most_golden_masks_come_back_bit_for_bit(drawn_model, picture):
    same = []
    for name, options in CASES.items():
        records = SamAutomaticMaskGenerator(drawn_model, output_mode="coco_rle", **options).generate(picture)
        same += [
            ours["segmentation"] == theirs["segmentation"]
            for ours, theirs in zip(records, GOLDEN[name]["records"], strict=True)
        ]
    assert np.mean(same) > 0.99  # all of them on the machine that made the file


def test_bbox_counts_whole_pixels_where_the_original_is_one_short(drawn_model, picture):
    name = "defaults of a small grid"
    records = SamAutomaticMaskGenerator(drawn_model, output_mode="coco_rle", **CASES[name]).generate(picture)
    for ours, theirs in zip(records, GOLDEN[name]["records"], strict=True):
        assert ours["bbox"] == coco.toBbox(ours["segmentation"]).tolist()
        x, y, width, height = theirs["bbox"]
        assert ours["bbox"] == pytest.approx([x, y, width + 1, height + 1], abs=1)


def test_output_modes_hold_the_same_masks(drawn_model, picture):
    options = {"points_per_side": 5, "stability_score_thresh": 0.7}
    pixels = SamAutomaticMaskGenerator(drawn_model, **options).generate(picture)
    packed = SamAutomaticMaskGenerator(drawn_model, output_mode="coco_rle", **options).generate(picture)
    runs = SamAutomaticMaskGenerator(drawn_model, output_mode="uncompressed_rle", **options).generate(picture)
    assert len(pixels) == len(packed) == len(runs) > 3
    for a, b, c in zip(pixels, packed, runs, strict=True):
        assert a["segmentation"].shape == picture.shape[:2]
        assert np.array_equal(a["segmentation"], coco.decode(b["segmentation"]).astype(bool))
        counts = np.array(c["segmentation"]["counts"])
        assert np.array_equal(a["segmentation"], rle.to_pixels(counts, picture.shape[:2]))
        assert a["area"] == a["segmentation"].sum() == b["area"] == c["area"]
    json.dumps(packed)


def test_an_embedding_at_hand_is_used_and_changes_nothing(drawn_model, picture, monkeypatch):
    generator = SamAutomaticMaskGenerator(drawn_model, 6, output_mode="coco_rle", crop_n_layers=1)
    expected = generator.generate(picture)
    embedding = drawn_model.embed(picture)
    encoded = []
    embed = drawn_model.embed
    monkeypatch.setattr(drawn_model, "embed", lambda image: encoded.append(image.shape) or embed(image))
    assert generator.generate(picture, embedding) == expected
    assert len(encoded) == 4  # the crops of the one layer, not the whole image
    with pytest.raises(sam.ImageError, match="size"):
        generator.generate(picture[:100], embedding)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0], ids=["all prompts pass", "some pass", "none passes"])
@pytest.mark.parametrize("multimask", [True, False], ids=["three masks", "one mask"])
def test_prompts_whose_masks_are_all_poor_are_left_out_and_others_stay(scramble, picture, share, multimask):
    model = scramble(sam.load("nano", seed=0))
    embedding = model.embed(picture)
    points = np.random.default_rng(1).uniform(0, 150, (21, 1, 2))
    prompts = {"point_coords": points, "point_labels": np.ones((21, 1)), "multimask_output": multimask, "batch_size": 4}
    whole = model.predict(embedding, **prompts)
    best = whole.predicted_iou.amax(1)
    threshold = float(best.sort().values[int(share * 20)]) - (share == 0)
    some = model.predict(embedding, min_predicted_iou=threshold, **prompts)
    kept = (best > threshold).nonzero().flatten()
    assert some.prompts.tolist() == kept.tolist() and len(kept) == len(some) == {0.0: 21, 0.4: 12, 1.0: 0}[share]
    assert torch.allclose(some.predicted_iou, whole.predicted_iou[kept])
    assert torch.allclose(some.low_res_logits, whole.low_res_logits[kept], atol=1e-3)
    assert some.masks().shape == (len(kept), 3 if multimask else 1, 150, 220)


def test_masks_of_poor_predicted_iou_are_not_decoded_to_the_end(scramble, picture, monkeypatch):
    from sam.cpu import fused_decoder as folded

    model, finished = scramble(sam.load("nano", seed=0)), []
    upscaled = folded.upscaled
    monkeypatch.setattr(folded, "upscaled", lambda d, cells, h: finished.append(len(cells)) or upscaled(d, cells, h))
    options = {"stability_score_thresh": 0.0, "box_nms_thresh": 1.0, "output_mode": "coco_rle"}
    everything = SamAutomaticMaskGenerator(model, 6, pred_iou_thresh=-99.0, **options).generate(picture)
    assert sum(finished) == 36
    scores = sorted(one["predicted_iou"] for one in everything)
    threshold = max(scores[-5], 1e-9)
    finished.clear()
    best = SamAutomaticMaskGenerator(model, 6, pred_iou_thresh=threshold, **options).generate(picture)
    assert sum(finished) <= 4
    wanted = [score for score in scores[::-1] if score > threshold]
    assert [one["predicted_iou"] for one in best] == pytest.approx(wanted)


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (3, 2)], ids=str)
def test_an_image_of_few_pixels_gives_masks_or_none(drawn_model, shape):
    image = np.full((*shape, 3), 90, dtype=np.uint8)
    records = SamAutomaticMaskGenerator(drawn_model, 4, crop_n_layers=1).generate(image)
    for record in records:
        assert record["segmentation"].shape == shape
        assert record["area"] >= 1


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"points_per_side": None}, "exactly one"),
        ({"point_grids": [point_grid(2)]}, "exactly one"),
        ({"output_mode": "png"}, "output_mode"),
        ({"points_per_side": 0}, "points_per_side"),
        ({"points_per_batch": 0}, "points_per_batch"),
        ({"points_per_side": None, "point_grids": [point_grid(2)], "crop_n_layers": 1}, "point grids"),
    ],
    ids=["no points", "two kinds of points", "unknown mode", "no side", "empty batch", "a grid too few"],
)
def test_options_that_cannot_be_meant_are_refused(drawn_model, options, word):
    with pytest.raises(sam.SamError, match=word):
        SamAutomaticMaskGenerator(drawn_model, **options)


def test_own_point_grids_are_followed(drawn_model, picture):
    grid = np.array([[0.25, 0.5], [0.75, 0.8]])
    generator = SamAutomaticMaskGenerator(
        drawn_model, None, point_grids=[grid], pred_iou_thresh=0, stability_score_thresh=0, box_nms_thresh=1
    )
    points = {tuple(record["point_coords"][0]) for record in generator.generate(picture)}
    assert points == {(55.0, 75.0), (165.0, 120.0)}


def test_stability_matches_a_plain_twin():
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 2, (12, 9, 14)) - np.linspace(0, 8, 12)[:, None, None]
    logits[-1] = -50  # empty at every threshold
    score = stability_score(torch.from_numpy(logits), 0.0, 1.0)
    plain = [(one > 1).sum() / (one > -1).sum() if (one > -1).any() else 0.0 for one in logits]
    assert score.tolist() == pytest.approx(plain)


def test_stability_of_a_very_wide_mask_does_not_overflow():
    # Rows summed as int16, as elsewhere, wrap around above 32767.
    assert stability_score(torch.full((1, 1, 40000), 5.0), 0.0, 1.0).item() == 1.0


def test_only_edges_inside_the_image_count_as_cut():
    boxes = torch.tensor([[0, 0, 50, 50], [30, 30, 99, 60], [30, 30, 60, 60]])
    assert near_crop_edge(boxes, (0, 0, 100, 100), (400, 400)).tolist() == [False, True, False]
    assert near_crop_edge(boxes, (0, 0, 100, 100), (100, 100)).tolist() == [False, False, False]
    assert near_crop_edge(boxes, (200, 200, 300, 300), (400, 400)).tolist() == [True, True, False]


def test_crops_of_a_layer_cover_the_image():
    boxes, layers = crop_boxes((150, 220), 2, 512 / 1500)
    assert layers == [0] + [1] * 4 + [2] * 16
    for layer in range(3):
        seen = np.zeros((150, 220), dtype=int)
        for (x0, y0, x1, y1), of in zip(boxes, layers, strict=True):
            if of == layer:
                seen[y0:y1, x0:x1] += 1
        assert seen.min() >= 1


@pytest.mark.parametrize("seed", range(5))
def test_runs_are_those_of_pycocotools(seed):
    mask = np.random.default_rng(seed).random((7, 5)) > (0, 1, 0.5, 0.2, 0.8)[seed]
    runs = rle.to_runs(mask)
    assert np.array_equal(rle.to_pixels(runs, mask.shape), mask)
    assert rle.area(runs) == mask.sum()
    theirs = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
    assert rle.compressed(runs, mask.shape)["counts"] == theirs["counts"].decode()


LOOSE = {"points_per_side": 8, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "box_nms_thresh": 0.9}


def _generate(model, picture, **options):
    return SamAutomaticMaskGenerator(model, output_mode="coco_rle", **{**LOOSE, **options}).generate(picture)


def _overlaps(records, contained=False):
    packed = [record["segmentation"] for record in records]
    overlap = coco.iou(packed, packed, [int(contained)] * len(packed))
    np.fill_diagonal(overlap, 0)
    return overlap


def test_extras_left_alone_change_nothing(drawn_model, picture):
    plain = _generate(drawn_model, picture)
    off = {"mask_nms_thresh": 1.0, "containment_thresh": 1.0, "max_image_share": 1.0, "max_border_share": 1.0}
    assert _generate(drawn_model, picture, **off, max_masks=len(plain)) == plain


def test_of_masks_that_overlap_the_better_one_stays(drawn_model, picture):
    plain = _generate(drawn_model, picture)
    kept = _generate(drawn_model, picture, mask_nms_thresh=0.6)
    assert _overlaps(plain).max() > 0.6 >= _overlaps(kept).max()
    assert kept == [record for record in plain if record in kept]  # the order stays
    for gone in (record for record in plain if record not in kept):
        better = [one for one in kept if _iou(one["segmentation"], gone["segmentation"]) > 0.6]
        assert any(one["predicted_iou"] >= gone["predicted_iou"] for one in better)


def test_masks_inside_a_larger_one_go(drawn_model, picture):
    plain = _generate(drawn_model, picture)
    kept = _generate(drawn_model, picture, containment_thresh=0.95)
    assert 0 < len(kept) < len(plain)
    assert _overlaps(plain, contained=True).max() > 0.95 >= _overlaps(kept, contained=True).max()
    assert max(record["area"] for record in kept) == max(record["area"] for record in plain)


def test_the_background_goes_by_its_area_or_by_its_edge(drawn_model, picture):
    plain = _generate(drawn_model, picture)
    pixels = picture.shape[0] * picture.shape[1]
    kept = _generate(drawn_model, picture, max_image_share=0.1)
    assert kept == [record for record in plain if record["area"] <= 0.1 * pixels] != plain

    def edge(record):
        mask = coco.decode(record["segmentation"]).astype(bool)
        inside = mask[1:-1, 1:-1].sum()
        return (mask.sum() - inside) / (2 * (150 + 220) - 4)

    kept = _generate(drawn_model, picture, max_border_share=0.05)
    assert kept == [record for record in plain if edge(record) <= 0.05] != plain


def test_a_cap_keeps_the_best_masks_in_their_order(drawn_model, picture):
    plain = _generate(drawn_model, picture)
    kept = _generate(drawn_model, picture, max_masks=5)
    quality = sorted((r["predicted_iou"] * r["stability_score"] for r in plain), reverse=True)
    assert [r for r in plain if r in kept] == kept
    assert sorted((r["predicted_iou"] * r["stability_score"] for r in kept), reverse=True) == quality[:5]
    with pytest.raises(sam.SamError, match="max_masks"):
        _generate(drawn_model, picture, max_masks=0)


def test_boxes_of_a_detector_prompt_one_mask_each_instead_of_the_grid(scramble, picture):
    nano = scramble(sam.load("nano", seed=0))
    boxes = [[20, 25, 110, 120], [90, 80, 210, 140], [0, 0, 219, 149]]
    options = {"pred_iou_thresh": -100.0, "stability_score_thresh": 0.0, "box_nms_thresh": 1.0}
    generator = SamAutomaticMaskGenerator(nano, points_per_batch=2, **options)
    records = generator.generate(picture, boxes=boxes)
    wanted = nano.predict(nano.embed(picture), boxes=boxes)
    assert len(records) == 3
    for record in records:
        x, y, width, height = record["prompt_box"]
        i = boxes.index([x, y, x + width, y + height])
        same = record["segmentation"] == wanted.masks()[i, 0].numpy()
        assert same.mean() > 0.999  # batches of other lengths round otherwise
        assert record["predicted_iou"] == pytest.approx(float(wanted.predicted_iou[i, 0]), abs=1e-4)
        assert record["point_coords"] == []
        assert record["crop_box"] == [0, 0, 220, 150]
    assert [r["predicted_iou"] for r in records] == sorted((r["predicted_iou"] for r in records), reverse=True)
    assert generator.generate(picture, boxes=np.zeros((0, 4))) == []
    with pytest.raises(sam.PromptError, match=r"\(N, 4\)"):
        generator.generate(picture, boxes=[1, 2, 3, 4])
    for mode in ("coco_rle", "uncompressed_rle"):
        again = SamAutomaticMaskGenerator(nano, points_per_batch=2, output_mode=mode, **options)
        assert [r["area"] for r in again.generate(picture, boxes=boxes)] == [r["area"] for r in records]


def test_the_box_of_a_mask_of_one_pixel_is_one_by_one(drawn_model, picture):
    # The original subtracts inclusive corners: such a mask has a box of 0 x 0 there, and COCO says 1 x 1.
    from sam.automatic.filters import Found

    one_pixel = np.zeros((150, 220), dtype=bool)
    one_pixel[7, 9] = True
    found = Found(rle.to_runs(one_pixel), (9, 7, 9, 7), 1.0, 1.0, (0, 0, 220, 150), (9.0, 7.0))
    record = SamAutomaticMaskGenerator(drawn_model, 2, output_mode="coco_rle")._record(found, (150, 220))
    assert record["bbox"] == [9, 7, 1, 1] == coco.toBbox(record["segmentation"]).tolist()
    assert record["area"] == 1
