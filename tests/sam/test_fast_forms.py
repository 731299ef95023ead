"""What `sam.optimize` swaps in gives what the plain form gives, which is what gradients and exports go through."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import sam
from sam.cpu.attention import softmax_matmul
from sam.cpu.fused_decoder import ImageDecoder
from sam.cpu.layers import ACTIVATIONS, convolve, linear
from sam.cpu.precision import has_tiles
from sam.modeling.mask_decoder import MaskDecoder
from sam.modeling.transformer import TwoWayTransformer
from sam.prompts import Prompts
from sam.variants.nano import NanoEncoder
from sam.variants.tiny_vit import Block as TinyBlock
from sam.variants.tiny_vit import TinyViTEncoder
from sam.variants.vit import ViTEncoder

EXACT = 3e-6  # of the largest value, or of 1: sums of the same numbers in another order


def noise(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def distance(found: torch.Tensor, wanted: torch.Tensor) -> float:
    assert found.shape == wanted.shape
    return float((found.float() - wanted).abs().max() / wanted.abs().max().clamp(min=1))


def ready(scramble, module: nn.Module) -> nn.Module:
    """`module` with seeded weights and its twins swapped in."""
    return sam.optimize(scramble(module).eval().requires_grad_(False))


def plainly(module: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    with torch.enable_grad():
        return [value.detach() for value in module(x)]


ENCODERS = {
    "ViT, map of one window": lambda: (ViTEncoder(dim=32, depth=2, heads=2, global_blocks=(1,), image_size=224), 224),
    "ViT, windows overhang": lambda: (ViTEncoder(dim=48, depth=2, heads=3, global_blocks=(0,), image_size=320), 320),
    "ViT smaller than a window": lambda: (ViTEncoder(dim=32, depth=1, heads=2, global_blocks=(), image_size=96), 96),
    "Tiny-ViT": lambda: (TinyViTEncoder(), 160),
    "nano": lambda: (NanoEncoder(), 96),
}


@torch.no_grad()
@pytest.mark.parametrize("made", ENCODERS.values(), ids=ENCODERS.keys())
def test_an_encoder_without_gradients_gives_what_it_gives_with_them(scramble, made):
    encoder, side = made()
    encoder = ready(scramble, encoder)
    pixels = noise(2, 3, side, side)
    for found, wanted in zip(encoder(pixels), plainly(encoder, pixels), strict=True):
        assert found.is_floating_point() and distance(found, wanted) < EXACT


PICTURES = {  # of a square of 320 pixels: what a picture covers, then what is convolved, and the cells of both blocks
    "wide": ((100, 320), (136, 320), [(28, 40), (35, 40)]),
    "tall": ((320, 100), (320, 136), [(40, 28), (40, 35)]),
    "one row": ((1, 320), (40, 320), [(14, 40), (21, 40)]),
    "padding of less than a window": ((230, 320), (264, 320), [(40, 40), (40, 40)]),
    "padding too narrow to save anything": ((281, 320), (320, 320), [(40, 40), (40, 40)]),
    "no padding": ((320, 320), (320, 320), [(40, 40), (40, 40)]),
    "nothing at all": ((0, 0), (32, 320), [(14, 40), (21, 40)]),
}


@torch.no_grad()
@pytest.mark.parametrize(("covered", "convolved", "attended"), PICTURES.values(), ids=PICTURES.keys())
def test_beside_padding_less_is_computed_and_the_values_are_those_of_the_whole(scramble, covered, convolved, attended):
    encoder = ready(scramble, TinyViTEncoder())
    pixels, seen = torch.zeros(2, 3, 320, 320), []
    height, width = covered
    pixels[1, :, :height, :width] = noise(3, height, width)
    wanted = plainly(encoder, pixels)[0]
    assert distance(encoder(pixels)[0], wanted) < EXACT  # the first time the maps of an empty picture are made
    for layer in (encoder.patch_embed, *encoder.layers[1].blocks):
        layer.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape[2:])))
    assert distance(encoder(pixels)[0], wanted) < EXACT
    assert seen == [convolved, *attended]


@torch.no_grad()
def test_the_maps_of_an_empty_picture_are_made_again_when_weights_change(scramble):
    encoder = ready(scramble, TinyViTEncoder())
    pixels = torch.zeros(1, 3, 320, 320)
    pixels[..., :100] = noise(1, 3, 320, 100)
    encoder(pixels)
    for changed in (encoder.patch_embed.seq[0].bn.running_mean, encoder.layers[1].blocks[1].mlp.fc1.bias):
        changed += noise(*changed.shape)
        assert distance(encoder(pixels)[0], plainly(encoder, pixels)[0]) < EXACT


@torch.no_grad()
@pytest.mark.parametrize(
    ("scores", "fused"), [(3000, False), (1, False), (1, True)], ids=["three rows", "one row", "fused"]
)
def test_global_attention_is_the_same_by_some_rows_at_a_time_and_by_one_kernel(scramble, monkeypatch, scores, fused):
    from sam.cpu import vit

    encoder = ready(scramble, ViTEncoder(dim=32, depth=1, heads=2, global_blocks=(0,), image_size=160))
    pixels = noise(2, 3, 160, 160)
    monkeypatch.setattr(vit, "SCORES_AT_ONCE", scores)
    monkeypatch.setattr(vit, "_fused_is_faster", lambda dtype: fused)
    assert distance(encoder(pixels)[0], plainly(encoder, pixels)[0]) < EXACT


@torch.no_grad()
@pytest.mark.parametrize("at_once", [1, 2**15, 2**21], ids=["one row", "two rows", "all"])
@pytest.mark.parametrize(("height", "width"), [(7, 7), (8, 13), (3, 20), (14, 5), (30, 16)], ids=str)
def test_windows_on_maps_of_any_shape_are_those_of_the_plain_form(scramble, monkeypatch, height, width, at_once):
    from sam.cpu import attention

    monkeypatch.setattr(attention, "SCORES_AT_ONCE", at_once)
    block = ready(scramble, TinyBlock(32, 2, 7))
    x = noise(2, 32, height, width)
    wanted = plainly(lambda maps: [block(maps)], x)[0]
    assert distance(block(x.contiguous(memory_format=torch.channels_last)), wanted) < EXACT


@torch.no_grad()
def test_the_bias_of_windows_is_made_again_when_its_weights_change(scramble):
    block = ready(scramble, TinyBlock(32, 2, 7))
    x = noise(1, 32, 9, 9).contiguous(memory_format=torch.channels_last)
    block(x)
    block.attn.attention_biases += noise(2, 49)
    assert distance(block(x), plainly(lambda maps: [block(maps)], x)[0]) < EXACT


@torch.no_grad()
@pytest.mark.parametrize("shift", [0, 60, -60, 300, -300, torch.inf, -torch.inf], ids=str)
def test_means_of_bfloat16_weigh_as_softmax_does_wherever_the_scores_lie(shift):
    scores, values = 4 * noise(3, 20, 49), noise(3, 49, 8, seed=2)
    scores[0, :5] += shift if abs(shift) < torch.inf else 0
    scores[0, 5:9, ::2] += shift  # an infinite score takes all, or nothing
    scores, values = scores.bfloat16(), values.bfloat16()
    wanted = torch.softmax(scores.double(), dim=-1) @ values.double()
    found = softmax_matmul(scores, values)
    assert found.dtype == torch.bfloat16
    clear, kept = wanted.isfinite(), found.isfinite()
    # With AMX, oneDNN up to 3.14 multiplies 0 by what begins the next row: github.com/uxlfoundation/oneDNN/issues/5717
    before_nan = clear & ~torch.roll(clear, -1, dims=1) & has_tiles()
    assert clear[1:].all() and not kept[~clear].any() and kept[clear & ~before_nan].all()
    assert (found.double() - wanted)[kept].abs().max() < 0.02


DECODERS = {
    "of Segment Anything": dict(dim=64, depth=2, upscaled=None, high_res=()),
    "three doublings with finer features": dict(dim=32, depth=2, upscaled=(16, 8, 8), high_res=(16, 8, 8)),
    "three layers, no doubling after the first": dict(dim=32, depth=3, upscaled=(8,), high_res=()),
}
TOKENS = {"a box": (1, 2), "seven boxes": (7, 2), "many points": (2, 20), "a mask alone": (1, 0)}


@pytest.fixture(params=DECODERS.values(), ids=DECODERS.keys())
def decoder_and_image(request, scramble):
    what = request.param
    dim, (height, width) = what["dim"], (6, 5)
    decoder = MaskDecoder(
        dim=dim,
        transformer=TwoWayTransformer(depth=what["depth"], dim=dim, heads=4, hidden=48),
        upscaled_dims=what["upscaled"],
    )
    decoder = scramble(decoder).eval().requires_grad_(False)
    features = [(c, 2 ** (len(what["high_res"]) - k)) for k, c in enumerate(reversed(what["high_res"]))]
    high_res = tuple(noise(1, c, height * scale, width * scale) for c, scale in features)
    return decoder, noise(1, dim, height, width), noise(1, dim, height, width, seed=2), high_res


@torch.no_grad()
@pytest.mark.parametrize("multimask", [False, True], ids=["single", "multimask"])
@pytest.mark.parametrize("own_maps", [False, True], ids=["one map for all", "a map each"])
@pytest.mark.parametrize(("count", "width"), TOKENS.values(), ids=TOKENS.keys())
def test_the_folded_decoder_gives_what_the_plain_one_gives(decoder_and_image, count, width, own_maps, multimask):
    decoder, image, positions, high_res = decoder_and_image
    dim = image.shape[1]
    sparse, dense = noise(count, width, dim, seed=3), noise(count if own_maps else 1, *image.shape[1:], seed=4)
    folded = ImageDecoder(decoder, image, positions, high_res)
    wanted = decoder(
        image_embedding=image,
        image_pe=positions,
        sparse=sparse,
        dense=dense,
        multimask_output=multimask,
        high_res=high_res,
    )
    for _ in range(2):  # what is kept of the image does not change
        found = folded.masks(sparse, dense, multimask_output=multimask)[:2]
        assert all(distance(*pair) < EXACT for pair in zip(found, wanted, strict=True))


@torch.no_grad()
def test_one_prompt_more_costs_a_third_less_than_in_the_plain_form(monkeypatch):
    from torch.utils.flop_counter import FlopCounterMode

    monkeypatch.setattr("sam.cpu.layers._one_dnn", lambda: False)  # the counter does not know its products
    decoder = MaskDecoder(dim=256, transformer=TwoWayTransformer(depth=2, dim=256, heads=8, hidden=2048)).eval()
    image, positions, dense = noise(3, 1, 256, 32, 32)

    def work(count: int, *, plain: bool) -> int:
        sparse = noise(count, 2, 256)
        with FlopCounterMode(display=False) as counter:
            if plain:
                decoder(image_embedding=image, image_pe=positions, sparse=sparse, dense=dense, multimask_output=False)
            else:
                ImageDecoder(decoder, image, positions).masks(sparse, dense, multimask_output=False)
        return counter.get_total_flops()

    a_prompt = work(3, plain=False) - work(2, plain=False)
    assert work(5, plain=False) - work(3, plain=False) == 2 * a_prompt  # linear in prompts
    assert a_prompt < 0.65 * (work(3, plain=True) - work(2, plain=True))  # whose attention the counter leaves out


@torch.no_grad()
@pytest.mark.parametrize("act", ACTIVATIONS)
def test_products_and_convolutions_are_those_of_torch(scramble, act):
    x = noise(2, 6, 9, 11).contiguous(memory_format=torch.channels_last)
    conv, norm = nn.Conv2d(6, 8, 3, padding=1, stride=2), scramble(nn.BatchNorm2d(8)).eval()
    assert distance(convolve(x, conv, norm, act=act), ACTIVATIONS[act](norm(conv(x)))) < EXACT
    rows, layer = noise(5, 7, 6), nn.Linear(6, 4)
    assert distance(linear(rows, layer, act=act), ACTIVATIONS[act](layer(rows))) < EXACT


@torch.no_grad()
def test_a_kernel_with_its_norm_is_made_again_when_a_weight_changes(scramble):
    x = noise(1, 4, 8, 8).contiguous(memory_format=torch.channels_last)
    conv, norm = nn.Conv2d(4, 4, 3, padding=1, bias=False), scramble(nn.BatchNorm2d(4)).eval()
    before = convolve(x, conv, norm)
    norm.running_mean += 1
    conv.load_state_dict({"weight": noise(4, 4, 3, 3)})
    assert distance(convolve(x, conv, norm), norm(conv(x))) < EXACT
    assert distance(before, norm(conv(x))) > 0.1


def test_fast_forms_leave_no_trace_in_a_checkpoint(picture):
    model = sam.load("nano", seed=0)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.predict(model.embed(picture), boxes=[[10, 10, 90, 90]])
    after = model.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)
    assert copy.deepcopy(model).embed(picture).features.equal(model.embed(picture).features)


def test_the_number_of_prompts_decoded_at_once_changes_no_mask(scramble, picture):
    model = scramble(sam.load("nano", seed=0))
    embedding = model.embed(picture)
    boxes = torch.tensor([[10.0 * i, 5.0 * i, 100 + 10 * i, 80 + 8 * i] for i in range(7)])
    whole, one = (
        model.decode(embedding, Prompts(boxes=boxes), multimask_output=True, batch_size=size) for size in (16, 1)
    )
    assert distance(one.low_res_logits, whole.low_res_logits) < EXACT


def test_a_model_loaded_plain_has_no_twins_and_one_loaded_by_default_has_them():
    from sam.cpu.optimize import TWINS

    plain, fast = (sam.load("nano", seed=0, optimize=optimize) for optimize in (False, True))
    assert not {type(module) for module in plain.modules()} & set(TWINS.values())
    assert not {type(module) for module in fast.modules()} & TWINS.keys()
    assert plain.state_dict().keys() == fast.state_dict().keys()


@pytest.mark.parametrize("name", ["nano", "tiny"])
def test_the_plain_model_gives_the_masks_of_the_optimized_one(scramble, picture, name):
    prompts = {"boxes": [[10, 10, 90, 90], [60, 30, 200, 140]], "multimask_output": True}
    plain = scramble(sam.load(name, seed=0, optimize=False))
    fast = sam.optimize(copy.deepcopy(plain))
    found, wanted = (model.predict(model.embed(picture), **prompts) for model in (fast, plain))
    assert distance(found.low_res_logits, wanted.low_res_logits) < 1e-4
    threshold = float(wanted.predicted_iou.amax(1).mean())  # between the two
    some = [model.predict(model.embed(picture), **prompts, min_predicted_iou=threshold) for model in (fast, plain)]
    assert [one.prompts.tolist() for one in some] == [[int(wanted.predicted_iou.amax(1).argmax())]] * 2
    assert distance(*(one.low_res_logits for one in some)) < 1e-4


def test_a_subclass_of_a_plain_module_is_left_as_it_is():
    class Mine(NanoEncoder):
        pass

    assert type(sam.optimize(Mine())) is Mine
