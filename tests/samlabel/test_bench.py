"""`samlabel bench`: the fields of its JSON, and names and weights that are not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from sam.cpu import precision
from samlabel.cli import main

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def bench(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """`bench("--model", "nano")` gives exit code, stdout and stderr; no weights were pulled."""
    monkeypatch.setenv("SAMLABEL_CACHE", str(tmp_path))

    def call(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main(["bench", *words])
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return call


def test_json_has_size_parameters_and_times_of_the_model(bench: Any) -> None:
    code, out, err = bench("--model", "nano", "--device", "cpu", "--dtype", "float32", "--rounds", "1", "--json")
    assert code == 0, err
    found = json.loads(out)
    (row,) = found["models"]
    assert (row["name"], row["weights"], list(row["timings"])) == ("nano", "ships with samlabel", ["cpu"])
    assert 4e6 < row["params"] < 6e6
    assert row["bytes"] == (ROOT / "sam/weights/nano.safetensors").stat().st_size
    assert row["timings"]["cpu"]["image_ms"] > 0 and row["timings"]["cpu"]["prompts_ms"] > 0
    assert (found["prompts"], found["image"]) == (10, [1080, 810])
    assert found["threads"] >= 1 and found["cores"] >= 1


@pytest.mark.parametrize("has", [True, False], ids=["with bfloat16", "without"])
def test_a_processor_with_bfloat16_is_measured_in_it_too(
    bench: Any, monkeypatch: pytest.MonkeyPatch, has: bool
) -> None:
    if has and not precision.has_bfloat16():
        monkeypatch.setattr(precision, "resolve", lambda name, device: getattr(torch, name))  # slow, but it runs
    monkeypatch.setattr(precision, "has_bfloat16", lambda: has)
    code, out, err = bench("--model", "nano", "--device", "cpu", "--rounds", "1", "--json")
    assert code == 0, err
    (row,) = json.loads(out)["models"]
    assert list(row["timings"]) == ["cpu", "cpu bfloat16"][: 1 + has]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--model", "nana"], 2, "Did you mean nano?"),
        (["--model", "vit_b"], 1, "samlabel models pull vit_b, or --seeded"),
        (["--model", "nano", "--device", "toaster"], 2, "wanted cpu, cuda"),
        (["--model", "nano", "--device", "cpu", "--dtype", "int8"], 2, "unknown dtype 'int8'"),
        (["--model", "tiny", "--device", "cpu", "--seeded", "--backend", "tvm"], 2, "unknown backend 'tvm'"),
    ],
    ids=["an unknown name", "weights that are not here", "a device that is none", "no number type", "no backend"],
)
def test_what_cannot_be_measured_is_one_line(bench: Any, words: list[str], code: int, says: str) -> None:
    ended, out, err = bench(*words)
    assert (ended, out) == (code, "")
    assert len(err.strip().splitlines()) == 1 and says in err
