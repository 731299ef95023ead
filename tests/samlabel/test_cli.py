from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from samlabel import __version__
from samlabel.cli import main

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    """`run("annotate", ...)` gives exit code, stdout and stderr."""

    def call(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(word) for word in words])
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return call


@pytest.fixture
def drawn_models(fakes: ModuleType, monkeypatch: pytest.MonkeyPatch, plain_formats: None) -> None:
    """Models that see drawings, whatever the command line names."""
    from samlabel.pipeline.stages import Models

    monkeypatch.setattr("samlabel.annotate._models", lambda *_, **__: Models(fakes.Detector(), fakes.Segmenter()))


def test_the_version_is_the_package_s(run: Any) -> None:
    assert run("--version") == (0, f"samlabel {__version__}\n", "")


@pytest.mark.parametrize(
    "command", ["annotate", "convert", "view", "generate", "export", "models", "detectors", "formats"]
)
def test_help_shows_every_option_with_its_default(run: Any, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib
    import inspect

    module = importlib.import_module(f"samlabel.cli.{'models' if command == 'detectors' else command}")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERMINAL_WIDTH", "200")
    code, out, _ = run(command, "--help")
    assert code == 0
    for name, one in inspect.signature(getattr(module, command)).parameters.items():
        if isinstance(one.default, (int, float, str)) and not isinstance(one.default, bool) and one.default != "":
            line = out[out.index("--" + name.replace("_", "-")) :]
            assert f"[default: {one.default}]" in " ".join(line.replace("│", " ").split()), name


def test_help_answers_in_under_a_second_without_torch() -> None:
    code = (
        "import sys, samlabel.cli as c\n"
        "try: c.main(['annotate', '--help'])\n"
        "except SystemExit: sys.exit('torch' in sys.modules)"
    )
    before = os.times()
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
    after = os.times()  # processor time: what the command takes on a machine that is not busy with other things
    assert after.children_user + after.children_system - before.children_user - before.children_system < 1.0


@pytest.mark.usefixtures("drawn_models")
def test_annotate_prints_the_result_on_stdout_and_progress_on_stderr(
    run: Any, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("samlabel.progress.FIRST", 0.0)
    code, out, err = run("annotate", photos, "--out", tmp_path / "out", "--format", "coco,yolo", "--device", "cpu")
    assert code == 0
    assert out.startswith("3 of 3 images labelled: 3 objects in ")
    assert f"coco: {tmp_path / 'out' / 'coco' / 'annotations.json'}" in out
    assert "(not in this format: score-lost 3)" in out
    assert "labeling: 3/3 images, 3 objects, " in err
    assert run("annotate", photos, "--out", tmp_path / "out", "-q", "--device", "cpu")[1].startswith(
        "3 of 3 images labelled, 3 from an earlier run"
    )


@pytest.mark.usefixtures("drawn_models")
def test_json_is_one_document_on_stdout_and_failures_end_with_3(run: Any, photos: Path, tmp_path: Path) -> None:
    (photos / "bad.jpg").write_bytes(b"no")
    code, out, err = run("annotate", photos, "-o", tmp_path / "out", "--json", "--device", "cpu")
    summary = json.loads(out)
    assert (code, summary["failed"], summary["objects"]) == (3, 1, 3)
    assert summary["failures"][0]["path"] == "bad.jpg"
    assert "failed: bad.jpg: decode:" in err
    assert "bad.jpg\tdecode\t" in run("annotate", photos, "-o", tmp_path / "out", "--device", "cpu")[1]


def empty(tmp_path: Path) -> Path:
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


def foreign(tmp_path: Path) -> Path:
    (tmp_path / "out" / "labels").mkdir(parents=True)
    (tmp_path / "out" / "labels" / "a.txt").write_text("0 0.1 0.1 0.2 0.2")
    return tmp_path / "photos"


def wrong_checkpoint(tmp_path: Path) -> Path:
    import numpy as np
    from safetensors.numpy import save_file

    save_file({"weight": np.zeros(3, np.float32)}, tmp_path / "wrong.safetensors")
    return tmp_path / "photos"


BAD = {
    "no such folder": (lambda t: t / "phot", [], "did you mean"),
    "no pictures": (empty, [], "no pictures in"),
    "unknown detector": (None, ["--detector", "nanno"], "unknown detector 'nanno'"),
    "unknown variant": (None, ["--detector", "none", "--sam", "vit_c"], "unknown SAM variant 'vit_c'; known: nano"),
    "unknown format": (None, ["--format", "coca"], "unknown format 'coca'"),
    "unknown way": (None, ["--images", "move"], "unknown way to place images"),
    "variant without weights": (None, ["--sam", "vit_b"], "samlabel models pull vit_b"),
    "checkpoint missing": (None, ["--sam-checkpoint", "nowhere.pth"], "no checkpoint at nowhere.pth"),
    "wrong checkpoint": (wrong_checkpoint, ["--sam-checkpoint", "{tmp}/wrong.safetensors"], "no known variant"),
    "labels of others": (foreign, [], "already holds labels that samlabel did not write (labels/a.txt)"),
    "impossible number": (None, ["--conf", "7"], "conf is 7"),
    "not a number": (None, ["--conf", "high"], "conf"),
    "idle flag": (None, ["--points-per-side", "8"], "--points-per-side has no effect with a detector"),
    "classes for nobody": (None, ["--detector", "none", "--classes", "cat"], "without a detector"),
    "unknown option": (None, ["--output", "x"], "No such option"),
}


@pytest.mark.parametrize(("make", "words", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line_exit_code_and_nothing_written(
    run: Any, photos: Path, tmp_path: Path, make: Any, words: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sam

    monkeypatch.setenv("SAMLABEL_CACHE", str(tmp_path / "cache"))
    real = sam.load
    monkeypatch.setattr(
        sam,
        "load",
        lambda name=None, *, checkpoint=None, device="cpu", **_: real(
            name, checkpoint=checkpoint, device=device, seed=0 if checkpoint is None else None
        ),
    )
    data = make(tmp_path) if make else photos
    before = sorted(tmp_path.rglob("*"))
    words = [word.replace("{tmp}", str(tmp_path)) for word in words]
    code, out, err = run("annotate", data, "--out", tmp_path / "out", "--device", "cpu", *words)
    assert code in (1, 2) and out == ""
    assert err.startswith("samlabel: error: ") and err.count("\n") == 1 and err.endswith("\n")
    assert message in err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_folder_is_a_usage_error(run: Any, photos: Path, tmp_path: Path) -> None:
    photos.chmod(0)
    try:
        code, _, err = run("annotate", photos, "--out", tmp_path / "out")
    finally:
        photos.chmod(0o700)
    assert code == 2 and "check its permissions" in err


def test_an_unexpected_error_is_one_line_and_debug_shows_where(
    run: Any, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("surprise")

    monkeypatch.setattr("samlabel.annotate._models", broken)
    words = ("annotate", photos, "--out", tmp_path / "out", "--device", "cpu")
    assert run(*words) == (1, "", "samlabel: error: KeyError: 'surprise'; --debug shows where, please report it\n")
    with pytest.raises(KeyError):
        main([str(word) for word in (*words, "--debug")])


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"])
def test_a_signal_stops_cleanly_and_the_run_can_go_on(photos: Path, tmp_path: Path, number: int, code: int) -> None:
    script = f"""
import sys
sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(ROOT)!r}]
import fakes, samlabel.annotate, samlabel.cli
from samlabel import formats
from samlabel.pipeline.stages import Models
formats.write, formats.names, formats.get = fakes.write, fakes.names, fakes.get
pause = float(sys.argv.pop())
samlabel.annotate._models = lambda *a, **k: Models(fakes.Detector(), fakes.Segmenter(pause=pause))
samlabel.cli.main(sys.argv[1:])
"""
    command = [sys.executable, "-c", script, "annotate", str(photos), "--out", str(tmp_path / "out"), "--device", "cpu"]
    process = subprocess.Popen([*command, "30"], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not (tmp_path / "out" / ".samlabel" / "journal.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.2)
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == code
    said = [line for line in err.splitlines() if line.startswith(b"samlabel: ")]
    assert len(said) == 1 and said[0].endswith(b"; run the same command again") and b"Traceback" not in err
    assert subprocess.run([*command, "0"], capture_output=True).returncode == 0


def test_python_dash_m_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "samlabel", "--version"], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == f"samlabel {__version__}\n"


@pytest.mark.parametrize("command", ["models", "detectors", "formats"])
def test_listings_come_as_lines_and_as_json(run: Any, command: str) -> None:
    code, out, _ = run(command)
    rows = json.loads(run(command, "--json")[1])
    assert code == 0
    named = [line.split("\t")[0] for line in out.splitlines()]
    names = [row["name"] for row in rows]
    assert named[: len(names)] == names
    assert set(named[len(names) :]) <= set(names)  # what can be chosen of a format follows, a line each
    assert len(rows) >= 1


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        (["a,b", "c d"], ["a", "b", "c d"]),
        (['"brush, tooth", x'], ["brush, tooth", "x"]),
        (['stop "sign",y'], ['stop "sign"', "y"]),
        (['"open', "b", "", ", "], ["open", "b"]),
        (None, []),
    ],
    ids=str,
)
def test_names_come_by_comma_or_repeated_and_quotes_hold_commas(values: list[str] | None, parts: list[str]) -> None:
    from samlabel.cli._console import split

    assert split(values) == parts
