"""Settings of annotate from a file, the environment and flags: who wins, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from samlabel.cli import main
from samlabel.options import Detecting, RunSpec


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(word) for word in words])
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return call


@pytest.fixture
def file(tmp_path: Path) -> Any:
    def write(text: str) -> Path:
        path = tmp_path / "samlabel.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def shown(run: Any, *words: object) -> dict[str, Any]:
    code, out, err = run("config", "show", "--json", *words)
    assert code == 0, err
    return {word: (one["value"], one["from"]) for word, one in json.loads(out).items()}


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(
    run: Any, file: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = file('[annotate]\nconf = 0.3\niou = 0.5\nformat = "yolo"\nfail-fast = true\nmax_det = 7\n')
    monkeypatch.setenv("SAMLABEL_CONF", "0.6")
    monkeypatch.setenv("SAMLABEL_FORMAT", "coco, sa1b")
    monkeypatch.setenv("SAMLABEL_QUIET", "yes")
    found = shown(run, "--config", path)
    assert found["conf"] == (0.6, "SAMLABEL_CONF")
    assert found["iou"] == (0.5, str(path))
    assert found["format"] == (["coco", "sa1b"], "SAMLABEL_FORMAT")
    assert found["quiet"] == (True, "SAMLABEL_QUIET")
    assert (found["fail-fast"], found["max-det"]) == ((True, str(path)), (7, str(path)))
    assert found["imgsz"] == (640, "default")


def test_a_flag_wins_over_all_and_all_reach_the_run(
    run: Any, file: Any, tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[RunSpec] = []

    def stop(spec: RunSpec, **_: Any) -> None:
        asked.append(spec)
        raise KeyboardInterrupt

    monkeypatch.setattr("samlabel.annotate.run", stop)
    monkeypatch.setenv("SAMLABEL_IOU", "0.2")
    path = file(
        f'[annotate]\npictures = "{photos}"\nout = "there"\nconf = 0.3\niou = 0.5\nimgsz = 320\nmax-failures = 2\n'
    )
    code, _, _ = run("annotate", "--config", path, "--conf", "0.9")
    assert code == 130
    [spec] = asked
    assert (spec.source, spec.out) == (str(photos), Path("there"))
    assert (spec.detecting, spec.job.max_failures) == (Detecting(conf=0.9, iou=0.2, imgsz=320), 2)


def test_what_show_prints_is_a_file_that_says_the_same(run: Any, file: Any) -> None:
    path = file('[annotate]\nconf = 0.3\nout = "a \\"b\\""\nformat = ["yolo"]\n')
    code, out, _ = run("config", "show", "--config", path)
    assert code == 0
    before = {word: value for word, (value, _) in shown(run, "--config", path).items()}
    after = {word: value for word, (value, _) in shown(run, "--config", file(out)).items()}
    assert after == before


def test_the_file_knows_every_flag(run: Any) -> None:
    import typer

    from samlabel.cli import app

    command = typer.main.get_command(app).commands["annotate"]  # type: ignore[attr-defined]
    flags = {flag[2:] for one in command.params for flag in one.opts if flag.startswith("--")}
    assert set(shown(run)) == flags - {"config", "help"} | {"pictures"}


BAD = {
    "misspelt": ("[annotate]\nconff = 0.3\n", "did you mean conf?"),
    "unknown": ("[annotate]\nzzzzzz = 1\n", "has no setting 'zzzzzz'; known: pictures, out"),
    "another table": ("[convert]\nto = 'yolo'\n", "'convert' is not known here"),
    "no table": ("conf = 0.3\n", "'conf' is not known here"),
    "no TOML": ("[annotate\n", "not TOML"),
    "number for switch": ("[annotate]\nquiet = 1\n", "quiet is 1; wanted true or false"),
    "switch for number": ("[annotate]\nconf = true\n", "conf is True; wanted a number"),
    "text for number": ('[annotate]\nmax-det = "x"\n', "max-det is 'x'; wanted a whole number"),
    "out of bounds": ("[annotate]\nworkers = 0\n", "workers is 0; wanted a whole number of at least 1"),
    "unknown word": ("[annotate]\nimages = 'move'\n", "images is 'move'; wanted one of copy, hardlink, symlink, none"),
    "list for text": ("[annotate]\ndetector = ['a']\n", "detector is ['a']; wanted text"),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD)
def test_what_a_file_cannot_mean_is_one_line(run: Any, file: Any, photos: Path, text: str, message: str) -> None:
    code, out, err = run("annotate", photos, "--config", file(text))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err and err.startswith("samlabel: error: ")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("SAMLABEL_CONF", "high", "SAMLABEL_CONF is 'high'; wanted a number"),
        ("SAMLABEL_CONFF", "1", "did you mean SAMLABEL_CONF?"),
        ("SAMLABEL_ELEPHANT", "1", "SAMLABEL_ELEPHANT in the environment is no setting; unset it"),
        ("SAMLABEL_QUIET", "maybe", "wanted true or false"),
        ("SAMLABEL_CONFIG", "nowhere.toml", "nowhere.toml: cannot be read"),
    ],
)
def test_what_the_environment_cannot_mean_is_one_line(
    run: Any, photos: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)
    code, _, err = run("annotate", photos)
    assert code == 2 and message in err and err.count("\n") == 1


def test_nothing_to_label_is_a_usage_error(run: Any) -> None:
    code, _, err = run("annotate")
    assert code == 2 and "no pictures: name a folder" in err
