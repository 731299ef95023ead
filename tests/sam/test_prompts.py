"""What `embed`, `predict` and the facade take, and how they refuse the rest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import sam
from sam import SamPredictor


@pytest.fixture(scope="module")
def nano(scramble):
    return scramble(sam.load("nano", seed=0))


@pytest.fixture(scope="module")
def embedding(nano, picture):
    return nano.embed(picture)


def test_an_embedding_is_a_value_that_knows_its_image(nano, embedding, picture):
    assert embedding.size == (150, 220)
    assert max(embedding.input_size) == nano.image_size
    assert embedding.features.shape == (1, nano.variant.transformer_dim, nano.image_size // 16, nano.image_size // 16)
    assert embedding.variant == "nano"
    before = embedding.features.clone()
    nano.embed(255 - picture)
    nano.predict(embedding, boxes=[[0, 0, 50, 50]])
    assert torch.equal(embedding.features, before)
    with pytest.raises(AttributeError):
        embedding.size = (1, 1)


def test_a_batch_of_images_of_different_sizes_embeds_like_each_alone(nano, picture):
    images = [picture, picture[:40, :30], Image.fromarray(picture[:, :100])]
    for together, image in zip(nano.embed_batch(images), images, strict=True):
        alone = nano.embed(image)
        assert together.size == alone.size
        assert together.input_size == alone.input_size
        for a, b in zip((together.features, *together.high_res), (alone.features, *alone.high_res), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    assert nano.embed_batch([]) == []


@pytest.mark.parametrize("multimask", [False, True], ids=["single", "multimask"])
def test_a_prediction_has_one_row_a_prompt(nano, embedding, multimask):
    boxes = [[10, 10, 100, 90], [0, 0, 220, 150], [30, 30, 31, 31]]
    prediction = nano.predict(embedding, boxes=boxes, multimask_output=multimask)
    masks = 3 if multimask else 1
    assert len(prediction) == 3
    assert prediction.predicted_iou.shape == (3, masks)
    assert prediction.masks().shape == prediction.logits().shape == (3, masks, 150, 220)
    assert prediction.masks().dtype == torch.bool
    assert torch.equal(prediction.masks(), prediction.logits() > prediction.mask_threshold)


def test_no_boxes_give_no_masks(nano, embedding):
    prediction = nano.predict(embedding, boxes=np.zeros((0, 4)), multimask_output=True)
    assert prediction.masks().shape == (0, 3, 150, 220)
    assert prediction.predicted_iou.shape == (0, 3)


def test_prompts_do_not_disturb_each_other(nano, embedding):
    boxes = [[10, 10, 100, 90], [50, 20, 200, 140]]
    both = nano.predict(embedding, boxes=boxes).low_res_logits
    for i, box in enumerate(boxes):
        alone = nano.predict(embedding, boxes=[box]).low_res_logits
        torch.testing.assert_close(both[i : i + 1], alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (500, 1), (2, 3), (700, 400)], ids=str)
def test_odd_sizes_give_masks_of_that_size(nano, shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    made = nano.embed(image)
    prediction = nano.predict(made, boxes=[[0, 0, shape[1], shape[0]]])
    assert prediction.masks().shape == (1, 1, *shape)
    assert bool(prediction.logits().isfinite().all())


@pytest.mark.parametrize("point", [(-50, 70), (400, 70), (110, 1e6), (-1e9, -1e9)], ids=str)
def test_a_point_outside_the_image_is_taken_as_it_is(nano, embedding, point):
    prediction = nano.predict(embedding, point_coords=[[point, (60, 70)]], point_labels=[[0, 1]])
    assert prediction.masks().shape == (1, 1, 150, 220)
    assert bool(prediction.logits().isfinite().all())


def test_a_box_beyond_the_image_is_taken_as_it_is(nano, embedding):
    prediction = nano.predict(embedding, boxes=[[-100, -100, 500, 400], [300, 200, 400, 300]])
    assert prediction.masks().shape == (2, 1, 150, 220)
    assert bool(prediction.logits().isfinite().all())


def test_a_photo_of_12000_by_9000_takes_bounded_memory():
    # The pixels are 324 MB, the logits of one mask 432 MB and the mask 108 MB.
    code = (
        "import numpy as np, sam\n"
        "from tests.memory import peak\n"
        "model = sam.load('nano', seed=0)\n"
        "model.predict(model.embed(np.zeros((64, 64, 3), np.uint8)), boxes=[[0, 0, 9, 9]]).masks()\n"
        "before = peak()\n"
        "image = np.zeros((9000, 12000, 3), np.uint8)\n"
        "image[3000:6000, 3000:9000] = 200\n"
        "found = model.predict(model.embed(image), boxes=[[3000, 3000, 9000, 6000]])\n"
        "masks = found.masks()\n"
        "assert masks.shape == (1, 1, 9000, 12000), masks.shape\n"
        "print((peak() - before) // 2**20)\n"
    )
    pytest.importorskip("resource", reason="not on Windows")
    root = Path(__file__).resolve().parents[2]
    run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-2000:]
    assert int(run.stdout) < 1700, f"{run.stdout.strip()} MB more than before"


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((5, 6), np.uint8), "grayscale"),
        (np.zeros((5, 6, 4), np.uint8), r"\(5, 6, 4\)"),
        (np.zeros((3, 5, 6), np.uint8), r"\(3, 5, 6\)"),
        (np.zeros((5, 6, 3), np.float32), "float32"),
        (np.zeros((0, 6, 3), np.uint8), "no pixels"),
        (Image.new("L", (6, 5)), "convert"),
        (Image.new("RGBA", (6, 5)), "convert"),
        ("photo.jpg", "str"),
    ],
    ids=["grayscale", "alpha", "channels first", "floats", "empty", "PIL grayscale", "PIL alpha", "path"],
)
def test_an_image_of_another_kind_is_refused_in_one_line(nano, image, words):
    with pytest.raises(sam.ImageError, match=words) as caught:
        nano.embed(image)
    assert "\n" not in str(caught.value)


BAD = {
    "nothing": ({}, "no prompt"),
    "NaN box": ({"boxes": [[0, 0, 5, 5], [0, 0, float("nan"), 5]]}, r"boxes\[1\].*finite"),
    "infinite point": ({"point_coords": [[[float("inf"), 1]]], "point_labels": [[1]]}, "finite"),
    "inverted box": ({"boxes": [[9, 0, 5, 5]]}, "x0 <= x1"),
    "flat box": ({"boxes": [1, 2, 3, 4]}, r"\(N, 4\)"),
    "five numbers": ({"boxes": [[1, 2, 3, 4, 5]]}, r"\(N, 4\)"),
    "points without labels": ({"point_coords": [[[1, 2]]]}, "point_labels"),
    "labels without points": ({"point_labels": [[1]]}, "point_coords"),
    "flat points": ({"point_coords": [[1, 2]], "point_labels": [[1]]}, r"\(N, P, 2\)"),
    "too few labels": ({"point_coords": [[[1, 2], [3, 4]]], "point_labels": [[1]]}, r"wanted \(1, 2\)"),
    "unknown label": ({"point_coords": [[[1, 2]]], "point_labels": [[7]]}, "label 7"),
    "no point at all": ({"point_coords": np.zeros((1, 0, 2)), "point_labels": np.zeros((1, 0))}, "no point"),
    "counts that differ": (
        {"boxes": [[0, 0, 5, 5]] * 2, "point_coords": [[[1, 2]]], "point_labels": [[1]]},
        "2 in boxes",
    ),
    "mask of another size": ({"mask_input": np.zeros((1, 1, 9, 9))}, "mask_input"),
    "words": ({"boxes": "here"}, "numbers"),
    "ragged": ({"boxes": [[1, 2, 3, 4], [1, 2]]}, "numbers"),
}


@pytest.mark.parametrize(("prompts", "words"), BAD.values(), ids=BAD.keys())
def test_a_bad_prompt_is_refused_in_one_line(nano, embedding, prompts, words):
    with pytest.raises(sam.PromptError, match=words) as caught:
        nano.predict(embedding, **prompts)
    assert "\n" not in str(caught.value)


def test_an_embedding_of_another_model_is_refused(nano, embedding, drawn_model, picture):
    with pytest.raises(sam.PromptError, match="drawn"):
        nano.predict(drawn_model.embed(picture), boxes=[[0, 0, 5, 5]])


def test_the_facade_returns_what_the_value_api_does(nano, embedding, picture):
    predictor = SamPredictor(nano)
    predictor.set_image(picture)
    points, labels, box = np.array([[60, 70], [10, 10]]), np.array([1, 0]), np.array([20, 25, 110, 120])
    masks, iou, low = predictor.predict(points, labels, box=box, multimask_output=True)
    ours = nano.predict(
        embedding, point_coords=points[None], point_labels=labels[None], boxes=box[None], multimask_output=True
    )
    assert masks.dtype == bool and masks.shape == (3, 150, 220)
    assert iou.shape == (3,)
    assert np.array_equal(masks, ours.masks()[0].numpy())
    assert np.array_equal(low, ours.low_res_logits[0].numpy())
    logits, _, _ = predictor.predict(box=box, return_logits=True)
    assert logits.dtype == np.float32 and logits.shape == (3, 150, 220)
    assert torch.equal(predictor.get_image_embedding(), embedding.features)


def test_predict_torch_takes_boxes_in_the_frame_of_the_model(nano, picture):
    predictor = SamPredictor(nano)
    predictor.set_image(picture)
    boxes = np.array([[20, 25, 110, 120], [0, 0, 50, 60]], dtype=np.float32)
    framed = predictor.transform.apply_boxes_torch(torch.from_numpy(boxes), picture.shape[:2])
    assert np.allclose(framed.numpy(), predictor.transform.apply_boxes(boxes, picture.shape[:2]), atol=1e-4)
    masks, iou, low = predictor.predict_torch(None, None, boxes=framed, multimask_output=False)
    ours = nano.predict(predictor.embedding, boxes=boxes)
    assert masks.shape == (2, 1, 150, 220) and iou.shape == (2, 1)
    torch.testing.assert_close(low, ours.low_res_logits, rtol=1e-3, atol=1e-3)


def test_bgr_declared_as_such_is_the_same_image(nano, picture):
    predictor = SamPredictor(nano)
    predictor.set_image(np.ascontiguousarray(picture[..., ::-1]), image_format="BGR")
    bgr = predictor.get_image_embedding()
    predictor.set_image(picture)
    assert torch.equal(bgr, predictor.get_image_embedding())
    with pytest.raises(sam.ImageError, match="HSV"):
        predictor.set_image(picture, image_format="HSV")


def test_a_transformed_image_can_be_set_by_itself(nano, embedding, picture):
    predictor = SamPredictor(nano)
    small = predictor.transform.apply_image(picture)
    predictor.set_torch_image(torch.tensor(small).permute(2, 0, 1)[None], picture.shape[:2])
    assert torch.equal(predictor.features, embedding.features)
    assert predictor.original_size == (150, 220)
    with pytest.raises(sam.ImageError, match="longest side"):
        predictor.set_torch_image(torch.zeros(1, 3, 9, 9), (9, 9))


def test_a_predictor_without_image_says_so(nano, picture):
    predictor = SamPredictor(nano)
    for call in (lambda: predictor.predict(box=np.zeros(4)), predictor.get_image_embedding):
        with pytest.raises(sam.NoImageSet, match="set_image"):
            call()
    predictor.set_image(picture)
    assert predictor.is_image_set
    with pytest.raises(sam.PromptError, match="no prompt"):
        predictor.predict()
    with pytest.raises(sam.PromptError, match="predict_torch"):
        predictor.predict(box=np.zeros((2, 4)))
    predictor.reset_image()
    assert not predictor.is_image_set and predictor.features is None
    with pytest.raises(RuntimeError):  # what segment_anything raises
        predictor.predict(box=np.zeros(4))


def test_calling_the_model_returns_what_segment_anything_does(nano, embedding, picture):
    transform = sam.ResizeLongestSide(nano.image_size)
    boxes = torch.tensor([[20.0, 25, 110, 120], [0, 0, 50, 60]])
    record = {
        "image": torch.tensor(transform.apply_image(picture)).permute(2, 0, 1),
        "original_size": picture.shape[:2],
        "boxes": transform.apply_boxes_torch(boxes, picture.shape[:2]),
    }
    result = nano([record], multimask_output=True)[0]
    ours = nano.predict(embedding, boxes=boxes, multimask_output=True)
    assert result["masks"].shape == (2, 3, 150, 220)
    torch.testing.assert_close(result["low_res_logits"], ours.low_res_logits, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(result["iou_predictions"], ours.predicted_iou, rtol=1e-3, atol=1e-3)
    with pytest.raises(sam.PromptError, match="no prompt"):
        nano([{"image": record["image"], "original_size": (150, 220)}], multimask_output=False)
