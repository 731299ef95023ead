"""`samlabel bench`: the fields of its JSON, and names and weights that are not there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def bench(*words: str, cache: Path) -> subprocess.CompletedProcess[str]:
    code = "import sys; from samlabel.cli import main; main(['bench', *sys.argv[1:]])"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(cache), "YOLO_CONFIG_DIR": str(cache)}
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, env=environment)


def test_json_has_size_parameters_and_times_of_the_model(tmp_path: Path) -> None:
    done = bench("--model", "nano", "--device", "cpu", "--rounds", "1", "--json", cache=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
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
def test_what_cannot_be_measured_is_one_line(tmp_path: Path, words: list[str], code: int, says: str) -> None:
    done = bench(*words, cache=tmp_path)
    assert done.returncode == code
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1 and says in done.stderr
