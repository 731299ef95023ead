"""Options are fields: what one says of itself is checked, and Python takes objects of them."""

from __future__ import annotations

import inspect
import os
import pickle
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pytest
import typer

from samlabel import Event, auto_annotate, run
from samlabel.cli import app
from samlabel.cli._options import shared
from samlabel.errors import UsageError
from samlabel.option_info import OptionInfo, Options, groups_of, option, options_of
from samlabel.options import (
    ClassOptions,
    Detecting,
    ModelOptions,
    OutputOptions,
    RunSpec,
    Thresholds,
)

pytestmark = pytest.mark.usefixtures("plain_formats")


# Python.


def test_objects_of_options_say_the_same_as_arguments(photos: Path, tmp_path: Path, fakes: ModuleType) -> None:
    def label(*words: Any, **options: Any) -> int:
        models = {"detector": fakes.Detector(), "segmenter": fakes.Segmenter()}
        return auto_annotate(photos, *words, output_dir=tmp_path / "out", **models, **options).annotated

    assert label(device="cpu", conf=0.5, max_det=7, classes=["red"]) == 3
    objects = {
        "models": ModelOptions(device="cpu"),
        "detecting": Detecting(conf=0.5, max_det=7),
        "taxonomy": ClassOptions(classes=["red"]),
    }
    assert label(**objects) == 0, "the same settings"
    assert label(**objects, conf=0.5) == 0, "the same said twice"
    with pytest.raises(UsageError, match="conf is 0.6 as an argument and 0.5 in Detecting"):
        label(**objects, conf=0.6)


def test_every_part_of_a_run_is_an_argument_of_auto_annotate() -> None:
    taken = inspect.signature(auto_annotate).parameters
    assert [name for name in groups_of(RunSpec) if name not in taken] == []
    assert all(one.kind is one.KEYWORD_ONLY for one in list(taken.values())[10:])


def test_a_spec_is_a_value_that_another_process_can_take() -> None:
    spec = RunSpec(
        "photos", Path("out"), ("yolo",), thresholds=Thresholds(min_area=9), output=OutputOptions(update=True)
    )
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert hash(spec) == hash(replace(spec)) and spec != RunSpec("photos")


def test_a_run_tells_its_progress(photos: Path, tmp_path: Path, fakes: ModuleType) -> None:
    events: list[Event] = []
    spec = RunSpec(str(photos), tmp_path / "out", models=ModelOptions(device="cpu"))
    run(spec, detector=fakes.Detector(), segmenter=fakes.Segmenter(), progress=events.append)
    assert [one.done for one in events] == [1, 2, 3]


# What a field says.


@dataclass(frozen=True, slots=True)
class Kinds(Options):
    switch: bool = option(False, "A switch.")
    whole: int = option(3, "A whole number.", low=1, high=9)
    part: float | None = option(None, "A number.", low=0, high=1)
    text: str = option("a", "A text.")
    word: Literal["x", "y"] | None = option(None, "A word.", flags=("--letter", "-l"))
    file: str | os.PathLike[str] | None = option(None, "A file.")
    many: tuple[str, ...] = option(("a",), "Texts.")


KINDS = {one.name: one for one in options_of(Kinds)}


def test_kind_and_choices_of_an_option_follow_from_its_field() -> None:
    found = {name: (one.kind, one.optional, one.choices, one.word) for name, one in KINDS.items()}
    assert found == {
        "switch": ("bool", False, (), "switch"),
        "whole": ("int", False, (), "whole"),
        "part": ("float", True, (), "part"),
        "text": ("str", False, (), "text"),
        "word": ("str", True, ("x", "y"), "letter"),
        "file": ("path", True, (), "file"),
        "many": ("list", False, (), "many"),
    }


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"whole": 10}, "whole is 10; wanted a whole number from 1 to 9"),
        ({"whole": 2.5}, "whole is 2.5; wanted a whole number from 1 to 9"),
        ({"whole": "many"}, "whole is many; wanted a whole number from 1 to 9"),
        ({"part": float("nan")}, "part is nan; wanted a number from 0 to 1"),
        ({"word": "z"}, "unknown word 'z'; known: x, y"),
    ],
    ids=["too many", "no whole number", "no number", "nan", "no such word"],
)
def test_a_value_that_an_option_cannot_be_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Kinds(**values)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [("switch", "on", True), ("whole", "4", 4), ("part", ".5", 0.5), ("word", "x", "x"), ("many", "b, c", ["b", "c"])],
)
def test_text_becomes_the_value_that_it_means(name: str, text: str, value: Any) -> None:
    assert KINDS[name].parsed(text, "there") == value


def every_option() -> list[OptionInfo]:
    return [*options_of(RunSpec), *(one for part in groups_of(RunSpec).values() for one in options_of(part))]


def test_every_option_of_a_run_has_its_help_and_a_default_that_it_may_have() -> None:
    assert [one.name for one in every_option() if not one.help.endswith((".", "..."))] == []
    for one in every_option():
        one.check(one.default, one.name)


GRID = """points-per-side points-per-batch pred-iou-thresh stability-score-thresh stability-score-offset box-nms-thresh
crop-n-layers crop-nms-thresh crop-overlap-ratio crop-n-points-downscale-factor min-mask-region-area"""
FLAGS = {
    "annotate": f"""pictures out/o format/f detector sam sam-checkpoint device dtype backend conf iou imgsz max-det
    classes map rename trust-weights trust-sha256 pred-iou-thresh stability-score-thresh min-area
    duplicate-iou duplicate-containment agnostic-nms
    {GRID.replace("pred-iou-thresh stability-score-thresh ", "")} images overwrite accept follow-links update
    fail-fast max-failures workers max-pixels config log json quiet/q""",
    "generate": f"""images input output/out/o output-form convert-to-rle model-type/sam checkpoint/sam-checkpoint device
    dtype backend {GRID} mask-nms-thresh containment-thresh max-image-share max-border-share max-masks detector
    overwrite json quiet/q""",
}


@pytest.mark.parametrize("command", FLAGS)
def test_scripts_that_use_flags_of_today_go_on(command: str) -> None:
    found = typer.main.get_command(app).commands[command].params  # type: ignore[attr-defined]
    flags = ["/".join(flag.lstrip("-") for flag in one.opts) for one in found]
    assert ["pictures" if flag == "source" else flag for flag in flags] == FLAGS[command].split()


def test_one_flag_is_for_two_options_only_where_that_is_meant() -> None:
    assert shared(RunSpec) == {"pred_iou_thresh", "stability_score_thresh"}
