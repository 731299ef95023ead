"""Same seeded weights, same image, same prompts: the numbers of two independent implementations.

The encoder of vit_b runs at full depth and 1024 px against transformers' `SamModel`, that of tiny against
ultralytics' MobileSAM; the widths of all three ViTs run at depth 3 on a 320 px square against both, because
vit_l and vit_h need gigabytes and minutes when they are whole. All official variants share one prompt encoder
and mask decoder, which both others decode from the embedding of tiny. Neither takes prompts in the same way
everywhere: transformers has one mask prompt an image, so prompts go to it one by one.
Tolerance: 1e-4 of the largest value. Float32 sums of a thousand terms in another order differ by about
1e-6 of it, and transformers' decoder divides by sqrt(v + 1e-6) where the original has 1e-5, which makes
1e-5 of it; a wrong bias, position or epsilon shows at 1e-3 and above.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

import sam
from sam.layouts import from_transformers
from sam.prompts import Prompts, check_prompts
from sam.transforms import resize, resized, to_tensor
from sam.variants.vit import ViTEncoder

TOLERANCE = 1e-4


def assert_close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert ours.shape == theirs.shape
    error = (ours - theirs).abs().max() / theirs.abs().max()
    assert error < TOLERANCE, f"largest difference is {error:.1e} of the largest value"


def _mask_input(count: int) -> np.ndarray:
    y, x = np.mgrid[:256, :256]
    blob = 40 - np.hypot(y - 110, x - 90)
    return np.repeat(blob[None, None].astype(np.float32), count, axis=0)


BOX = [[20.0, 25.0, 110.0, 120.0]]
PROMPTS = {
    "a point": {"point_coords": [[[60, 70]]], "point_labels": [[1]]},
    "three points, one outside": {"point_coords": [[[60, 70], [80, 60], [5.5, 140]]], "point_labels": [[1, 1, 0]]},
    "a point and no point": {"point_coords": [[[60, 70], [0, 0]]], "point_labels": [[1, -1]]},
    "two points, two prompts": {"point_coords": [[[60, 70]], [[150, 100]]], "point_labels": [[1], [0]]},
    "a box": {"boxes": BOX},
    "five boxes": {"boxes": [[10 * i, 5 * i, 100 + 20 * i, 80 + 10 * i] for i in range(5)]},
    "a box and points": {"boxes": BOX, "point_coords": [[[60, 70], [100, 30]]], "point_labels": [[1, 0]]},
    "a point and a mask": {"point_coords": [[[60, 70]]], "point_labels": [[1]], "mask_input": _mask_input(1)},
    "two boxes, two masks": {"boxes": [*BOX, [90, 80, 210, 140]], "mask_input": _mask_input(2)},
}


@pytest.fixture(scope="module")
def mobile(scramble, picture):
    model = scramble(sam.load("tiny", seed=0))
    return model, model.embed(picture)


@pytest.fixture(scope="module")
def ultralytics_mobile(mobile):
    from ultralytics.models.sam.build import build_mobile_sam

    theirs = build_mobile_sam()
    theirs.load_state_dict(mobile[0].state_dict(), strict=True)
    return theirs.eval()


def _in_transformers(ours, **vision):
    """transformers' model with the weights `ours`; those of its encoder stay empty where `ours` has others."""
    from transformers import SamConfig, SamModel

    with torch.device("meta"):
        theirs = SamModel(SamConfig(vision_config=vision))
    official = from_transformers({key: key for key in theirs.state_dict()})  # official name -> their name
    state = {their_name: ours[name] for name, their_name in official.items() if name in ours}
    shared = state["shared_image_embedding.positional_embedding"]
    state["prompt_encoder.shared_embedding.positional_embedding"] = shared
    absent = theirs.load_state_dict(state, strict=False, assign=True)
    assert not absent.unexpected_keys
    assert all(key.startswith("vision_encoder.") for key in absent.missing_keys)
    return theirs.eval(), absent.missing_keys


@pytest.fixture(scope="module")
def transformers_decoder(mobile):
    state = {key: value for key, value in mobile[0].state_dict().items() if not key.startswith("image_encoder.")}
    return _in_transformers(state, num_hidden_layers=1, global_attn_indexes=[0])[0]


def _frame(model, embedding, prompts):
    """The prompts as the others take them: in the frame of 1024 px, float32."""
    framed = check_prompts(
        size=embedding.size, input_size=embedding.input_size, mask_input_size=(256, 256), device=model.device, **prompts
    )
    tensors = framed.tensors()
    return Prompts(**{k: v.float() if v.is_floating_point() else v for k, v in tensors.items()})


@torch.no_grad()
def _ultralytics(theirs, features, framed, multimask):
    points = None if framed.point_coords is None else (framed.point_coords, framed.point_labels)
    sparse, dense = theirs.prompt_encoder(points=points, boxes=framed.boxes, masks=framed.mask_input)
    return theirs.mask_decoder(features, theirs.prompt_encoder.get_dense_pe(), sparse, dense, multimask)


@torch.no_grad()
def _transformers(theirs, features, framed, multimask):
    def one_image(tensor):
        return None if tensor is None else tensor[None]

    logits, iou = [], []
    for chunk in framed.chunks(1):  # their mask prompts are one an image, not one a prompt
        out = theirs(
            image_embeddings=features,
            input_points=one_image(chunk.point_coords),
            input_labels=one_image(chunk.point_labels),
            input_boxes=one_image(chunk.boxes),
            input_masks=chunk.mask_input,
            multimask_output=multimask,
        )
        logits.append(out.pred_masks[0])
        iou.append(out.iou_scores[0])
    return torch.cat(logits), torch.cat(iou)


@pytest.mark.parametrize("turned", [False, True], ids=["landscape", "portrait"])
def test_the_frame_of_transformers_is_ours(mobile, picture, turned):
    from transformers import SamImageProcessor

    picture = np.ascontiguousarray(picture.transpose(1, 0, 2)) if turned else picture
    theirs = SamImageProcessor()(picture, return_tensors="pt")["pixel_values"]
    model = mobile[0]
    ours = model.preprocess(to_tensor(resize(picture, 1024), model.device)[None])
    step = 1 / 255 / 0.224  # one grey level, normalised: theirs may resize with torch and round otherwise
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() < 1.5 * step
    assert (ours - theirs).abs().mean() < 0.01 * step


@pytest.mark.slow
@torch.no_grad()
def test_vit_b_at_full_depth_embeds_as_transformers_does(scramble, picture):
    model = scramble(sam.load("vit_b", seed=0))
    theirs, absent = _in_transformers(model.state_dict())
    assert absent == []
    pixels = model.preprocess(to_tensor(resize(picture, 1024), model.device)[None])
    assert_close(model.image_encoder(pixels)[0], theirs.get_image_embeddings(pixels))


@torch.no_grad()
def test_tiny_embeds_as_ultralytics_does(mobile, ultralytics_mobile, picture):
    model, embedding = mobile
    pixels = model.preprocess(to_tensor(resize(picture, 1024), model.device)[None])
    assert_close(embedding.features, ultralytics_mobile.image_encoder(pixels))


@torch.no_grad()
@pytest.mark.parametrize(("dim", "heads"), [(768, 12), (1024, 16), (1280, 16)], ids=["vit_b", "vit_l", "vit_h"])
def test_the_width_of_each_vit_embeds_as_ultralytics_does(scramble, dim, heads):
    from functools import partial

    from ultralytics.models.sam.modules.encoders import ImageEncoderViT

    ours = scramble(ViTEncoder(dim=dim, depth=3, heads=heads, global_blocks=(1,), image_size=320)).eval()
    theirs = ImageEncoderViT(
        img_size=320,
        embed_dim=dim,
        depth=3,
        num_heads=heads,
        global_attn_indexes=(1,),
        window_size=14,
        use_rel_pos=True,
        qkv_bias=True,
        out_chans=256,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
    ).eval()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    pixels = torch.randn(1, 3, 320, 320, generator=torch.Generator().manual_seed(1))
    found = ours(pixels)[0]
    assert_close(found, theirs(pixels))

    from transformers import SamVisionConfig, SamVisionModel

    with torch.device("meta"):
        others = SamVisionModel(
            SamVisionConfig(
                hidden_size=dim,
                num_hidden_layers=3,
                num_attention_heads=heads,
                mlp_dim=4 * dim,
                image_size=320,
                global_attn_indexes=[1],
            )
        )
    official = from_transformers({key: key for key in others.state_dict()})
    weights = {f"image_encoder.{key}": value for key, value in ours.state_dict().items()}
    others.load_state_dict({theirs: weights[name] for name, theirs in official.items()}, strict=True, assign=True)
    assert_close(found, others.eval()(pixels).last_hidden_state)


@torch.no_grad()
def test_a_batch_of_images_embeds_like_each_alone(scramble):
    encoder = scramble(ViTEncoder(dim=64, depth=2, heads=2, global_blocks=(1,), image_size=256)).eval()
    pixels = torch.randn(3, 3, 256, 256, generator=torch.Generator().manual_seed(1))
    assert_close(encoder(pixels)[0], torch.cat([encoder(one[None])[0] for one in pixels]))


@pytest.mark.parametrize("multimask", [False, True], ids=["single", "multimask"])
@pytest.mark.parametrize("prompts", PROMPTS.values(), ids=PROMPTS.keys())
def test_tiny_decodes_as_ultralytics_does(mobile, ultralytics_mobile, prompts, multimask):
    model, embedding = mobile
    ours = model.predict(embedding, multimask_output=multimask, **prompts)
    framed = _frame(model, embedding, prompts)
    logits, iou = _ultralytics(ultralytics_mobile, embedding.features, framed, multimask)
    assert_close(ours.low_res_logits, logits)
    assert_close(ours.predicted_iou, iou)


@pytest.mark.parametrize("multimask", [False, True], ids=["single", "multimask"])
@pytest.mark.parametrize("prompts", PROMPTS.values(), ids=PROMPTS.keys())
def test_the_decoder_of_all_variants_decodes_as_transformers_does(mobile, transformers_decoder, prompts, multimask):
    model, embedding = mobile
    ours = model.predict(embedding, multimask_output=multimask, **prompts)
    framed = _frame(model, embedding, prompts)
    logits, iou = _transformers(transformers_decoder, embedding.features, framed, multimask)
    assert_close(ours.low_res_logits, logits)
    assert_close(ours.predicted_iou, iou)


def test_a_mask_alone_decodes_as_ultralytics_does(mobile, ultralytics_mobile):
    model, embedding = mobile
    prompts = {"mask_input": _mask_input(1)}
    ours = model.predict(embedding, multimask_output=True, **prompts)
    framed = _frame(model, embedding, prompts)
    logits, iou = _ultralytics(ultralytics_mobile, embedding.features, framed, True)
    assert_close(ours.low_res_logits, logits)
    assert_close(ours.predicted_iou, iou)


@pytest.mark.parametrize("size", [(150, 220), (220, 150), (300, 300), (1, 500), (1500, 1100)], ids=str)
def test_final_masks_are_those_of_transformers(mobile, size):
    from transformers import SamImageProcessor

    model, embedding = mobile
    low = model.predict(embedding, boxes=BOX, multimask_output=True).low_res_logits
    ours = sam.Prediction(low, torch.ones(1, 3), size, resized(size, 1024), 1024)
    theirs = SamImageProcessor().post_process_masks([low], [list(size)], [list(ours.input_size)], binarize=False)[0]
    assert_close(ours.logits(), theirs)
    assert (ours.masks() == (theirs > 0)).float().mean() > 0.9999  # a logit of 1e-7 may round to the other side


def test_prompts_in_chunks_decode_like_all_at_once(mobile):
    model, embedding = mobile
    prompts = PROMPTS["five boxes"]
    whole = model.predict(embedding, batch_size=5, **prompts)
    parts = model.predict(embedding, batch_size=2, **prompts)
    assert_close(parts.low_res_logits, whole.low_res_logits)
    assert_close(parts.predicted_iou, whole.predicted_iou)
