"""Formats are found by file and by entry point; what is broken stays listed with its reason."""

from __future__ import annotations

import json
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

import converters
from converters import registry
from samlabel.cli import main
from samlabel.errors import FormatError, MissingDependency, SamlabelError, UnknownName, UsageError
from tests.converters.cases import drawn


@pytest.fixture
def brought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Write a third party's module and register it under a name."""
    points: list[EntryPoint] = []
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == "samlabel.formats" else [])
    registry._modules.cache_clear()

    def bring(name: str, source: str) -> None:
        module = f"brought_{name}"
        (tmp_path / f"{module}.py").write_text(source, encoding="utf-8")
        sys.modules.pop(module, None)
        points.append(EntryPoint(name, module, "samlabel.formats"))
        registry._modules.cache_clear()

    yield bring
    registry._modules.cache_clear()


GOOD = '"""Nothing but a count."""\nKEEPS = frozenset()\ndef read(path): ...\ndef write(dataset, path): ...\n'


ALL = ["coco", "cvat", "labelme", "labelstudio", "parquet", "png", "sa1b", "voc", "yolo"]


def test_every_format_is_there_and_says_what_it_keeps() -> None:
    found = {info.name: info for info in converters.list_formats()}
    assert set(ALL) <= set(found)
    assert all(found[name].problem is None and found[name].summary and found[name].keeps for name in found)


def test_a_format_of_another_distribution_is_listed(brought) -> None:
    brought("count", GOOD)
    (info,) = [info for info in converters.list_formats() if info.name == "count"]
    assert (info.problem, info.summary) == (None, "Nothing but a count.")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import no_such_package_at_all", "no_such_package_at_all"),
        ("1 / 0", "division by zero"),
        ("KEEPS = frozenset()", "lacks read, write"),
    ],
    ids=["missing package", "raises", "incomplete"],
)
def test_a_format_that_cannot_be_used_stays_listed_with_its_reason(brought, source: str, words: str) -> None:
    brought("broken", source)
    found = {info.name: info.problem for info in converters.list_formats()}
    assert words in found["broken"] and found["coco"] is None
    with pytest.raises(SamlabelError, match=words):
        converters.get("broken")


def test_a_missing_package_is_named_with_the_command_that_installs_it(brought) -> None:
    brought("needy", "import no_such_package_at_all")
    with pytest.raises(MissingDependency, match="pip install no_such_package_at_all"):
        converters.get("needy")


def test_two_formats_of_one_name_are_an_error(brought) -> None:
    brought("coco", GOOD)
    with pytest.raises(SamlabelError, match="two formats are called 'coco'"):
        converters.names()


def test_an_unknown_format_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownName, match="coco, .*yolo"):
        converters.get("cocoo")


@pytest.mark.parametrize("name", ALL)
def test_what_we_write_is_recognised_with_a_reason(name: str, tmp_path: Path) -> None:
    converters.write(drawn("hole", tmp_path / "photos"), tmp_path / "out", name)
    found, why = converters.detect_format(tmp_path / "out")
    assert found == name and len(why) > 10


def test_a_folder_of_nothing_known_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no format recognised"):
        converters.detect_format(tmp_path)
    with pytest.raises(UsageError, match="no such file"):
        converters.detect_format(tmp_path / "missing")


def test_a_folder_of_two_formats_is_asked_about(tmp_path: Path) -> None:
    dataset = drawn("hole", tmp_path / "photos")
    converters.write(dataset, tmp_path / "out", "coco")
    converters.write(dataset, tmp_path / "out", "yolo")
    with pytest.raises(FormatError, match="coco .* yolo .* say which"):
        converters.detect_format(tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "file", "other"),
    [
        ("coco", "annotations.json", "annotations/instances_val.json"),
        ("coco", "annotations.json", "instances_val.json"),
        ("cvat", "annotations.xml", "second.xml"),
    ],
)
def test_of_two_files_in_a_folder_none_is_passed_over(name: str, file: str, other: str, tmp_path: Path) -> None:
    put(tmp_path / "in", name)
    assert len(list(converters.read(tmp_path / "in").records)) == 1
    (tmp_path / "in" / other).parent.mkdir(exist_ok=True)
    (tmp_path / "in" / other).write_bytes((tmp_path / "in" / file).read_bytes())
    with pytest.raises(FormatError, match=f"several .*{file}.*{other}.* name one"):
        converters.read(tmp_path / "in")


def put(folder: Path, name: str) -> None:
    converters.write(drawn("hole", folder.parent / "photos"), folder, name)


@pytest.mark.parametrize("second", ["yolo", "coco", "parquet", "labelme"])
@pytest.mark.parametrize("first", ["voc", "sa1b"])
def test_a_folder_above_datasets_of_several_formats_is_asked_about(first: str, second: str, tmp_path: Path) -> None:
    put(tmp_path / "in" / "a", first)
    put(tmp_path / "in" / "b", second)
    with pytest.raises(FormatError, match="say which|name one") as error:
        converters.detect_format(tmp_path / "in")
    assert first in str(error.value) and second in str(error.value) and "--from" in str(error.value)


def test_labels_of_another_format_below_a_dataset_are_named_as_not_read(tmp_path: Path) -> None:
    put(tmp_path / "in", "yolo")
    name, plain = converters.detect_format(tmp_path / "in")
    put(tmp_path / "in" / "older", "coco")
    assert converters.detect_format(tmp_path / "in") == (
        name,
        f"{plain}; not read: older (coco) below, name such a folder to read it",
    )


@pytest.mark.parametrize(("words", "read", "said"), [([], "coco", True), (["--from", "yolo"], "yolo", False)], ids=str)
def test_a_run_of_several_formats_says_which_is_read(
    words: list[str], read: str, said: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run" / ".samlabel").mkdir(parents=True)
    for name in ("coco", "yolo"):
        put(tmp_path / "run" / name, name)
    for name, content in (("settings", {"images": "../run/photos"}), ("outputs", {"yolo": {}, "coco": {}})):
        (tmp_path / "run" / ".samlabel" / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(SystemExit):
        main(["stats", str(tmp_path / "run"), "--json", *words])
    out, err = capsys.readouterr()
    assert json.loads(out)["format"] == read
    assert ("labels as coco, yolo; coco is read, --from chooses another" in err) == said


def test_a_receipt_is_plain_data_and_short_lines(tmp_path: Path) -> None:
    import json

    converters.write(drawn("scores", tmp_path / "photos"), tmp_path / "in.json", "coco")
    receipt = converters.convert(tmp_path / "in.json", tmp_path / "out", to="yolo", dry_run=True)
    content = json.loads(json.dumps(receipt.to_dict()))
    assert content["losses"] == {"score-lost": 2, "mask-score-lost": 1}
    assert (content["objects_in"], content["found"]["holes"], content["found"]["parts"]) == (2, 1, 1)
    assert set(content["losses"]) | set(content["notes"]) <= set(converters.CODES)
    assert any("score-lost" in line for line in receipt.lines())


@pytest.mark.parametrize("name", converters.names())
def test_the_options_that_a_format_explains_are_those_that_it_takes(name: str) -> None:
    options = converters.options_of(name)
    assert {option.name for option in options} == set(getattr(converters.get(name), "OPTIONS", {}))
    for option in options:
        assert option.help and (not option.choices or option.default in option.choices)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("yolo", "max-points=40", {"max_points": 40}),
        ("coco", "keep_ids=false", {"keep_ids": False}),
        ("coco", "tolerance=1.5", {"tolerance": 1.5}),
        ("labelstudio", "prefix=s3://a/?d=", {"prefix": "s3://a/?d="}),
    ],
)
def test_options_in_words_become_values(name: str, text: str, expected: dict[str, object]) -> None:
    assert converters.parsed_options(name, [text]) == expected


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("cvat", "shaps=auto", "unknown option of cvat 'shaps'; known: shapes. Did you mean shapes?"),
        ("png", "shapes=auto", "unknown option of png 'shapes'; known: none"),
        ("cvat", "shapes=round", "unknown value of shapes 'round'; known: auto, polygon, mask"),
        ("yolo", "max_points=ten", "option max_points is 'ten'; wanted a whole number"),
        ("sa1b", "sidecar=perhaps", "wanted true or false"),
        ("yolo", "outline", "'outline' is not an option; wanted NAME=VALUE"),
    ],
)
def test_an_option_that_cannot_be_meant_is_one_line_with_the_known_ones(name: str, text: str, words: str) -> None:
    with pytest.raises(UsageError) as error:
        converters.parsed_options(name, [text])
    assert words in str(error.value)


def test_the_command_takes_options_of_a_format(tmp_path: Path) -> None:
    converters.write(drawn("hole", tmp_path / "photos"), tmp_path / "in.json", "coco")
    words = ["convert", str(tmp_path / "in.json"), str(tmp_path / "out"), "--to", "labelstudio"]
    with pytest.raises(SystemExit) as end:
        main([*words, "--option", "into=predictions", "--option", "shapes=polygon"])
    assert not end.value.code
    (task,) = json.loads((tmp_path / "out" / "tasks.json").read_text(encoding="utf-8"))
    assert task["annotations"] == [] and task["predictions"][0]["result"][0]["type"] == "polygonlabels"


@pytest.mark.parametrize(
    "words",
    [
        ["stats"],
        ["check"],
        ["check", "--output", "github"],
        ["view", "--out", "seen"],
        ["convert", "{}", "--to", "labelme", "--dry-run"],
    ],
    ids=" ".join,
)
def test_commands_say_which_label_files_below_are_not_read(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "in", "yolo")
    put(tmp_path / "in" / "older", "coco")
    with pytest.raises(SystemExit):
        main([words[0], "in", *[word.replace("{}", "out") for word in words[1:]]])
    said = "".join(capsys.readouterr())
    assert said.count("not read: older (coco) below, name such a folder to read it") == 1


def test_the_format_of_a_run_is_recognised_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run" / ".samlabel").mkdir(parents=True)
    put(tmp_path / "run" / "coco", "coco")
    for name, content in (("settings", {"images": "../run/photos"}), ("outputs", {"coco": {}})):
        (tmp_path / "run" / ".samlabel" / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    asked: list[Any] = []
    real = converters.detect_format
    for module in (converters, sys.modules["converters.convert"]):  # the name in the package is the function's
        monkeypatch.setattr(module, "detect_format", lambda path: asked.append(path) or real(path))
    with pytest.raises(SystemExit) as end:
        main(["convert", str(tmp_path / "run"), str(tmp_path / "out"), "--to", "labelme", "--images", "copy"])
    assert end.value.code == 0, capsys.readouterr().err
    assert asked == [tmp_path / "run" / "coco"]
    assert len(list((tmp_path / "out").rglob("*.png"))) == 1
