"""Whoever adds an option adds a field: command line, files, environment, settings and --update know it by that."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pytest
import typer
from typer.testing import CliRunner

from samlabel import run
from samlabel.cli.annotate import command
from samlabel.errors import OutputExists
from samlabel.option_info import option
from samlabel.options import (
    MASKS,
    Detecting,
    JobOptions,
    ModelOptions,
    RunSpec,
    Thresholds,
)

pytestmark = pytest.mark.usefixtures("plain_formats")


# The new fields stand in classes of their own, which are handed to all that takes a RunSpec.


@dataclass(frozen=True, slots=True)
class MoreThresholds(Thresholds):
    min_width: int = option(0, "Narrowest mask, in pixels.", low=0, panel=MASKS, touches="selection")


@dataclass(frozen=True, slots=True)
class MoreDetecting(Detecting):
    tiles: int = option(1, "Parts of an image that are looked at one by one.", low=1)


@dataclass(frozen=True, slots=True)
class MoreModels(ModelOptions):
    attention: Literal["exact", "fast"] = option("exact", "How attention is computed.")


@dataclass(frozen=True, slots=True)
class MoreJob(JobOptions):
    nice: int = option(0, "Politeness.", touches="nothing")


@dataclass(frozen=True, slots=True)
class MoreSpec(RunSpec):
    models: MoreModels = MoreModels()
    detecting: MoreDetecting = MoreDetecting()
    thresholds: MoreThresholds = MoreThresholds()
    job: MoreJob = MoreJob()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`asked("--flag", ...)` gives what the command that has the new options would run, and what it prints."""

    def call(*words: object) -> tuple[MoreSpec | None, str]:
        specs: list[MoreSpec] = []

        def take(spec: MoreSpec, **_: Any) -> None:
            specs.append(spec)
            raise KeyboardInterrupt

        monkeypatch.setattr("samlabel.annotate.run", take)
        app = typer.Typer(rich_markup_mode=None)
        app.command()(command(MoreSpec))
        done = CliRunner().invoke(app, [str(word) for word in words], terminal_width=300)
        return (specs[0] if specs else None), done.output + str(done.exception)

    return call


def test_a_new_option_is_in_the_help(asked: Any) -> None:
    text = " ".join(asked("--help")[1].split())
    assert re.search(r"--min-width \S+ Narrowest mask, in pixels. \[default: 0\]", text), text
    assert "--attention exact|fast How attention is computed. [default: exact]" in text


LAYERS = {
    "flag": (["--min-width", "7"], {"SAMLABEL_MIN_WIDTH": "5"}, "min-width = 3"),
    "environment": ([], {"SAMLABEL_MIN_WIDTH": "7"}, "min-width = 3"),
    "file": ([], {}, "min-width = 7"),
}


@pytest.mark.parametrize(("words", "environment", "line"), LAYERS.values(), ids=LAYERS)
def test_a_new_option_is_taken_from_a(
    asked: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], environment: Any, line: str
) -> None:
    file = tmp_path / "samlabel.toml"
    file.write_text(f"[annotate]\n{line}\n")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    spec, said = asked("photos", "--config", file, *words)
    assert spec == MoreSpec("photos", thresholds=MoreThresholds(min_width=7)), said


@pytest.mark.parametrize(
    ("words", "line", "message"),
    [
        (["--min-width", "-1"], "", "min_width is -1; wanted a whole number of at least 0"),
        ([], "min-width = -1", "samlabel.toml: min-width is -1; wanted a whole number of at least 0"),
        ([], "attention = 'slow'", "samlabel.toml: attention is 'slow'; wanted one of exact, fast"),
        (["--attention", "slow"], "", "unknown attention 'slow'; known: exact, fast"),
    ],
    ids=["flag", "file", "word in a file", "word of a flag"],
)
def test_a_new_option_is_checked(asked: Any, tmp_path: Path, words: list[str], line: str, message: str) -> None:
    file = tmp_path / "samlabel.toml"
    file.write_text(f"[annotate]\n{line}\n")
    spec, said = asked("photos", "--config", file, *words)
    assert spec is None and message in said


@pytest.fixture
def label(photos: Path, tmp_path: Path, fakes: ModuleType) -> Any:
    """`label(spec)` runs it over the drawings; what comes back are the images that were detected."""

    def call(spec: RunSpec, *, update: bool = False) -> list[str]:
        detector = fakes.Detector()
        models, output = replace(spec.models, device="cpu"), replace(spec.output, update=update)
        spec = replace(spec, source=str(photos), out=tmp_path / "out", models=models, output=output)
        run(spec, detector=detector, segmenter=fakes.Segmenter())
        return [path for batch in detector.batches for path in batch]

    return call


def stated(out: Path) -> Any:
    return json.loads((out / ".samlabel" / "settings.json").read_text())


def test_a_new_option_at_its_default_leaves_runs_made_before_as_they_are(label: Any, tmp_path: Path) -> None:
    assert len(label(RunSpec())) == 3
    before = stated(tmp_path / "out")
    assert label(MoreSpec()) == []
    assert stated(tmp_path / "out") == before


TOUCHED = {
    "selection": (MoreSpec(thresholds=MoreThresholds(min_width=7)), "thresholds", {"min_width": 7}, 0),
    "everything": (MoreSpec(detecting=MoreDetecting(tiles=4)), "detector", {"tiles": 4}, 3),
    "everything, of a model": (MoreSpec(models=MoreModels(attention="fast")), "models", {"attention": "fast"}, 3),
}


@pytest.mark.parametrize(("spec", "place", "values", "redone"), TOUCHED.values(), ids=TOUCHED)
def test_another_value_is_another_run_and_update_redoes_what_it_touches(
    label: Any, tmp_path: Path, spec: MoreSpec, place: str, values: dict[str, Any], redone: int
) -> None:
    label(MoreSpec())
    with pytest.raises(OutputExists, match=f"{place}.{next(iter(values))} was"):
        label(spec)
    assert len(label(spec, update=True)) == redone
    assert values.items() <= stated(tmp_path / "out")[place].items()
    assert label(spec) == []


def test_an_option_that_touches_nothing_is_the_same_run(label: Any, tmp_path: Path) -> None:
    label(MoreSpec())
    before = stated(tmp_path / "out")
    assert label(MoreSpec(job=MoreJob(nice=9))) == [] and stated(tmp_path / "out") == before
