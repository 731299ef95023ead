"""The recipe of the segmenter on drawn images: samples, prompts, losses, resume, export."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from pycocotools import mask as coco

from samlabel.training import quality, sheet
from samlabel.training.loop import export, train
from samlabel.training.losses import mask_losses
from samlabel.training.muon import orthogonal
from samlabel.training.photos import Windows, collate, paste, read_photos, window_of
from samlabel.training.prompts import corrective_points, noisy_boxes, random_points
from samlabel.training.recipe import SEGMENTER

RED = (220, 30, 30)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pictures of one red block and one blue disc each, as train.json and val.json."""
    folder = tmp_path_factory.mktemp("drawn")
    images, annotations = [], []
    for n in range(6):
        picture = Image.new("RGB", (120, 90), (90, 90, 90))
        pen = ImageDraw.Draw(picture)
        block, disc = (10 + n, 15, 50 + n, 60), (65, 20 + n, 105, 60 + n)
        pen.rectangle(block, fill=RED)
        pen.ellipse(disc, fill=(30, 30, 220))
        picture.save(folder / f"{n}.png")
        pixels = np.asarray(picture)
        images.append({"id": n, "file_name": f"{n}.png", "width": 120, "height": 90, "source": "coco2017"})
        for category, colour in ((1, RED), (2, (30, 30, 220))):
            rle = coco.encode(np.asfortranarray((pixels == colour).all(2).astype(np.uint8)))
            x, y, w, h = coco.toBbox(rle).tolist()
            annotations.append(
                {
                    "image_id": n,
                    "category_id": category,
                    "bbox": [x, y, w, h],
                    "area": int(coco.area(rle)),
                    "iscrowd": 0,
                    "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()},
                }
            )
    table = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "car"}],
    }
    for name in ("train.json", "val.json"):
        (folder / name).write_text(json.dumps(table))
    return folder


def test_a_window_scales_pixels_and_masks_alike(drawn: Path) -> None:
    photos = read_photos(drawn, "train.json")
    checked = 0
    for seed in range(20):
        sample = window_of(photos[0], side=128, canvas=192, most_masks=4, rng=np.random.default_rng(seed))
        red = (np.abs(sample.pixels.astype(int) - RED).sum(2) < 40).astype(bool)
        if len(sample.masks) < 2:  # one of the two lies mostly outside
            continue
        checked += 1
        overlaps = [quality.iou(red, m > 127) for m in sample.masks]
        assert max(overlaps) > 0.9
        assert sample.whole.all()
    assert checked >= 3


def test_the_same_item_is_the_same_window_whoever_asks(drawn: Path) -> None:
    photos = read_photos(drawn, "train.json")
    supplies = [Windows(photos, side=64, canvas=96, most_masks=2, seed=3, paste=0.5) for _ in range(2)]
    first, second = (s[7] for s in supplies)
    assert torch.equal(first["pixels"], second["pixels"]) and torch.equal(first["masks"], second["masks"])
    assert not torch.equal(first["pixels"], supplies[0][8]["pixels"])


def test_a_pasted_object_is_cut_from_what_it_hides(drawn: Path) -> None:
    photos = read_photos(drawn, "train.json")
    rng = np.random.default_rng(1)
    host, giver = (window_of(photos[k], side=128, canvas=128, most_masks=4, rng=rng) for k in (0, 1))
    mixed = paste(host, giver, most=2, rng=rng)
    assert len(mixed.masks) > 0
    assert (np.stack([m > 127 for m in mixed.masks]).sum(0) <= 1).all(), "two masks claim one pixel"


def test_half_of_the_boxes_stay_true() -> None:
    boxes = torch.tensor([[10.0, 10, 110, 60]]).repeat(3000, 1)
    moved = noisy_boxes(boxes, generator=torch.Generator().manual_seed(0))
    same = (moved == boxes).all(1).float().mean()
    assert 0.46 < same < 0.54
    assert (moved - boxes).abs().max() <= 10.0001  # two sigma of 5 % of 100 pixels


def test_points_fall_inside_their_region() -> None:
    region = torch.zeros(50, 16, 16, dtype=torch.bool)
    region[:, 3:5, 10:12] = True
    points = random_points(region, generator=torch.Generator().manual_seed(0))
    assert ((points[:, 0] >= 10) & (points[:, 0] < 12) & (points[:, 1] >= 3) & (points[:, 1] < 5)).all()


def test_a_corrective_click_lies_where_the_guess_is_wrong_and_says_how() -> None:
    truth, guess = torch.zeros(2, 8, 8, dtype=torch.bool), torch.zeros(2, 8, 8, dtype=torch.bool)
    truth[0, 2:4, 2:4] = True  # missed
    guess[1, 5:7, 5:7] = True  # invented
    points, labels = corrective_points(truth, guess, generator=torch.Generator().manual_seed(0))
    assert labels.tolist() == [1, 0]
    assert (points[0] >= 2).all() and (points[0] < 4).all() and (points[1] >= 5).all() and (points[1] < 7).all()


def test_a_better_mask_costs_less_and_its_iou_is_true() -> None:
    target = torch.zeros(1, 16, 16)
    target[0, 4:12, 4:12] = 1
    good, bad = (target - 0.5) * 10, -(target - 0.5) * 10
    half = good.clone()
    half[0, :, 8:] = -5
    losses, iou = mask_losses(torch.stack([good[0], half[0], bad[0]])[None], target, torch.ones_like(target))
    assert losses[0, 0] < losses[0, 1] < losses[0, 2]
    assert iou[0].tolist() == pytest.approx([1.0, 0.5, 0.0])


def test_crowds_are_read_as_places_and_never_as_objects(drawn: Path, tmp_path: Path) -> None:
    table = json.loads((drawn / "train.json").read_text())
    table["annotations"][0]["iscrowd"] = 1
    (tmp_path / "train.json").write_text(json.dumps(table))
    (tmp_path / "0.png").write_bytes((drawn / "0.png").read_bytes())
    photo = read_photos(tmp_path, "train.json")[0]
    assert [a["crowd"] for a in photo.annotations] == [True, False]
    sample = window_of(photo, side=120, canvas=120, most_masks=9, rng=np.random.default_rng(0))
    assert len(sample.masks) == 1


def test_a_part_of_an_object_is_never_pasted(drawn: Path) -> None:
    rng = np.random.default_rng(1)
    host, giver = (
        window_of(p, side=128, canvas=128, most_masks=4, rng=rng) for p in read_photos(drawn, "train.json")[:2]
    )
    giver.whole[:] = False
    assert np.array_equal(paste(host, giver, most=2, rng=rng).pixels, host.pixels)


def test_a_run_stopped_and_continued_ends_like_one_never_stopped(drawn: Path, tmp_path: Path) -> None:
    recipe = replace(SEGMENTER, steps=3, decay=1, whole=1, batch=2, masks=2, window=64, warmup=2)
    whole = list(train(drawn, tmp_path / "whole", recipe, save_every=1))
    assert [entry["step"] for entry in whole] == [1, 2, 3]
    for entry in train(drawn, tmp_path / "parts", recipe, save_every=1):
        if entry["step"] == 1:
            break
    list(train(drawn, tmp_path / "parts", recipe, save_every=1))
    one, two = (torch.load(tmp_path / n / "last.pt", weights_only=True) for n in ("whole", "parts"))
    assert one["step"] == two["step"] == 3
    for key, value in one["average"].items():
        torch.testing.assert_close(value, two["average"][key], rtol=1e-4, atol=1e-5, msg=key)
    _check_export(tmp_path / "whole" / "last.pt", tmp_path)


def _check_export(checkpoint: Path, folder: Path) -> None:
    import sam

    export(checkpoint, folder / "nano.safetensors")
    trained = torch.load(checkpoint, weights_only=True)["average"]
    model = sam.load("nano", checkpoint=folder / "nano.safetensors")
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, trained[key].to(value.dtype), rtol=1e-3, atol=1e-4, msg=key)


def test_objects_are_pasted_where_no_mask_is_learnt(drawn: Path) -> None:
    windows = Windows(read_photos(drawn, "train.json"), side=96, canvas=96, most_masks=0, seed=0, paste=1.0)
    plain = Windows(windows.photos, side=96, canvas=96, most_masks=0, seed=0)
    items = [(windows[k], plain[k]) for k in range(8)]
    assert all(len(item["masks"]) == 0 for pair in items for item in pair)
    assert sum(not a["pixels"].equal(b["pixels"]) for a, b in items) >= 6


def test_moves_of_matrices_have_no_preferred_direction() -> None:
    steep = torch.randn(24, 96, generator=torch.Generator().manual_seed(0)) * torch.logspace(0, -2, 96)
    for matrix in (steep, steep.T):
        values = torch.linalg.svdvals(orthogonal(matrix))
        assert values.max() < 1.3 and values.min() > 0.6, "Newton-Schulz brings every singular value near one"


def test_the_learning_rate_rises_stays_and_falls_to_nothing() -> None:
    recipe = replace(SEGMENTER, steps=100, decay=20, whole=20, warmup=10, lr=1.0)
    assert [round(recipe.lr_at(s), 2) for s in (0, 9, 50, 79, 90, 100)] == [0.1, 1.0, 1.0, 1.0, 0.5, 0.0]
    assert [recipe.on_whole_photos(step) for step in (0, 79, 80)] == [False, False, True]
    assert replace(recipe, window=None).on_whole_photos(0)


def test_batches_say_which_photo_a_mask_belongs_to(drawn: Path) -> None:
    windows = Windows(read_photos(drawn, "train.json"), side=64, canvas=64, most_masks=3, seed=0)
    items = [windows[i] for i in range(4)]
    batch = collate(items)
    assert batch["owner"].tolist() == [k for k, item in enumerate(items) for _ in range(len(item["masks"]))]
    assert len(batch["masks"]) == len(batch["prompt_boxes"]) == len(batch["owner"])


@pytest.mark.parametrize(
    ("scores", "good", "wanted"),
    [([0.9, 0.8, 0.2, 0.1], [1, 1, 0, 0], 1.0), ([0.1, 0.9], [1, 0], 0.0), ([0.5, 0.5], [1, 0], 0.5)],
    ids=["perfect", "reversed", "tied"],
)
def test_auc_is_the_chance_to_rank_the_good_one_first(scores: list[float], good: list[int], wanted: float) -> None:
    assert quality.auc(np.array(scores), np.array(good, bool)) == wanted


def test_clicks_go_to_the_middle_of_the_largest_error() -> None:
    truth = np.zeros((20, 20), bool)
    truth[5:14, 5:14] = True
    assert quality.innermost(truth) == (9.0, 9.0)
    guess = truth.copy()
    guess[5:14, 5:8] = False
    x, y = quality.corrective(truth, guess)
    assert truth[int(y), int(x)] and not guess[int(y), int(x)]


def test_a_sample_is_spread_evenly() -> None:
    assert quality.spread(list(range(10)), 3) == [0, 4, 8]
    assert quality.spread([1, 2], None) == [1, 2]


def test_the_sheets_show_each_source_from_good_to_bad(drawn: Path) -> None:
    import sam

    found = sheet.masks(sam.load("nano"), drawn, limit=2)
    assert found.size == (8 + len(sheet.RANKS) * (sheet.CELL + 8), 8 + sheet.CELL + sheet.CAPTION + 8)  # one source
    cells = [found.crop((8 + k * (sheet.CELL + 8), 8, 8 + (k + 1) * (sheet.CELL + 8), 8 + sheet.CELL)) for k in (0, 5)]
    assert all(len(cell.getcolors(sheet.CELL * (sheet.CELL + 8)) or ()) > 20 for cell in cells), "a cell stayed empty"
    boxes = sheet.boxes(drawn, photos=3, across=2)
    assert boxes.size == (8 + 2 * (2 * sheet.CELL + 8), 8 + 2 * (2 * sheet.CELL + sheet.CAPTION + 8))
