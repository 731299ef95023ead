"""Files in the layouts that people have, and what is said of those that do not fit."""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import sam
from sam import Variant, WeightsError
from sam.checkpoint import differences, expected, recognise
from sam.registry import collect


@pytest.fixture(scope="module")
def tiny(scramble):
    return scramble(sam.load("tiny", seed=0))


def _same(a: sam.Sam, b: sam.Sam) -> bool:
    theirs = b.state_dict()
    return all(torch.equal(value, theirs[key]) for key, value in a.state_dict().items())


def _layouts(state):
    return {
        "plain .pt": OrderedDict(state),
        "in model": {"model": dict(state)},
        "in state_dict, beside an epoch": {"state_dict": dict(state), "epoch": 3},
        "data parallel": {"module." + key: value for key, value in state.items()},
        "half": {key: value.half() if value.is_floating_point() else value for key, value in state.items()},
    }


@pytest.mark.parametrize("layout", _layouts({}).keys())
def test_a_layout_loads_and_names_its_variant(layout, tiny, tmp_path):
    path = tmp_path / "weights.pt"
    torch.save(_layouts(tiny.state_dict())[layout], path)
    model = sam.load(checkpoint=path)
    assert model.variant.name == "tiny"
    assert not model.training
    assert all(value.dtype == torch.float32 for value in model.parameters())
    if layout != "half":
        assert _same(model, tiny)


def test_safetensors_load_whatever_their_suffix(tiny, tmp_path):
    path = tmp_path / "weights.bin"
    save_file(tiny.state_dict(), path)
    assert _same(sam.load("mobile_sam", checkpoint=path), tiny)


def test_a_loaded_model_predicts_like_the_one_that_was_saved(tiny, tmp_path, scramble, picture):
    nano = scramble(sam.load("nano", seed=0))
    with open(tmp_path / "nano.safetensors", "wb") as file:
        sam.save(nano, file)
    loaded = sam.load(checkpoint=tmp_path / "nano.safetensors")
    assert loaded.variant.name == "nano"
    a, b = (m.predict(m.embed(picture), boxes=[[5, 5, 90, 80]]).low_res_logits for m in (nano, loaded))
    assert torch.equal(a, b)


def test_half_precision_halves_the_file_and_stays_near(tiny, tmp_path):
    whole, half = tmp_path / "whole.safetensors", tmp_path / "half.safetensors"
    with whole.open("wb") as large, half.open("wb") as small:
        sam.save(tiny, large)
        sam.save(tiny, small, half=True)
    assert half.stat().st_size < 0.52 * whole.stat().st_size
    loaded = sam.load(checkpoint=half).state_dict()
    for key, value in tiny.state_dict().items():
        torch.testing.assert_close(loaded[key], value, rtol=1e-3, atol=1e-5)
    assert load_file(half)["prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"].dtype == torch.float32


def test_a_checkpoint_of_another_variant_is_named_with_its_first_differing_keys(tiny, tmp_path):
    path = tmp_path / "mobile_sam.pt"
    torch.save(tiny.state_dict(), path)
    with pytest.raises(WeightsError) as caught:
        sam.load("vit_b", checkpoint=path)
    message = str(caught.value)
    assert "a checkpoint of tiny, not of vit_b" in message
    assert "image_encoder.pos_embed is absent" in message
    assert "\n" not in message


def test_a_checkpoint_that_lacks_a_key_says_which(tiny, tmp_path):
    state = dict(tiny.state_dict())
    del state["mask_decoder.iou_token.weight"]
    state["image_encoder.neck.0.weight"] = torch.zeros(2, 2)
    path = tmp_path / "cut.pt"
    torch.save(state, path)
    words = "nearest is tiny.*neck.0.weight is .2, 2., wanted.*iou_token.weight is absent"
    with pytest.raises(WeightsError, match=words):
        sam.load(checkpoint=path)


class _Runs:
    """Unpickled carelessly, this would write a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_no_code_in_a_checkpoint_is_run(tmp_path):
    path, trace = tmp_path / "evil.pth", tmp_path / "trace"
    torch.save({"model": _Runs(trace)}, path)
    with pytest.raises(WeightsError, match="could run code"):
        sam.load(checkpoint=path)
    path.write_bytes(pickle.dumps(_Runs(trace)))
    with pytest.raises(WeightsError):
        sam.load(checkpoint=path)
    assert not trace.exists()


BROKEN = {
    "empty": b"",
    "text": b"<html>404 not found</html>",
    "a zip cut short": b"PK\x03\x04" + b"\0" * 40,
    "a header that promises too much": struct.pack("<Q", 2**60) + b"{}",
    "a damaged safetensors header": struct.pack("<Q", 4) + b"{x}}" + b"\0" * 20,
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_refused_in_one_line(content, tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="weights.pth: ") as caught:
        sam.load("vit_b", checkpoint=path)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_cut_short_is_refused(tiny, tmp_path):
    for name, write in (("a.pt", torch.save), ("a.safetensors", save_file)):
        path = tmp_path / name
        write(tiny.state_dict(), path)
        path.write_bytes(path.read_bytes()[:-1000])
        with pytest.raises(WeightsError, match=name):
            sam.load(checkpoint=path)


@pytest.mark.parametrize("content", [{"a": 1}, [torch.zeros(2)], {}], ids=["a number", "a list", "nothing"])
def test_a_file_without_a_state_dict_is_refused(content, tmp_path):
    path = tmp_path / "other.pt"
    torch.save(content, path)
    with pytest.raises(WeightsError, match="other.pt"):
        sam.load(checkpoint=path)


def test_without_a_checkpoint_the_message_says_where_to_get_one():
    with pytest.raises(WeightsError, match="sam_vit_b_01ec64.pth.*checkpoint="):
        sam.load("vit_b")
    with pytest.raises(WeightsError, match="no such file"):
        sam.load("vit_b", checkpoint="nowhere.pth")
    with pytest.raises(sam.SamError, match="name a variant"):
        sam.load()


def test_an_unknown_variant_lists_the_known_ones():
    with pytest.raises(sam.UnknownVariant, match="vit_x.*nano, tiny, vit_b, vit_h, vit_l"):
        sam.load("vit_x")


def test_a_seed_gives_the_same_weights_and_leaves_the_generator_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    assert _same(sam.load("nano", seed=1), sam.load("nano", seed=1))
    assert not _same(sam.load("nano", seed=1), sam.load("nano", seed=2))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["vit_b", "vit_l", "vit_h", "tiny"])
def test_the_declared_number_of_parameters_is_the_real_one(name):
    with torch.device("meta"):
        model = sam.Sam(sam.registry.get(name))
    assert sum(p.numel() for p in model.parameters()) == model.variant.params


def test_every_variant_differs_from_every_other():
    names = [variant.name for variant in sam.list_variants()]
    assert names == sorted(names) and {"nano", "tiny", "vit_b", "vit_h", "vit_l"} <= set(names)
    for name in names:
        state = {key: torch.empty(shape, device="meta") for key, shape in expected(name).items()}
        assert recognise(state).name == name
        assert all(differences(state, expected(other)) for other in names if other != name)


def test_the_layout_of_transformers_is_recognised():
    from transformers import SamConfig, SamModel

    from sam.layouts import to_official

    with torch.device("meta"):
        theirs = SamModel(SamConfig())
    assert recognise(to_official(theirs.state_dict(), "model.safetensors")).name == "vit_b"


def test_two_variants_of_one_name_are_an_error():
    one = Variant(name="a", family="x", build=lambda: None)
    two = Variant(name="b", family="y", build=lambda: None, aliases=("a",))
    with pytest.raises(ValueError, match="'a' is defined in both x and y"):
        collect({"x": (one,), "y": (two,)})


def _packed(path: Path) -> None:
    torch.save({"a": torch.zeros(1_000_000)}, path.with_name("plain"))
    with zipfile.ZipFile(path.with_name("plain")) as plain, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for member in plain.infolist():
            packed.writestr(member.filename, plain.read(member))


def _with_bytearray(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        claim = b"cbuiltins\nbytearray\n\x8a\x05" + (1 << 38).to_bytes(5, "little") + b"\x85R"
        for name, data in (("data.pkl", b"\x80\x02" + claim + b"."), ("version", b"3\n"), ("byteorder", b"little")):
            archive.writestr(f"archive/{name}", data)


CLAIMS: dict[str, Callable[[Path], object]] = {
    "packed archive": _packed,
    "stride of 0": lambda path: torch.save({"a": torch.zeros(1, dtype=torch.half).expand(1 << 40)}, path),
    "header of safetensors": lambda path: path.write_bytes((1 << 40).to_bytes(8, "little") + b"{}"),
    "tensor of safetensors": lambda path: path.write_bytes(
        (head := b'{"a":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}')
        and len(head).to_bytes(8, "little") + head + bytes(64)
    ),
}


@pytest.mark.parametrize("make", CLAIMS.values(), ids=CLAIMS.keys())
def test_a_checkpoint_that_claims_more_than_its_file_holds_is_refused(
    make: Callable[[Path], object], tmp_path: Path
) -> None:
    path = tmp_path / "bomb.pth"
    make(path)
    assert path.stat().st_size < 100_000
    with pytest.raises(WeightsError, match="bomb.pth") as caught:
        sam.load(checkpoint=path)
    assert "\n" not in str(caught.value)


def test_bytes_that_a_pickle_asks_for_are_not_made(tmp_path: Path) -> None:
    _with_bytearray(tmp_path / "bomb.pth")
    with pytest.raises(WeightsError, match=r"bomb.pth: holds Python objects beside tensors \(builtins bytearray\)"):
        sam.load(checkpoint=tmp_path / "bomb.pth")
