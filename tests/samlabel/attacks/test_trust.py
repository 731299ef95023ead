"""Model files that can run code: only what the user trusts is opened, and only the bytes that were meant."""

from __future__ import annotations

import gc
import os
import pickle
import shutil
import stat
import sys
import tempfile
from pathlib import Path

import pytest

from samlabel.cli import main
from samlabel.detectors import load
from samlabel.errors import SamlabelError, UntrustedWeights, WeightsError
from samlabel.file_state import hash_file
from samlabel.hub.hashing import hash_tree
from samlabel.hub.trust import note, notes_folder

ultralytics = pytest.importorskip("ultralytics")


@pytest.fixture(autouse=True)
def _own_notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platformdirs.user_data_path", lambda *_, **__: tmp_path / "user-data")


@pytest.mark.parametrize(
    "name", ["best.pt.sha256", "best.sha256", "SHA256SUMS", "trusted/{sha256}.json", "{sha256}.json"]
)
def test_a_note_beside_a_model_is_no_trust(tmp_path: Path, evil: bytes, pwned: Path, name: str) -> None:
    file = tmp_path / "set" / "best.pt"
    file.parent.mkdir()
    file.write_bytes(evil)
    note_beside = file.parent / name.format(sha256=hash_file(file))
    note_beside.parent.mkdir(exist_ok=True)
    note_beside.write_text(hash_file(file) + "\n")
    with pytest.raises(UntrustedWeights):
        load(str(file))
    assert not pwned.exists()


def test_a_folder_of_a_stranger_is_not_the_place_of_notes(
    tmp_path: Path, evil: bytes, pwned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "best.pt").write_bytes(evil)
    for folder in ("samlabel/trusted", "trusted", ".samlabel/trusted"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / f"{hash_file(tmp_path / 'best.pt')}.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UntrustedWeights):
        load("best.pt")
    assert not pwned.exists()


def test_content_that_was_noted_is_trusted_wherever_it_lies(seeded_yolo: Path, tmp_path: Path) -> None:
    note(seeded_yolo, hash_file(seeded_yolo))
    assert (notes_folder() / f"{hash_file(seeded_yolo)}.json").is_file()
    file = Path(shutil.copy(seeded_yolo, tmp_path / "other name.pt"))
    assert load(str(file), device="cpu").info.categories
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(UntrustedWeights):
        load(str(file), device="cpu")


def test_another_content_in_the_same_place_is_not_noted_again(seeded_yolo: Path) -> None:
    note(Path("yolo11n.pt"), "0" * 64)
    with pytest.raises(WeightsError, match="fetched first and is trusted has 0000.*delete"):
        note(Path("yolo11n.pt"), hash_file(seeded_yolo))
    note(Path("yolo11s.pt"), hash_file(seeded_yolo))


@pytest.mark.parametrize("by", ["hash", "note"])
def test_a_file_that_is_swapped_after_it_was_hashed_never_runs(
    seeded_yolo: Path, tmp_path: Path, evil: bytes, pwned: Path, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = Path(shutil.copy(seeded_yolo, tmp_path / "best.pt"))
    sha256 = hash_file(file)
    real = ultralytics.YOLO

    def slow(*args: object, **kwargs: object) -> object:
        file.write_bytes(evil)
        return real(*args, **kwargs)

    monkeypatch.setattr(ultralytics, "YOLO", slow, raising=False)
    if by == "note":
        note(file, sha256)
    detector = load(str(file), device="cpu", trust_weights=sha256 if by == "hash" else False)
    assert file.read_bytes() == evil and not pwned.exists()
    assert detector.info.weights_sha256 == sha256


# What ultralytics opens in the place of a file with such a name.
TAKEN_FOR = {"best'.pt": "best.pt", "best.pt ": "best.pt", "yolov5s.pt": "yolov5su.pt"}


@pytest.mark.skipif(sys.platform == "win32", reason="names that Windows does not have")
@pytest.mark.parametrize("name", TAKEN_FOR)
def test_the_file_that_was_hashed_is_opened_and_none_of_a_like_name(
    seeded_yolo: Path, tmp_path: Path, evil: bytes, pwned: Path, name: str
) -> None:
    file = Path(shutil.copy(seeded_yolo, tmp_path / name))
    (tmp_path / TAKEN_FOR[name]).write_bytes(evil)
    try:
        load(f"ultralytics:{file}", device="cpu", trust_weights=hash_file(file))
    except SamlabelError as error:  # `.pt ` is no suffix of anything
        assert name == "best.pt " and "cannot load it" in str(error)
    assert not pwned.exists()


@pytest.mark.parametrize(
    "name", ["best.pt.onnx", "best.torchscript.onnx", "best.pt_openvino_model", "best.engine.tflite"]
)
def test_a_plain_suffix_is_what_a_file_is_opened_as(tmp_path: Path, evil: bytes, pwned: Path, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(evil)
    with pytest.raises(SamlabelError):
        load(f"ultralytics:{file}", device="cpu")
    assert not pwned.exists()


@pytest.mark.parametrize("suffix", ["_qnn.onnx", "_edgetpu.tflite"])
def test_exports_that_hold_code_of_a_processor_are_not_plain(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"best{suffix}").write_bytes(b"")
    with pytest.raises(UntrustedWeights):
        load(f"ultralytics:{tmp_path}/best{suffix}")


@pytest.mark.parametrize("suffix", [".onnx", "_openvino_model"])
def test_a_hash_is_checked_of_plain_exports_too(exported_yolo: dict[str, Path], suffix: str) -> None:
    with pytest.raises(UntrustedWeights, match="trusted is 0000"):
        load(str(exported_yolo[suffix]), device="cpu", trust_weights="0" * 64)
    assert load(str(exported_yolo[suffix]), device="cpu", imgsz=64, trust_weights=hash_tree(exported_yolo[suffix]))


def test_a_hash_is_checked_of_weights_for_torchvision(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(b"")
    with pytest.raises(UntrustedWeights, match="trusted is 0000"):
        load(f"torchvision:ssdlite320_mobilenet_v3_large@{tmp_path}/a.pth", trust_weights="0" * 64)


@pytest.mark.skipif(sys.platform == "win32", reason="names that Windows does not have")
def test_a_name_with_a_line_feed_does_not_pass_for_two_files(tmp_path: Path) -> None:
    two, one = tmp_path / "two", tmp_path / "one"
    for folder in (two, one):
        folder.mkdir()
    (two / "a").write_bytes(b"1")
    (two / "b").write_bytes(b"2")
    (one / f"a {hash_file(two / 'a')}\nb").write_bytes(b"2")
    assert hash_tree(two) != hash_tree(one)


@pytest.mark.skipif(sys.platform == "win32", reason="file modes")
def test_the_copy_that_is_opened_is_nobody_elses_and_goes(
    exported_yolo: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    detector = load(str(exported_yolo[".onnx"]), device="cpu", imgsz=64)
    (folder,) = tmp_path.glob("samlabel-model-*")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert detector.info.name == "ultralytics:exported.onnx"
    del detector
    gc.collect()
    assert list(tmp_path.glob("samlabel-model-*")) == []


def test_nothing_is_left_of_what_was_refused(
    tmp_path: Path, evil: bytes, pwned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "t").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "t"))
    (tmp_path / "best.pt").write_bytes(evil)
    for trust in (False, "0" * 64):
        with pytest.raises(UntrustedWeights):
            load(str(tmp_path / "best.pt"), trust_weights=trust)
    assert os.listdir(tmp_path / "t") == [] and not pwned.exists()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="files with holes")
def test_a_file_larger_than_the_disk_is_refused_before_it_is_copied(tmp_path: Path) -> None:
    with (tmp_path / "best.onnx").open("wb") as file:
        file.truncate(1 << 43)
    with pytest.raises(WeightsError, match="takes 8796093.0 MB.*TMPDIR"):
        load(str(tmp_path / "best.onnx"))


def test_a_text_encoder_in_the_current_folder_is_not_opened(
    tmp_path: Path, evil: bytes, pwned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import types

    import torch

    clip = types.ModuleType("clip")
    clip.clip = types.SimpleNamespace(tokenize=None)  # type: ignore[attr-defined]
    clip.load = None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "clip", clip)
    model = ultralytics.YOLOE("yoloe-11n.yaml")
    model.save(tmp_path / "yoloe-11n.pt")
    (tmp_path / "mobileclip_blt.ts").write_bytes(evil)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: tmp_path / "cache")
    opened: list[object] = []
    monkeypatch.setattr(torch.jit, "load", lambda file, **_: opened.append(file))
    with pytest.raises(WeightsError, match="samlabel fetch ultralytics:mobileclip_blt.ts"):
        load("yoloe-11n.pt", device="cpu", trust_weights=True, classes=["red bag"])
    assert opened == [] and not pwned.exists()


def test_the_command_refuses_with_4_and_names_the_file(
    tmp_path: Path, evil: bytes, pwned: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "best.pt").write_bytes(evil)
    (tmp_path / "best.pt.sha256").write_text(hash_file(tmp_path / "best.pt"))
    with pytest.raises(SystemExit) as end:
        main(["annotate", str(photos), "--out", str(tmp_path / "out"), "--detector", str(tmp_path / "best.pt")])
    assert end.value.code == 4 and "best.pt was not opened" in capsys.readouterr().err
    assert not pwned.exists() and not (tmp_path / "out").exists()


def test_the_attack_of_these_tests_works(evil: bytes, pwned: Path) -> None:
    pickle.loads(evil).close()
    assert pwned.exists()
