"""Progress: when lines come, what they say, and that nothing else of a command changes."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice, pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from samlabel import progress
from samlabel.cli import main
from samlabel.cli._counted import counted
from samlabel.cli._progress import Shown
from samlabel.formats import Part, write
from samlabel.progress import SILENT, Pace, Progress, duration, moments
from samlabel.types import Annotation, Category, Dataset, ImageRecord, Mask

Run = Callable[..., tuple[int, str, str]]


@dataclass
class Clock:
    """A time that passes when a test says so."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Heard(Progress):
    """Notes the name and total of each stage, and how many were done in it."""

    stages: list[tuple[str, int | None, int]] = field(default_factory=list)

    def over(self, items: Any, name: str, *, total: int | None = None, unit: str = "images") -> Iterator[Any]:
        done = 0
        for item in items:
            yield item
            done += 1
        self.stages.append((name, total, done))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """`run("annotate", ...)` gives exit code, stdout and stderr."""

    def call(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(word) for word in words])
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return call


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages get their first line at once, as those that take long get it after two seconds."""
    monkeypatch.setattr(progress, "FIRST", 0.0)


@pytest.fixture
def models(fakes: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models that see drawings, whatever the command line names."""
    from samlabel.pipeline.stages import Models

    monkeypatch.setattr("samlabel.annotate._models", lambda *_, **__: Models(fakes.Detector(), fakes.Segmenter()))


def dataset_of(images: int, root: Path | None = None) -> Dataset:
    mask = Mask.from_pixels(np.ones((8, 8), bool))
    objects = (Annotation(1, mask.box, mask),)
    records = [ImageRecord(f"{number}.png", (8, 8), objects) for number in range(images)]
    return Dataset((Category(1, "a"),), records, root)


@pytest.fixture
def coco(tmp_path: Path, fakes: ModuleType) -> Path:
    """Three images and their labels."""
    for number in range(3):
        fakes.draw(tmp_path / "images" / f"{number}.png", (0, 0, 8, 8, fakes.RED), size=(8, 8))
    write(dataset_of(3, tmp_path / "images"), tmp_path / "labels.json", format="coco")
    return tmp_path / "labels.json"


def test_lines_come_at_growing_intervals_of_at_most_ten_minutes() -> None:
    times = list(islice(moments(), 13))
    assert times[:6] == [2, 5, 10, 20, 40, 80]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps == sorted(gaps) and gaps[-3:] == [600, 600, 600]


def test_a_line_is_shown_at_the_first_count_after_each_moment(capsys: pytest.CaptureFixture[str]) -> None:
    clock, shown_at = Clock(), []
    with Shown(quiet=False, clock=clock).stage("writing", total=1000) as advance:
        for second in range(1, 101):
            clock.now += 1
            advance()
            if capsys.readouterr().err:
                shown_at.append(second)
    assert shown_at == [2, 5, 10, 20, 40, 80]


def test_moments_that_passed_during_one_image_give_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Shown(quiet=False, clock=clock).stage("writing", total=3) as advance:
        for seconds in (30, 1, 1):
            clock.now += seconds
            advance()
    assert capsys.readouterr().err == "writing: 1/3 images, 0.033/s, 1 min 0 s left\nwriting: 3/3 images, 0.094/s\n"


def test_a_short_stage_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Shown(quiet=False, clock=clock).stage("writing", total=2) as advance:
        for _ in range(2):
            clock.now += 0.9
            advance()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("total", "resumed", "done", "seconds", "line"),
    [
        (100, 0, 20, 10, "writing: 20/100 images, 2.0/s, 40 s left"),
        (None, 0, 20, 10, "writing: 20 images, 2.0/s"),
        (100, 60, 20, 10, "writing: 80/100 images, 2.0/s, 10 s left"),
        (100, 60, 0, 10, "writing: 60/100 images"),
        (100, 0, 100, 10, "writing: 100/100 images, 10.0/s"),
        (5000, 0, 1, 8, "writing: 1/5000 images, 0.12/s, 11 h 6 min left"),
    ],
    ids=["total", "no total", "resumed", "none yet", "all", "slow"],
)
def test_a_line_tells_done_total_rate_and_time_left(
    total: int | None, resumed: int, done: int, seconds: float, line: str
) -> None:
    clock = Clock()
    pace = Pace("writing", total, resumed, clock=clock)
    pace.done += done
    clock.now += seconds
    assert str(pace) == line


def test_objects_are_told_where_they_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Shown(quiet=False, clock=clock).stage("labeling", total=4, resumed=1) as advance:
        clock.now += 2
        advance(objects=7)
    assert capsys.readouterr().err == "labeling: 2/4 images, 7 objects, 0.5/s, 4 s left\n"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 s"), (59, "59 s"), (90, "1 min 30 s"), (7500, "2 h 5 min")], ids=str
)
def test_a_duration_is_told_in_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize("make", [lambda: SILENT, lambda: Shown(quiet=True)], ids=["default", "quiet"])
@pytest.mark.usefixtures("impatient")
def test_silent_progress_hands_items_on_and_shows_nothing(
    make: Callable[[], Progress], capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(make().over(iter("abc"), "writing")) == ["a", "b", "c"]
    with make().stage("writing", total=2, resumed=1) as advance:
        advance(1, objects=2)
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_a_bar_comes_after_two_seconds_and_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal, clock = Terminal(), Clock()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    with Shown(quiet=False, clock=clock) as shown, shown.stage("writing", total=10) as advance:
        clock.now += 1
        advance()
        assert terminal.getvalue() == ""
        clock.now += 1
        advance()
    assert "writing: 2/10 images, 1.0/s, 8 s left" in terminal.getvalue()
    assert "\x1b[2K" in terminal.getvalue().partition("left")[2]  # its line is empty again
    assert sys.stderr is terminal


def commands(coco: Path, out: Path) -> dict[str, tuple[list[object], str]]:
    return {
        "view": (["view", coco, "--out", out], "drawing: 3 images, "),
        "stats": (["stats", coco], "counting: 3 images, "),
        "check": (["check", coco], "checking: 3 images, "),
        "convert": (["convert", coco, out, "--to", "yolo", "--allow-lossy"], "reading: 3 images, "),
        "merge": (["merge", coco, coco, "--out", out / "m.json", "--allow-lossy"], "reading: 3 images, "),
        "filter": (["filter", coco, out / "f.json", "--allow-lossy"], "reading: 3 images, "),
        "split": (["split", coco, out], "reading: 3 images, "),
    }


@pytest.mark.parametrize("quiet", [False, True], ids=["shown", "quiet"])
@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
@pytest.mark.parametrize("command", ["view", "stats", "check", "convert", "merge", "filter", "split"])
@pytest.mark.usefixtures("impatient")
def test_each_long_command_shows_how_far_it_is_on_stderr_alone(
    run: Run, coco: Path, tmp_path: Path, command: str, as_json: bool, quiet: bool
) -> None:
    words, says = commands(coco, tmp_path / "out")[command]
    code, out, err = run(*words, *(["--json"] if as_json else []), *(["--quiet"] if quiet else []))
    assert code in (0, 4), err
    assert (says in err) != quiet
    assert not re.search(r"\d images, [\d.]+/s", out) and (not quiet or "/s" not in err)
    if as_json:
        json.loads(out)


@pytest.mark.usefixtures("impatient")
def test_a_second_pass_knows_how_many_there_are(run: Run, coco: Path, tmp_path: Path) -> None:
    _, _, err = run("split", coco, tmp_path / "out")
    assert "reading: 3 images, " in err and "reading, pass 2: 3/3 images, " in err


@pytest.mark.usefixtures("impatient", "models")
def test_annotate_shows_detection_and_writing_and_counts_what_is_resumed(
    run: Run, photos: Path, tmp_path: Path, fakes: ModuleType
) -> None:
    words = ["annotate", photos, "--out", tmp_path / "out", "--device", "cpu", "--format", "coco,yolo"]
    code, out, err = run(*words, "--json")
    assert code == 0 and json.loads(out)["annotated"] == 3
    assert "labeling: 3/3 images, 3 objects, " in err
    assert "writing coco: 3/3 images, " in err and "copying images: 3/3 images, " in err
    fakes.draw(photos / "new.png")
    _, _, err = run(*words)
    assert "labeling: 4/4 images, " in err and "labeling: 1/" not in err
    fakes.draw(photos / "newer.png")
    assert run(*words, "--quiet")[2] == ""


@pytest.mark.usefixtures("impatient", "models")
def test_annotate_shows_that_labels_are_accepted(run: Run, coco: Path, tmp_path: Path) -> None:
    words = ["annotate", tmp_path / "images", "--out", tmp_path / "out", "--accept", coco, "--device", "cpu"]
    code, _, err = run(*words)
    assert code == 0
    for stage in ("reading labels: 3 images", "comparing with images: 3/3 images", "accepting labels: 3/3 images"):
        assert stage in err


def test_generate_shows_how_far_it_is(run: Run, tmp_path: Path, fakes: ModuleType, impatient: None) -> None:
    for name in ("a", "b"):
        fakes.draw(tmp_path / "in" / f"{name}.png")
    (tmp_path / "in" / "bad.png").write_bytes(b"no")
    words = ["generate", tmp_path / "in", "--output", tmp_path / "out", "--points-per-side", "1", "--device", "cpu"]
    code, out, err = run(*words, "--json")
    assert code == 3 and json.loads(out)["images"] == 2
    assert "making masks: 3/3 images, " in err and "failed: bad.png: decode: " in err
    assert "making masks: 3/3 images, " in run(*words)[2]  # two of them were there
    assert run(*words, "--quiet")[2] == ""


@dataclass
class Divisible(Part):
    """Records that can be divided; notes what joined them again."""

    names: list[str]
    paths_before: list[str] = field(default_factory=list)
    joined: list[Any] = field(default_factory=list)

    def __iter__(self) -> Iterator[ImageRecord]:
        return (ImageRecord(name, (8, 8)) for name in self.names)

    def divided(self, count: int) -> list[Divisible]:
        cuts = [len(self.names) * place // count for place in range(count + 1)]
        return [Divisible(self.names[a:b], self.names[:a]) for a, b in pairwise(cuts)]

    def seen(self) -> int:
        return len(self.names)

    def join(self, seen: Any) -> None:
        self.joined += seen


def test_records_that_are_divided_among_processes_still_are() -> None:
    whole, heard = Divisible(list("abcdefghi")), Heard()
    records = counted(lambda: Dataset((), whole), heard)().records
    assert isinstance(records, Part)
    parts = records.divided(3)
    assert [[record.path for record in part] for part in parts] == [list("abc"), list("def"), list("ghi")]
    assert [list(part.paths_before) for part in parts] == [[], list("abc"), list("abcdef")]
    assert heard.stages == [("reading, part 1 of 3", 3, 3)]  # those of others have nobody to tell
    assert all(type(part) is Divisible for part in parts[1:])
    records.join([part.seen() for part in parts])
    assert whole.joined == [3, 3, 3]


def test_records_that_cannot_be_had_twice_are_seen_to_be_such() -> None:
    once = counted(lambda: Dataset((), iter([ImageRecord("a.png", (8, 8))])), SILENT)().records
    assert isinstance(once, Iterator)
    assert [record.path for record in once] == ["a.png"]


def test_records_are_asked_for_no_more_often_than_without_counting() -> None:
    asked: list[int] = []

    class Stream:
        def __iter__(self) -> Iterator[ImageRecord]:
            asked.append(1)
            return iter(dataset_of(4).records)

    heard = Heard()
    opened = counted(lambda: Dataset((), Stream()), heard)
    assert len(list(opened().records)) == len(list(opened().records)) == 4
    assert len(asked) == 2
    assert heard.stages == [("reading", None, 4), ("reading, pass 2", 4, 4)]


def test_the_python_call_is_silent_and_hears_events_and_stages(
    photos: Path, tmp_path: Path, fakes: ModuleType, impatient: None, capsys: pytest.CaptureFixture[str]
) -> None:
    from samlabel import auto_annotate

    events: list[Any] = []
    models = {"detector": fakes.Detector(), "segmenter": fakes.Segmenter(), "device": "cpu"}
    auto_annotate(photos, output_dir=tmp_path / "silent", progress=events.append, **models)
    assert [(event.done, event.total) for event in events] == [(1, 3), (2, 3), (3, 3)]
    assert capsys.readouterr() == ("", "")
    heard = Heard()
    auto_annotate(photos, output_dir=tmp_path / "heard", stages=heard, **models)
    assert ("writing coco", None, 3) in heard.stages
