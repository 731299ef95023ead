"""`dtype` and `backend` on their way from a flag to the model, and in what a run remembers."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samlabel import auto_annotate
from samlabel.annotate import run
from samlabel.cli import main
from samlabel.errors import OutputExists, UsageError
from samlabel.options import ModelOptions, OutputOptions, RunSpec
from samlabel.protocols import ModelInfo
from samlabel.runs.settings import Asked, settings_of

HALF = ModelOptions(dtype="bfloat16")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(folder / "a.png")
    return folder


@pytest.mark.parametrize("command", ["annotate", "generate"])
@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--dtype", "float16"], "float16 is slower than float32 on a CPU"),
        (["--dtype", "half"], "unknown dtype 'half'; known: float32, bfloat16, float16, auto"),
        (["--backend", "tensorrt"], "unknown backend 'tensorrt'; known: torch, openvino"),
    ],
    ids=["float16 on a CPU", "unknown dtype", "unknown backend"],
)
def test_a_refused_choice_is_one_line_and_exit_code_2(
    picture: Path, tmp_path: Path, capsys: Any, command: str, flags: list[str], says: str
) -> None:
    out = "--out" if command == "annotate" else "--output"
    with pytest.raises(SystemExit) as caught:
        main([command, str(picture), out, str(tmp_path / "out"), "--device", "cpu", *flags])
    assert caught.value.code == 2
    told = capsys.readouterr().err
    assert says in " ".join(told.split()) and "Traceback" not in told


def test_another_dtype_or_backend_is_another_run() -> None:
    asked = Asked(RunSpec(), "photos")
    settings = []
    for dtype, backend in (("float32", "torch"), ("bfloat16", "torch"), ("float32", "openvino")):
        segmenter = SimpleNamespace(info=ModelInfo("nano", weights_sha256="ab", dtype=dtype, backend=backend))
        models: Any = SimpleNamespace(segmenter=segmenter, detector=None)
        found = settings_of(asked, models, "cpu")
        assert found["segmenter"] == {"name": "nano", "weights": "ab", "dtype": dtype, "backend": backend}
        settings.append(json.dumps(found, sort_keys=True))
    assert len(set(settings)) == 3


def test_a_finished_run_of_another_dtype_is_not_taken_for_this_one(picture: Path, tmp_path: Path) -> None:
    from sam.cpu.precision import has_bfloat16

    if not has_bfloat16():
        pytest.skip("this processor has no bfloat16 products")
    out = tmp_path / "out"
    auto_annotate(picture, output_dir=out, device="cpu")
    with pytest.raises(OutputExists, match="segmenter.dtype was float32, is bfloat16"):
        auto_annotate(picture, output_dir=out, device="cpu", models=HALF)
    again = auto_annotate(picture, output_dir=out, device="cpu", models=HALF, output=OutputOptions(overwrite=True))
    assert again.annotated == 1
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["settings"]["segmenter"]["dtype"] == "bfloat16"


@pytest.mark.parametrize("options", [{"dtype": "bfloat16"}, {"backend": "openvino"}], ids=["dtype", "backend"])
def test_a_segmenter_of_ones_own_takes_neither(
    options: dict[str, str], picture: Path, tmp_path: Path, fakes: ModuleType
) -> None:
    spec = RunSpec(str(picture), tmp_path / "out", models=ModelOptions(device="cpu", **options))
    with pytest.raises(UsageError, match="a segmenter of your own brings its own"):
        run(spec, detector=fakes.Detector(), segmenter=fakes.Segmenter())


def test_a_run_is_recognised_by_the_weights_of_both_bundled_models() -> None:
    from sam.checkpoint import WEIGHTS
    from samlabel.detectors import nano

    found = {path.resolve() for path in Asked(RunSpec(), "photos").files() or ()}
    assert {nano.WEIGHTS.resolve(), (WEIGHTS / "nano.safetensors").resolve()} <= found
