"""Each line of the threat model in SECURITY.md, attacked."""

from __future__ import annotations

import ast
import os
import re
import socket
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import converters
from samlabel.annotate import auto_annotate
from samlabel.detectors import load
from samlabel.errors import FormatError, SamlabelError, UntrustedWeights, UsageError, WeightsError
from samlabel.options import OutputOptions

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def model(tmp_path: Path, evil: bytes) -> Path:
    """A model file that makes `pwned` when it is opened."""
    file = tmp_path / "best.pt"
    file.write_bytes(evil)
    return file


@pytest.mark.parametrize("spec", ["{}", "ultralytics:{}"])
def test_a_pickle_is_not_opened_unless_trusted(model: Path, pwned: Path, spec: str) -> None:
    with pytest.raises(UntrustedWeights, match="can run code.*--trust-weights.*--trust-sha256 [0-9a-f]{64}") as caught:
        load(spec.format(model))
    assert caught.value.exit_code == 4 and not pwned.exists()


@pytest.mark.parametrize("suffix", [".torchscript", ".engine", ".pb", ".mlmodel", ".xyz"])
def test_what_is_not_known_to_be_plain_counts_as_code(tmp_path: Path, evil: bytes, pwned: Path, suffix: str) -> None:
    file = tmp_path / f"best{suffix}"
    file.write_bytes(evil)
    with pytest.raises(UntrustedWeights):
        load(f"ultralytics:{file}")
    assert not pwned.exists()


def test_a_hash_trusts_one_file_alone(model: Path, pwned: Path) -> None:
    with pytest.raises(UntrustedWeights, match="trusted is 0000"):
        load(str(model), trust_weights="0" * 64)
    with pytest.raises(UsageError, match="no SHA-256"):
        load(str(model), trust_weights="abc")
    assert not pwned.exists()


def test_auto_annotate_hands_trust_on_and_asks_for_it(model: Path, pwned: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UntrustedWeights):
        auto_annotate(photos, str(model), output_dir=tmp_path / "out", device="cpu")
    assert not pwned.exists() and not (tmp_path / "out").exists()


@pytest.mark.parametrize("spec", ["sam", "torchvision:ssdlite320_mobilenet_v3_large@{}"])
def test_other_checkpoints_never_run_code(model: Path, pwned: Path, spec: str) -> None:
    from samlabel.segmenters import sam

    with pytest.raises(WeightsError):
        sam.load(None, checkpoint=model) if spec == "sam" else load(spec.format(model), trust_weights=True)
    assert not pwned.exists()


LINKS = ["coco", "yolo", ".samlabel", ".samlabel/journal.jsonl", ".samlabel/lock", ".samlabel-coco.new", "kept"]


@pytest.mark.parametrize("name", LINKS)
def test_a_link_in_the_output_leads_no_write_outside(
    photos: Path, tmp_path: Path, fakes: ModuleType, name: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "theirs.txt").write_text("theirs")
    out = tmp_path / "out"
    (out / name).parent.mkdir(parents=True)
    (out / name).symlink_to(outside / "theirs.txt" if "/" in name else outside)
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="is a link to"):
            auto_annotate(
                photos,
                output_dir=out,
                detector=fakes.Detector(),
                segmenter=fakes.Segmenter(),
                device="cpu",
                formats=("coco", "yolo"),
                output=OutputOptions(overwrite=overwrite),
            )
    assert [(one.name, one.read_text()) for one in outside.iterdir()] == [("theirs.txt", "theirs")]


@pytest.mark.parametrize("name", ["manifest.json", "failed.jsonl", ".manifest.json.tmp", ".failed.jsonl.tmp"])
def test_a_link_in_the_place_of_a_file_is_replaced_not_followed(
    photos: Path, tmp_path: Path, fakes: ModuleType, name: str
) -> None:
    def run() -> None:
        auto_annotate(
            photos, output_dir=tmp_path / "out", detector=fakes.Detector(), segmenter=fakes.Segmenter(), device="cpu"
        )

    (photos / "bad.jpg").write_bytes(b"")
    run()
    theirs = tmp_path / "theirs"
    theirs.write_text("theirs")
    (tmp_path / "out" / name).unlink(missing_ok=True)
    (tmp_path / "out" / name).symlink_to(theirs)
    fakes.draw(photos / "new.png")
    run()
    assert theirs.read_text() == "theirs"


@pytest.mark.parametrize("name", ["../evil.png", "/etc/evil.png", "..\\evil.png", "a/../../evil.png", "C:\\evil.png"])
@pytest.mark.parametrize("to", ["coco", "yolo"])
def test_a_name_in_a_label_file_leads_nowhere_else(tmp_path: Path, name: str, to: str) -> None:
    import json

    file = tmp_path / "in" / "annotations.json"
    file.parent.mkdir()
    file.write_text(
        json.dumps(
            {"images": [{"id": 1, "file_name": name, "width": 4, "height": 4}], "annotations": [], "categories": []}
        )
    )
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SamlabelError):
        converters.convert(file, tmp_path / "deep" / "out", to=to, allow_lossy=True)
    assert [one for one in sorted(tmp_path.rglob("*")) if one not in before and one.suffix in (".png", ".txt")] == []


def test_a_yaml_file_makes_no_objects(tmp_path: Path, pwned: Path) -> None:
    (tmp_path / "set" / "labels").mkdir(parents=True)
    (tmp_path / "set" / "images").mkdir()
    (tmp_path / "set" / "labels" / "a.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    (tmp_path / "set" / "data.yaml").write_text(f'names: !!python/object/apply:os.system ["touch {pwned}"]\n')
    with pytest.raises(FormatError):
        for _ in converters.read(tmp_path / "set", "yolo").records:
            pass
    assert not pwned.exists()


def test_entities_of_xml_are_not_expanded(tmp_path: Path) -> None:
    (tmp_path / "boxes").mkdir()
    lines = "".join(f'<!ENTITY e{i + 1} "{f"&e{i};" * 10}">' for i in range(9))
    (tmp_path / "boxes" / "a.xml").write_text(
        f'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY e0 "ha">{lines}]>'
        "<annotation><filename>&e9;</filename></annotation>"
    )
    with pytest.raises(SamlabelError):
        load(f"labels:{tmp_path / 'boxes'}")


def test_a_run_with_the_bundled_models_opens_no_connection(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    assert auto_annotate(photos, output_dir=tmp_path / "out", device="cpu").failed == 0


@pytest.mark.parametrize("spec", ["ultralytics:yolo11x.pt", "torchvision:ssdlite320_mobilenet_v3_large"])
def test_loading_a_detector_by_name_downloads_nothing(
    spec: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import torch

    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("a connection was opened")

    pytest.importorskip("ultralytics")
    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: tmp_path)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(WeightsError, match=f"samlabel fetch {spec}"):
        load(spec, trust_weights=True)


FORBIDDEN = re.compile(r"\b(eval|exec|os\.system|os\.popen|pickle\.loads?|yaml\.load|subprocess\.\w+)\(|shell=True")


# A process of ours and the one that it started itself, over a pipe and a nameless file that nobody else can open.
BETWEEN_OURS = [
    "converters/parallel.py: pickle.load(sys.stdin.buffer)",
    "converters/parallel.py: pickle.loads(data[1:])",
    "converters/parallel.py: subprocess.Popen([sys.executable, '-c', _BEGIN, str(os.getpid())",
]


def test_no_code_of_ours_evaluates_text_opens_pickles_of_others_or_starts_a_shell() -> None:
    found = []
    for package in ("samlabel", "sam", "converters"):
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and FORBIDDEN.match(ast.unparse(node)):
                    found.append(f"{file.relative_to(ROOT)}: {ast.unparse(node)[:80]}")
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                    assert "weights_only=True" in ast.unparse(node), f"{file}: {ast.unparse(node)}"
    others = [one for one in found if not one.startswith(tuple(BETWEEN_OURS))]
    assert others == [] and len(found) == len(BETWEEN_OURS)


@pytest.mark.skipif(os.name == "nt", reason="names that Windows does not have")
@pytest.mark.parametrize("name", ["$(touch pwned).png", "`touch pwned`.png", "; touch pwned;.png", "-o pwned.png"])
def test_a_file_name_is_never_a_command(
    tmp_path: Path, fakes: ModuleType, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fakes.draw(tmp_path / "photos" / name, (1, 1, 9, 9, fakes.RED))
    summary = auto_annotate(
        tmp_path / "photos",
        output_dir=tmp_path / "out",
        detector=fakes.Detector(),
        device="cpu",
        segmenter=fakes.Segmenter(),
        formats=("coco", "yolo"),
    )
    assert summary.objects == 1 and not (tmp_path / "pwned").exists()
