"""ONNX files: what ONNX Runtime makes of them is what torch makes of the model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import sam

onnx = pytest.importorskip("onnx", reason="pip install '.[onnx]'")
onnxruntime = pytest.importorskip("onnxruntime", reason="pip install '.[onnx]'")


def _session(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def _run(session, inputs):
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs), strict=True))


def _as_exported(model, embedding, **prompts):
    """What the model predicts, with the specks that the graphs leave to their reader."""
    return replace(model.predict(embedding, **prompts), min_region_fraction=0.0)


@pytest.fixture(scope="module")
def nano(scramble):
    return scramble(sam.load("nano", seed=0))


@pytest.fixture(scope="module")
def exported(nano, tmp_path_factory):
    return sam.export(nano, tmp_path_factory.mktemp("onnx"), stability_score=True)


@pytest.fixture(scope="module")
def embedded(nano, exported, picture):
    """The embedding of the picture by torch, and by the exported encoder."""
    from sam.transforms import resize, to_tensor

    pixels = nano.preprocess(to_tensor(resize(picture, nano.image_size), nano.device)[None])
    return nano.embed(picture), _run(_session(exported.encoder), {"image": pixels.numpy()})


BOXES = np.array([[20, 25, 110, 120], [0, 0, 220, 150], [90, 80, 210, 140]], dtype=np.float32)


def _inputs(model, embedding, coords, labels, mask=None):
    height, width = embedding.size
    factors = np.array([embedding.input_size[1] / width, embedding.input_size[0] / height])
    return {
        "point_coords": (coords * factors).astype(np.float32),
        "point_labels": np.asarray(labels, dtype=np.float32),
        "mask_input": np.zeros((1, 1, *model.variant.mask_input_size), np.float32) if mask is None else mask,
        "has_mask_input": np.array([float(mask is not None)], np.float32),
        "orig_im_size": np.array([height, width], np.float32),
    }


def _corners(boxes):
    return boxes.reshape(-1, 2, 2), np.full((len(boxes), 2), [2, 3])


def test_the_check_before_the_files_are_put_in_place_finds_them_equal(exported):
    assert exported.error < 1e-4
    assert exported.mask_iou > 0.999
    assert exported.bytes == exported.encoder.stat().st_size + exported.decoder.stat().st_size
    assert sorted(file.name for file in exported.encoder.parent.iterdir()) == ["decoder.onnx", "encoder.onnx"]
    for path in (exported.encoder, exported.decoder):
        onnx.checker.check_model(str(path))


@pytest.mark.parametrize("count", [1, 2, 3], ids=["a box", "two boxes", "three boxes"])
def test_boxes_of_one_call_give_the_masks_of_torch(nano, exported, embedded, count):
    embedding, ran = embedded
    wanted = _as_exported(nano, embedding, boxes=BOXES[:count], multimask_output=True)
    found = _run(_session(exported.decoder), {**ran, **_inputs(nano, embedding, *_corners(BOXES[:count]))})
    assert found["masks"].shape == (count, 3, 150, 220)
    scale = float(wanted.logits().abs().max())
    assert np.abs(found["masks"] - wanted.logits().numpy()).max() < 1e-4 * scale
    assert np.abs(found["iou_predictions"] - wanted.predicted_iou.numpy()).max() < 1e-4
    score = sam.automatic.scoring.stability_score(wanted.logits(), 0.0, 1.0)
    assert np.abs(found["stability_scores"] - score.numpy()).max() < 1e-3


@pytest.mark.parametrize("points", [1, 2, 5])
def test_any_number_of_points_gives_the_masks_of_torch(nano, exported, embedded, points):
    embedding, ran = embedded
    rng = np.random.default_rng(points)
    coords, labels = rng.random((2, points, 2)) * [220, 150], rng.integers(0, 2, (2, points))
    wanted = _as_exported(nano, embedding, point_coords=coords, point_labels=labels, multimask_output=True)
    with_no_point = np.concatenate([coords, np.zeros((2, 1, 2))], 1), np.concatenate([labels, -np.ones((2, 1))], 1)
    inputs = _inputs(nano, embedding, *with_no_point)
    inputs["point_coords"][:, -1] = 0
    found = _run(_session(exported.decoder), {**ran, **inputs})
    assert np.abs(found["low_res_masks"] - wanted.low_res_logits.numpy()).max() < 1e-4 * float(
        wanted.low_res_logits.abs().max()
    )


def test_a_mask_and_points_beside_boxes_count(nano, exported, embedded):
    embedding, ran = embedded
    before = _as_exported(nano, embedding, boxes=BOXES)
    points, labels = np.full((3, 1, 2), 60.0), np.array([[1], [0], [1]])
    wanted = _as_exported(
        nano,
        embedding,
        boxes=BOXES,
        point_coords=points,
        point_labels=labels,
        mask_input=before.low_res_logits,
        multimask_output=True,
    )
    corners, corner_labels = _corners(BOXES)
    inputs = _inputs(
        nano,
        embedding,
        np.concatenate([points, corners], 1),
        np.concatenate([labels, corner_labels], 1),
        before.low_res_logits.numpy(),
    )
    found = _run(_session(exported.decoder), {**ran, **inputs})
    assert np.abs(found["masks"] - wanted.logits().numpy()).max() < 1e-4 * float(wanted.logits().abs().max())


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (37, 411)], ids=str)
def test_masks_have_the_size_of_the_image(nano, exported, embedded, size):
    from sam import Embedding
    from sam.transforms import resized

    _, ran = embedded
    tensors = [torch.from_numpy(value) for value in ran.values()]
    known = Embedding(tensors[0], tuple(tensors[1:]), size, resized(size, nano.image_size), "nano")
    boxes = np.array([[0, 0, size[1], size[0]]], dtype=np.float32)
    found = _run(_session(exported.decoder), {**ran, **_inputs(nano, known, *_corners(boxes))})
    wanted = _as_exported(nano, known, boxes=boxes, multimask_output=True).logits().numpy()
    assert found["masks"].shape == (1, 3, *size)
    assert np.abs(found["masks"] - wanted).max() < 1e-4 * np.abs(wanted).max()


def test_one_mask_low_res_and_int8_are_smaller_and_near(nano, exported, embedded, tmp_path):
    embedding, ran = embedded
    made = sam.export(nano, tmp_path, masks="single", low_res=True, int8=True)
    assert made.bytes < 0.75 * exported.bytes
    assert set(made.files) == {"encoder.onnx", "decoder.onnx"}
    session = _session(made.decoder)
    assert [output.name for output in session.get_outputs()] == ["iou_predictions", "low_res_masks"]
    inputs = _inputs(nano, embedding, *_corners(BOXES))
    del inputs["orig_im_size"]
    found = _run(session, {**ran, **inputs})
    wanted = _as_exported(nano, embedding, boxes=BOXES)
    assert found["low_res_masks"].shape == wanted.low_res_logits.shape
    same = (found["low_res_masks"] > 0) == (wanted.low_res_logits.numpy() > 0)
    assert same.mean() > 0.95


def test_the_metadata_say_how_to_prepare_an_image(nano, exported):
    says = _session(exported.encoder).get_modelmeta().custom_metadata_map
    assert says["variant"] == "nano" and says["masks"] == "multi"
    assert int(says["image_size"]) == nano.image_size
    assert tuple(map(float, says["pixel_mean"].split())) == pytest.approx(nano.variant.pixel_mean)


@pytest.mark.slow
def test_tiny_exports_as_well(scramble, tmp_path):
    made = sam.export(scramble(sam.load("tiny", seed=0)), tmp_path, low_res=True)
    assert made.error < 1e-4


def test_the_blocks_of_the_vits_export_as_well(scramble, tmp_path):
    # The encoder of vit_b, vit_l and vit_h at depth 2, 64 channels and 320 px: windows and a global block.
    from sam.modeling.mask_decoder import MaskDecoder
    from sam.modeling.prompt_encoder import PromptEncoder
    from sam.modeling.transformer import TwoWayTransformer
    from sam.registry import Parts, Variant
    from sam.variants.vit import ViTEncoder

    def build() -> Parts:
        decoder = MaskDecoder(dim=256, transformer=TwoWayTransformer(depth=2, dim=256, heads=8, hidden=2048))
        encoder = ViTEncoder(dim=64, depth=2, heads=2, global_blocks=(1,), image_size=320)
        return Parts(encoder, PromptEncoder(embed_dim=256, image_size=320, grid_size=20), decoder)

    variant = Variant(name="thin", family="vit", build=build, image_size=320, mask_input_size=(80, 80))
    made = sam.export(scramble(sam.Sam(variant).eval()), tmp_path, low_res=True)
    assert made.error < 1e-4


def test_files_that_differ_from_torch_are_refused(nano, tmp_path, monkeypatch):
    decode = nano.decode

    def off(*words, **options):
        made = decode(*words, **options)
        made.predicted_iou.add_(0.5)
        return made

    monkeypatch.setattr(nano, "decode", off)
    with pytest.raises(sam.ExportError, match="differs from torch"):
        sam.export(nano, tmp_path, low_res=True)


def test_unknown_masks_are_refused_before_any_work(nano, tmp_path):
    with pytest.raises(sam.ExportError, match="multi, single"):
        sam.export(nano, tmp_path, masks="many")
    assert list(tmp_path.iterdir()) == []
