"""The adapter between `sam` and the pipeline, with seeded weights: it must pair, not judge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samlabel.cli import main
from samlabel.errors import ImageError, SamlabelError, UnknownName, WeightsError
from samlabel.objects import Objects
from samlabel.options import Grid
from samlabel.protocols import Image, Segmenter
from samlabel.segmenters import sam as adapter
from tests.brought import bringing

BOXES = np.array([[2, 3, 40, 30], [10, 10, 12, 12], [0, 0, 64, 48], [30, 5, 60, 40], [5, 5, 6, 6]], np.float32)
DETECTIONS = Objects(boxes=BOXES, category_ids=np.array([3, 1, 4, 1, 5]), scores=np.linspace(0.9, 0.5, 5))


@pytest.fixture(scope="module")
def model() -> Any:
    import sam

    return sam.load("nano", seed=0)


@pytest.fixture(scope="module")
def image() -> Image:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    return Image("a.png", pixels)


@pytest.fixture(scope="module")
def segmenter(model: Any) -> adapter.SamSegmenter:
    return adapter.SamSegmenter(model, weights="seed", grid=Grid())


def test_it_is_a_segmenter_named_after_its_variant(segmenter: adapter.SamSegmenter) -> None:
    assert isinstance(segmenter, Segmenter) and segmenter.info.name == "nano"


def test_each_detection_gets_its_own_annotation_in_order(segmenter: adapter.SamSegmenter, image: Image) -> None:
    found = segmenter.segment(segmenter.embed([image])[0], DETECTIONS).annotations()
    assert [one.category_id for one in found] == [3, 1, 4, 1, 5]
    assert [one.prompt_box for one in found] == [tuple(box) for box in BOXES.tolist()]
    assert [one.score for one in found] == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.5])
    assert all(one.mask is not None and one.mask.size == (48, 64) and one.box == one.mask.box for one in found)
    assert len(segmenter.segment(segmenter.embed([image])[0], Objects.empty())) == 0


def test_masks_and_scores_are_those_of_the_plain_computation(
    segmenter: adapter.SamSegmenter, model: Any, image: Image
) -> None:
    prediction = model.predict(model.embed(image.pixels), boxes=BOXES)
    logits = prediction.logits()[:, 0].numpy()
    for i, one in enumerate(segmenter.segment(segmenter.embed([image])[0], DETECTIONS).annotations()):
        assert one.mask is not None
        assert (one.mask.to_pixels() == (logits[i] > 0)).all()
        inner, outer = logits[i] > 1, logits[i] > -1
        union = (inner | outer).sum()
        assert one.stability_score == pytest.approx((inner & outer).sum() / union if union else 0)
        assert one.predicted_iou == pytest.approx(float(prediction.predicted_iou[i, 0]))


@pytest.mark.parametrize("most", [1, 3, 5])
def test_many_boxes_are_taken_some_at_a_time_and_get_the_same_masks(
    segmenter: adapter.SamSegmenter, model: Any, image: Image, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedding = segmenter.embed([image])[0]
    whole = [one.mask for one in segmenter.segment(embedding, DETECTIONS).annotations()]
    sizes: list[int] = []
    real = model.predict
    monkeypatch.setattr(adapter, "PROMPTS_AT_ONCE", most)
    monkeypatch.setattr(model, "predict", lambda e, *, boxes: sizes.append(len(boxes)) or real(e, boxes=boxes))
    chunked = [one.mask for one in segmenter.segment(embedding, DETECTIONS).annotations()]
    assert max(sizes) == most and sum(sizes) == 5
    assert [a.iou(b) > 0.999 or a == b for a, b in zip(whole, chunked, strict=True) if a and b] == [True] * 5


def test_no_logits_and_no_masks_of_the_size_of_the_image_are_made(
    segmenter: adapter.SamSegmenter, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sam

    def full_size(*_: Any, **__: Any) -> Any:
        raise AssertionError("made at full size")

    for name in ("logits", "masks"):
        monkeypatch.setattr(sam.Prediction, name, full_size)
    assert len(segmenter.segment(segmenter.embed([image])[0], DETECTIONS).annotations()) == 5
    assert segmenter.generate(image) is not None


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")], ids=str)
def test_running_out_of_memory_halves_the_prompts_and_loses_none(
    segmenter: adapter.SamSegmenter, model: Any, image: Image, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, embedding = model.predict, segmenter.embed([image])[0]
    wanted = segmenter.segment(embedding, DETECTIONS).annotations()

    def tight(embedding: Any, *, boxes: Any) -> Any:
        if len(boxes) > 2:
            raise error
        return real(embedding, boxes=boxes)

    monkeypatch.setattr(model, "predict", tight)
    found = segmenter.segment(embedding, DETECTIONS).annotations()
    assert [(one.prompt_box, one.category_id) for one in found] == [(one.prompt_box, one.category_id) for one in wanted]


def test_a_mistake_that_is_not_memory_is_not_retried(
    segmenter: adapter.SamSegmenter, model: Any, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def broken(embedding: Any, *, boxes: Any) -> Any:
        calls.append(len(boxes))
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(model, "predict", broken)
    with pytest.raises(RuntimeError, match="mat1"):
        segmenter.segment(segmenter.embed([image])[0], DETECTIONS).annotations()
    assert calls == [5]


def test_a_grid_gives_class_agnostic_objects_with_their_points(model: Any, image: Image) -> None:
    grid = Grid(points_per_side=4, pred_iou_thresh=0, stability_score_thresh=0, box_nms_thresh=1)
    found = adapter.SamSegmenter(model, weights="", grid=grid).generate(image).annotations()
    assert found
    for one in found:
        assert (one.category_id, one.score, one.crop_box, len(one.point_coords)) == (1, None, (0, 0, 64, 48), 1)
        assert one.mask is not None and one.mask.size == (48, 64) and one.box == one.mask.box


def test_unknown_variants_checkpoints_and_images_are_errors_of_ours(
    segmenter: adapter.SamSegmenter, tmp_path: Any
) -> None:
    with pytest.raises(UnknownName, match="Did you mean vit_b"):
        adapter.load("vit_bb")
    with pytest.raises(WeightsError, match="no checkpoint at"):
        adapter.load("nano", checkpoint=tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(WeightsError, match="text.pth"):
        adapter.load("nano", checkpoint=tmp_path / "text.pth")
    with pytest.raises(ImageError):
        segmenter.embed([Image("a", np.zeros((4, 4), np.uint8))])


def test_a_checkpoint_alone_tells_its_variant_and_its_hash(model: Any, tmp_path: Any) -> None:
    import sam
    from samlabel.file_state import hash_file

    with (tmp_path / "mine.safetensors").open("wb") as file:
        sam.save(model, file)
    found = adapter.load(None, checkpoint=tmp_path / "mine.safetensors")
    assert found.info.name == "nano"
    assert found.info.weights_sha256 == hash_file(tmp_path / "mine.safetensors")


OTHERS = """
from dataclasses import replace
from sam import list_variants
(nano,) = [one for one in list_variants() if one.name == "nano"]
VARIANTS = (replace(nano, name="{name}"),)
"""


def test_variants_of_another_distribution_are_listed_and_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import sam

    bring = bringing(tmp_path / "site", monkeypatch)
    bring("samlabel.variants", "mine", OTHERS.format(name="nano_of_others"), "VARIANTS")
    bring("samlabel.variants", "faulty", "VARIANTS = 5", "VARIANTS")
    with pytest.raises(SystemExit):
        main(["models", "list", "--json"])
    listed = {one["name"]: one.get("problem") for one in json.loads(capsys.readouterr().out)}
    assert listed["nano_of_others"] is None and "wanted a tuple of sam.Variant" in listed["faulty"]
    image = Image("a.png", np.full((40, 60, 3), 90, np.uint8))
    boxes = Objects(boxes=np.array([[5.0, 5, 30, 30]]), category_ids=np.array([1]), scores=np.array([0.9]))
    masks = []
    for name in ("nano", "nano_of_others"):
        segmenter = adapter.load(name)
        (found,) = segmenter.segment(segmenter.embed([image])[0], boxes).annotations()
        masks.append(found.mask)
    assert masks[0] == masks[1]
    sam.register(adapter.VARIANTS.found()["mine"].origin, ())
    assert "nano_of_others" not in [one.name for one in sam.list_variants()]


def test_a_variant_of_a_name_that_is_taken_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bringing(tmp_path / "site", monkeypatch)("samlabel.variants", "mine", OTHERS.format(name="vit_b"), "VARIANTS")
    with pytest.raises(SamlabelError, match="'vit_b' of .*mine.* is there already; uninstall one of them"):
        adapter.variants()
