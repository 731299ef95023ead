"""`samlabel bench`: the fields of its JSON, and names and weights that are not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

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
    code, out, err = bench("--model", "nano", "--device", "cpu", "--rounds", "1", "--json")
    assert code == 0, err
    found = json.loads(out)
    (row,) = found["models"]
    assert (row["name"], row["weights"], list(row["timings"])) == ("nano", "ships with samlabel", ["cpu"])
    assert 4e6 < row["params"] < 6e6
    assert row["bytes"] == (ROOT / "sam/weights/nano.safetensors").stat().st_size
    assert row["timings"]["cpu"]["image_ms"] > 0 and row["timings"]["cpu"]["prompts_ms"] > 0
    assert (found["prompts"], found["image"]) == (10, [1080, 810])
    assert found["threads"] >= 1 and found["cores"] >= 1


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--model", "nana"], 2, "Did you mean nano?"),
        (["--model", "vit_b"], 1, "samlabel models pull vit_b, or --seeded"),
        (["--model", "nano", "--device", "toaster"], 2, "wanted cpu, cuda"),
    ],
    ids=["an unknown name", "weights that are not here", "a device that is none"],
)
def test_what_cannot_be_measured_is_one_line(bench: Any, words: list[str], code: int, says: str) -> None:
    ended, out, err = bench(*words)
    assert (ended, out) == (code, "")
    assert len(err.strip().splitlines()) == 1 and says in err
