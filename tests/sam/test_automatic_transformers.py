"""The mask generator against transformers' `pipeline("mask-generation")`, an independent implementation.

Both decode alike: what our model predicts for a batch of points is recorded, and transformers is answered
with it once it asks for the same points of the same crop. So crops, prompts, enlarging, filters, boxes and
suppression are compared, and nothing of an encoder or decoder.

Where transformers differs from the original, which we follow, only what is common is compared:

- It suppresses once, over all crops, by score. The original does so within each crop, then between
  crops by their size. Without crops that is the same; with them, masks are compared before suppression.
- Its grid has the same number of points in every crop: `crop_n_points_downscale_factor` must be 1.
- It returns neither stability, nor point, nor crop, and does not remove specks.
- Its boxes hold the last column and row, and so do the original's; ours count whole pixels, one more in each.
- A stability that is exactly the threshold passes in the original, and not there; none is here.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sam import SamAutomaticMaskGenerator
from sam.transforms import resize, scale_coords, to_tensor

GREY_LEVEL = 1 / 255 / 0.224  # as normalised; theirs may resize with torch, which rounds otherwise
ON_EDGE = 2  # pixels of a mask whose logit two ways to enlarge may round to either side of zero

THEIR_NAMES = {
    "points_per_side": "points_per_crop",
    "crop_n_layers": "crops_n_layers",
    "box_nms_thresh": "crops_nms_thresh",
}
CASES = {
    "defaults": {"points_per_side": 8},
    "batches that do not divide": {"points_per_side": 7, "points_per_batch": 20, "stability_score_thresh": 0.8},
    "nothing filtered": {"points_per_side": 4, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0},
    "no suppression": {"points_per_side": 5, "stability_score_thresh": 0.7, "box_nms_thresh": 1.0},
    "hard suppression": {"pred_iou_thresh": 0.5, "stability_score_thresh": 0.6, "box_nms_thresh": 0.3},
    "a wider stability offset": {"stability_score_thresh": 0.7, "stability_score_offset": 2.0},
}
CROP_CASES = {
    "one layer": {"points_per_side": 5, "crop_n_layers": 1, "stability_score_thresh": 0.7},
    "two layers, wider overlap": {"points_per_side": 3, "crop_n_layers": 2, "crop_overlap_ratio": 0.5},
}


@pytest.fixture
def both(drawn_model, monkeypatch):
    """A function of an image and our options: our records, and transformers' result from the same predictions."""
    from PIL import Image
    from transformers import MaskGenerationPipeline, SamConfig, SamImageProcessor, SamModel

    side = drawn_model.image_size
    vision = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "mlp_dim": 8, "image_size": side}
    theirs = SamModel(SamConfig(vision_config={**vision, "output_channels": 32}))
    processor = SamImageProcessor(size={"longest_edge": side}, pad_size={"height": side, "width": side})
    embed, predict = drawn_model.embed, drawn_model.predict
    crops, answers = [], []

    def recorded_embed(image):
        crops.append(image)
        return embed(image)

    def recorded_predict(embedding, *, min_predicted_iou, **prompts):
        points = torch.from_numpy(prompts["point_coords"][:, 0])
        prediction = predict(embedding, **prompts)
        answers.append((scale_coords(points, embedding.size, embedding.input_size), prediction))
        return predict(embedding, min_predicted_iou=min_predicted_iou, **prompts)

    def same_crop(pixels):
        ours = drawn_model.preprocess(to_tensor(resize(crops.pop(0), side), drawn_model.device)[None])
        assert (pixels - ours).abs().max() < 1.5 * GREY_LEVEL
        assert (pixels - ours).abs().mean() < 0.05 * GREY_LEVEL
        return ours

    def same_answer(*, input_points, input_labels, image_embeddings):
        points, prediction = answers.pop(0)
        assert (input_points[0, :, 0] - points).abs().max() < 1e-3
        assert (input_labels == 1).all()
        return {"pred_masks": prediction.low_res_logits[None], "iou_scores": prediction.predicted_iou[None]}

    monkeypatch.setattr(drawn_model, "embed", recorded_embed)
    monkeypatch.setattr(drawn_model, "predict", recorded_predict)
    monkeypatch.setattr(theirs, "get_image_embeddings", same_crop)
    monkeypatch.setattr(theirs, "forward", same_answer)

    def run(image, options):
        options = {"points_per_side": 5, "pred_iou_thresh": 0.88, "stability_score_thresh": 0.95, **options}
        records = SamAutomaticMaskGenerator(drawn_model, **options).generate(image)
        renamed = {THEIR_NAMES.get(name, name): value for name, value in options.items() if name != "crop_nms_thresh"}
        pipeline = MaskGenerationPipeline(model=theirs, image_processor=processor, device="cpu")
        found = pipeline(Image.fromarray(image), output_bboxes_mask=True, **renamed)
        assert not crops and not answers  # it asked for all that we did
        return records, found

    return run


def _assert_same(records, masks, scores, boxes):
    assert len(records) == len(masks) >= 5
    same_pixels = 0
    for ours, mask, score, box in zip(records, masks, scores, boxes, strict=True):
        assert ours["predicted_iou"] == pytest.approx(float(score), abs=1e-6)
        differ = (ours["segmentation"] != np.asarray(mask)).sum()
        assert differ <= ON_EDGE
        if ours["area"] and not differ:
            x0, y0, x1, y1 = box.tolist()
            assert ours["bbox"] == [x0, y0, x1 - x0 + 1, y1 - y0 + 1]
            same_pixels += 1
    assert same_pixels >= 0.9 * sum(ours["area"] > 0 for ours in records)


@pytest.mark.parametrize("name", CASES)
def test_the_same_masks_in_the_same_order_as_transformers(name, both, picture):
    records, found = both(picture, CASES[name])
    _assert_same(records, found["masks"], found["scores"], found["bounding_boxes"])


def test_a_portrait_gives_the_same_masks_as_transformers(both, picture):
    records, found = both(np.ascontiguousarray(picture.transpose(1, 0, 2)), CASES["hard suppression"])
    _assert_same(records, found["masks"], found["scores"], found["bounding_boxes"])


@pytest.mark.parametrize("name", CROP_CASES)
def test_crops_give_the_same_masks_as_transformers_before_suppression(name, both, picture):
    records, found = both(picture, {**CROP_CASES[name], "box_nms_thresh": 1.0, "crop_nms_thresh": 1.0})
    assert len({tuple(record["crop_box"]) for record in records}) > 4
    records.sort(key=lambda record: -record["predicted_iou"])  # theirs come by score, ours by crop
    _assert_same(records, found["masks"], found["scores"], found["bounding_boxes"])
