"""torchvision's models by name, with weights from a file; nothing is downloaded."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from samlabel.detectors import fetch, load
from samlabel.errors import UnknownName, UsageError, WeightsError
from samlabel.protocols import Detector, Image

NAME = "ssdlite320_mobilenet_v3_large"  # the smallest


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a seeded, untrained model of three classes and their names."""
    import torch
    from torchvision.models import get_model

    torch.manual_seed(0)
    model = get_model(NAME, weights=None, weights_backbone=None, num_classes=4)
    for value in model.head.classification_head.parameters():
        torch.nn.init.normal_(value, std=0.2)  # the usual start gives every box the same score
    path = tmp_path_factory.mktemp("torchvision") / "three.pth"
    torch.save({"model": model.state_dict(), "names": ["cat", "dog", "cow"]}, path)
    return path


def picture(seed: int, *, height: int = 48, width: int = 64) -> Image:
    return Image(f"{seed}.png", np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))


def test_weights_of_a_file_set_classes_and_names(weights: Path) -> None:
    detector = load(f"torchvision:{NAME}@{weights}", conf=0.0, max_det=7, device="cpu")
    assert isinstance(detector, Detector)
    assert [(c.id, c.name) for c in detector.info.categories] == [(1, "cat"), (2, "dog"), (3, "cow")]
    images = [picture(0), picture(1, width=90)]
    found = detector.detect(images)
    assert [len(f) for f in found] == [7, 7]
    for one, detections in zip(images, found, strict=True):
        height, width = one.size
        assert (detections.boxes >= 0).all() and (detections.boxes <= [width, height, width, height]).all()
        assert set(detections.category_ids.tolist()) <= {1, 2, 3}
        assert np.array_equal(detector.detect([one])[0].boxes, detections.boxes), "the batch changed what is found"


def test_wanted_classes_fill_max_det_by_themselves(weights: Path) -> None:
    every = load(f"torchvision:{NAME}@{weights}", conf=0.0, max_det=9, device="cpu").detect([picture(0)])[0]
    rarest = min((1, 2, 3), key=lambda i: int((every.category_ids == i).sum()))
    detector = load(f"torchvision:{NAME}@{weights}", conf=0.0, max_det=9, device="cpu", classes=[rarest])
    assert [c.id for c in detector.info.categories] == [rarest]
    assert detector.detect([picture(0)])[0].category_ids.tolist() == [rarest] * 9


def test_conf_drops_what_scores_less(weights: Path) -> None:
    every = load(f"torchvision:{NAME}@{weights}", conf=0.0, device="cpu").detect([picture(0)])[0]
    middle = float(every.scores.min() + every.scores.max()) / 2
    assert every.scores.min() < middle < every.scores.max()
    some = load(f"torchvision:{NAME}@{weights}", conf=middle, device="cpu").detect([picture(0)])[0]
    assert 0 < len(some) < len(every) and (some.scores >= middle).all()


def test_a_bare_state_dict_has_numbered_classes(weights: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    state = torch.load(weights, weights_only=True)["model"]
    save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / "bare.safetensors")
    detector = load(f"torchvision:{NAME}@{tmp_path / 'bare.safetensors'}", device="cpu")
    assert [c.name for c in detector.info.categories] == ["class 1", "class 2", "class 3"]


class Evil:
    def __reduce__(self):
        return (print, ("code of a stranger",))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (Evil(), "cannot be read as plain weights"),
        ({"x": 1}, "holds no state dict"),
        ({}, "not the weights of"),
    ],
    ids=["pickle with code", "numbers", "empty"],
)
def test_a_file_of_something_else_is_refused(content, says: str, tmp_path: Path, capsys) -> None:
    import torch

    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=says):
        load(f"torchvision:{NAME}@{tmp_path / 'w.pth'}")
    assert "stranger" not in capsys.readouterr().out


def _packed(path: Path) -> None:
    import torch

    torch.save({"a": torch.zeros(1_000_000)}, path.with_name("plain"))
    with zipfile.ZipFile(path.with_name("plain")) as plain, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for member in plain.infolist():
            packed.writestr(member.filename, plain.read(member))


def _repeated(path: Path) -> None:
    import torch

    torch.save({"a": torch.zeros(1).expand(1 << 40)}, path)


@pytest.mark.parametrize(
    ("make", "says"), [(_packed, "larger when unpacked"), (_repeated, "tensors of 4398046511104 bytes")]
)
def test_a_file_that_claims_more_than_it_holds_is_refused(
    make: Callable[[Path], None], says: str, tmp_path: Path
) -> None:
    make(tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=says):
        load(f"torchvision:{NAME}@{tmp_path / 'w.pth'}")


def test_names_that_do_not_count_up_to_the_classes_are_refused(weights: Path, tmp_path: Path) -> None:
    import torch

    content = torch.load(weights, weights_only=True)
    torch.save({**content, "names": ["cat"]}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="1 names for 3 classes"):
        load(f"torchvision:{NAME}@{tmp_path / 'w.pth'}")


def test_an_unknown_model_is_refused_with_close_names() -> None:
    with pytest.raises(UnknownName, match="Did you mean ssd300_vgg16"):
        load("torchvision:ssd300_vgg")
    with pytest.raises(UsageError, match="needs a model"):
        load("torchvision")
    with pytest.raises(WeightsError, match="no such weights file"):
        load(f"torchvision:{NAME}@nowhere.pth")


def test_a_failed_download_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog) -> None:
    import torch

    caplog.set_level("WARNING", logger="samlabel")  # ONNX libraries raise the level of the root logger

    def offline(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(WeightsError, match=f"no network.*torchvision:{NAME}@FILE"):
        fetch(f"torchvision:{NAME}")
    with pytest.raises(WeightsError, match=f"nothing is downloaded unasked: samlabel fetch torchvision:{NAME}"):
        load(f"torchvision:{NAME}")
    assert "downloading https://download.pytorch.org" in caplog.text


def test_published_weights_would_bring_the_names_of_coco() -> None:
    from torchvision.models import get_model_weights

    listed = get_model_weights(NAME).DEFAULT.meta["categories"]
    assert listed[0] == "__background__" and listed[1] == "person" and listed[6] == "bus"
