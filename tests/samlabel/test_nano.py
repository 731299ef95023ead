"""The shipped detector: one encoder pass for two models, classes, and weights that fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import sam
from samlabel import detectors
from samlabel.detectors import nano
from samlabel.detectors._nano_head import NanoHead, pick
from samlabel.errors import UnknownName, UsageError, WeightsError
from samlabel.protocols import EmbeddingDetector, Image


@pytest.fixture(scope="module")
def picture() -> Image:
    pixels = np.full((60, 100, 3), 200, np.uint8)
    pixels[20:50, 30:70] = (40, 90, 160)
    return Image("drawn.png", pixels)


def test_the_segmenters_embedding_gives_the_same_boxes_as_its_own(picture: Image) -> None:
    detector = detectors.load("nano", conf=0.01)
    assert isinstance(detector, EmbeddingDetector)
    (own,) = detector.detect([picture])
    shared = detector.detect_embedding(sam.load("nano").embed(picture.pixels))
    assert np.array_equal(own.boxes, shared.boxes) and np.array_equal(own.scores, shared.scores)
    assert len(own) > 0
    assert (own.boxes[:, 2] <= 100).all() and (own.boxes[:, 3] <= 60).all() and (own.boxes >= 0).all()


def test_the_overlap_asked_for_is_the_overlap_used_and_nanos_own_is_less_than_that_of_others(picture: Image) -> None:
    own, asked, others = (
        len(detectors.load("nano", conf=0.01, max_det=1000, **options).detect([picture])[0])
        for options in ({}, {"iou": 0.6}, {"iou": 0.7})
    )
    assert own == asked < others


def test_an_embedding_of_another_variant_is_refused(picture: Image) -> None:
    embedding = sam.load("nano").embed(picture.pixels)
    other = type(embedding)(embedding.features, (), embedding.size, embedding.input_size, "vit_b")
    with pytest.raises(UsageError, match="not of vit_b"):
        detectors.load("nano").detect_embedding(other)


@pytest.mark.parametrize(("wanted", "ids"), [(["animal"], [2]), (["3", "person"], [1, 3]), (None, [1, 2, 3, 4])])
def test_classes_are_kept_by_name_or_category_id(wanted: list[str] | None, ids: list[int], picture: Image) -> None:
    detector = detectors.load("nano", conf=0.001, classes=wanted)
    assert [c.id for c in detector.categories] == ids
    (found,) = detector.detect([picture])
    assert set(found.category_ids.tolist()) <= set(ids)


def test_an_unknown_class_is_named_with_the_known_ones() -> None:
    with pytest.raises(UnknownName, match="person"):
        detectors.load("nano", classes=["persn"])


def test_foreign_weights_are_refused_with_the_first_key(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"something": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="first differing key"):
        nano.load(str(tmp_path / "other.safetensors"))
    (tmp_path / "broken.safetensors").write_bytes(b"not weights")
    with pytest.raises(WeightsError, match="broken.safetensors"):
        nano.load(str(tmp_path / "broken.safetensors"))
    with pytest.raises(WeightsError, match="no such file"):
        nano.load(str(tmp_path / "absent.safetensors"))


def test_suppression_crosses_classes_and_keeps_the_best() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9.5], [20, 20, 30, 30]])
    logits = torch.tensor([[2.0, -9, -9, -9], [-9, 3.0, -9, -9], [-9, -9, -9, 0.0]])
    kept, scores, classes = pick(logits, boxes, conf=0.25, iou=0.6, max_det=10)
    assert classes.tolist() == [1, 3]
    assert torch.equal(kept, boxes[[1, 2]])
    assert scores[0] > scores[1]


def test_every_cell_speaks_for_its_own_place() -> None:
    head = NanoHead().eval()
    with torch.no_grad():
        logits, boxes, centres, strides = head(torch.zeros(1, 128, 24, 24), torch.zeros(1, 64, 48, 48))
    assert logits.shape == (1, 48 * 48 + 24 * 24 + 12 * 12, 4)
    assert torch.equal(strides.unique(), torch.tensor([8.0, 16.0, 32.0]))
    inside = (boxes[0, :, :2] < centres) & (centres < boxes[0, :, 2:])
    assert inside.all()
