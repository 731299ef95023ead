"""Number types and backends: what is refused, and how near to float32 the others come."""

from __future__ import annotations

import builtins
import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
import torch

import sam
from sam.cpu import precision
from tests.benchmarks.precision import compare, overlaps, photos

DATA = Path(os.environ.get("SAMLABEL_DATA", "absent"))
needs_bfloat16 = pytest.mark.skipif(not precision.has_bfloat16(), reason="this processor has no bfloat16 products")
needs_openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed")
BOXES = [[20.0, 25.0, 110.0, 120.0], [90, 40, 200, 140]]

REFUSED = {
    "float16 on a CPU": ({"dtype": "float16"}, "float16 is slower than float32 on a CPU; wanted float32"),
    "a type that nobody knows": ({"dtype": "int8"}, "unknown dtype 'int8'; known: float32, bfloat16, float16, auto"),
    "a backend that nobody knows": ({"backend": "tvm"}, "unknown backend 'tvm'; known: torch, openvino"),
    "OpenVINO on a GPU": ({"backend": "openvino", "device": "cuda"}, "runs on a CPU, not on cuda"),
}


@pytest.mark.parametrize(("options", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_had_is_refused_in_one_line(options, says):
    with pytest.raises(sam.BackendError, match=says) as caught:
        sam.load("nano", **options)
    assert "\n" not in str(caught.value)


def test_bfloat16_is_refused_where_the_processor_would_only_imitate_it(monkeypatch):
    monkeypatch.setattr(precision, "has_bfloat16", lambda: False)
    with pytest.raises(sam.BackendError, match="no bfloat16 products"):
        sam.load("nano", dtype="bfloat16")
    assert sam.load("nano", dtype="auto").dtype == torch.float32


def test_a_missing_openvino_names_the_extra_that_brings_it(monkeypatch):
    usual = builtins.__import__

    def without(name, *args, **kwargs):
        if name.partition(".")[0] == "openvino":
            raise ImportError(name)
        return usual(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(sam.BackendError, match=r'pip install "samlabel\[openvino\]"'):
        sam.load("nano", backend="openvino")


@needs_bfloat16
@pytest.mark.parametrize("name", ["nano", "tiny"])
def test_bfloat16_hands_over_float32_and_nearly_the_same_masks(picture, name):
    options = {} if name == "nano" else {"seed": 0}
    exact, fast = (sam.load(name, dtype=dtype, **options) for dtype in ("float32", "bfloat16"))
    embedding = fast.embed(picture)
    found = fast.predict(embedding, boxes=BOXES, multimask_output=True)
    assert {t.dtype for t in (embedding.features, found.low_res_logits, found.predicted_iou)} == {torch.float32}
    wanted = exact.predict(exact.embed(picture), boxes=BOXES, multimask_output=True)
    overlap = overlaps(found, wanted)
    assert 0.95 < overlap[wanted.masks().sum((-2, -1)).flatten() >= 100].mean() < 1  # of a few pixels, one counts much
    assert not torch.equal(found.low_res_logits, wanted.low_res_logits)


@needs_openvino
def test_openvino_embeds_as_torch_does_whatever_the_batch(picture):
    plain, other = (sam.load("nano", backend=backend) for backend in ("torch", "openvino"))
    assert (plain.backend, other.backend) == ("torch", "openvino")
    turned = np.ascontiguousarray(picture.transpose(1, 0, 2))
    for found, wanted in zip(other.embed_batch([picture, turned]), plain.embed_batch([picture, turned]), strict=True):
        for ours, theirs in zip((found.features, *found.high_res), (wanted.features, *wanted.high_res), strict=True):
            assert (ours - theirs).abs().max() < 1e-5 * theirs.abs().max()
    assert other.state_dict().keys() == plain.state_dict().keys()


FASTER = [
    pytest.param({"dtype": "bfloat16"}, 0.985, marks=needs_bfloat16, id="bfloat16"),
    pytest.param({"backend": "openvino"}, 0.9995, marks=needs_openvino, id="openvino"),
]


@pytest.mark.photos
@pytest.mark.skipif(not (DATA / "photos" / "val.json").is_file(), reason="SAMLABEL_DATA holds no photos/val.json")
@pytest.mark.parametrize(("options", "least"), FASTER)
def test_masks_of_photos_hold_their_bound_against_float32(options, least):
    found, _ = compare(sam.load("nano"), sam.load("nano", **options), list(photos(DATA, 20)))
    assert found.mean() > least, f"mean IoU {found.mean():.4f}"
