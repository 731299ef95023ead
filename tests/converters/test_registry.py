"""Formats are found by file and by entry point; what is broken stays listed with its reason."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import converters
from converters.registry import FORMATS
from samlabel.cli import main
from samlabel.errors import FormatError, MissingDependency, SamlabelError, UnknownName, UsageError
from samlabel.types import Annotation, Dataset
from tests.brought import bringing
from tests.converters.cases import LETTERS, drawn, one


@pytest.fixture
def brought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Install a third party's format of a name: the source of its module, and what in it the entry point names."""
    return partial(bringing(tmp_path / "site", monkeypatch), "samlabel.formats")


# A whole format of somebody else: one line an object, with the box and the name of its class.
LINES = """
from dataclasses import dataclass

from converters import Capabilities, Format, FormatOptions, ReadOptions, WriteReport, option
from samlabel.errors import FormatError, OutputExists
from samlabel.types import Annotation, Category, Dataset, ImageRecord


@dataclass(frozen=True, kw_only=True)
class LineOptions(FormatOptions):
    digits: int = option(1, "digits after the point")


class Lines(Format[LineOptions]):
    name = "lines"
    summary = "One line an object, with its box"
    options = LineOptions
    capabilities = Capabilities(frozenset({"boxes_without_mask", "category_names", "boxes"}))

    def recognize(self, path):
        return f"{path.name} ends in .lines" if path.suffix == ".lines" else None

    def read(self, path, options=ReadOptions()):
        rows = [line.split("\\t") for line in path.read_text().splitlines()]
        names = sorted({row[3] for row in rows})
        records = [
            ImageRecord(row[0], (int(row[1]), int(row[2])), (Annotation(names.index(row[3]), eval_box(row[4])),))
            for row in rows
        ]
        return Dataset(tuple(Category(number, name) for number, name in enumerate(names)), records)

    def write(self, dataset, path, options):
        if path.exists() and not options.overwrite:
            raise OutputExists(f"{path} exists already")
        names = {one.id: one.name for one in dataset.categories}
        report = WriteReport(self.name, str(path))
        lines = []
        for record in dataset.records:
            report.images += 1
            for one in record.annotations:
                box = ",".join(f"{side:.{options.digits}f}" for side in one.box)
                lines.append("\\t".join([record.path, *map(str, record.size), names[one.category_id], box]))
        report.objects = len(lines)
        path.write_text("".join(f"{line}\\n" for line in lines))
        return report


def eval_box(text):
    return tuple(float(side) for side in text.split(","))
""".replace("\\\\", "\\")


ALL = ["coco", "cvat", "labelme", "labelstudio", "parquet", "png", "sa1b", "voc", "yolo"]


def test_every_format_is_there_and_says_what_it_keeps() -> None:
    found = {info.name: info for info in converters.list_formats()}
    assert set(ALL) <= set(found)
    assert all(found[name].problem is None and found[name].summary and found[name].keeps for name in found)


def test_a_format_of_another_distribution_is_one_class_and_an_entry_point(
    brought, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    brought("lines", LINES, "Lines")
    (info,) = [info for info in converters.list_formats() if info.name == "lines"]
    assert (info.problem, info.summary) == (None, "One line an object, with its box")
    assert [(one.name, one.kind, one.default, one.help) for one in info.options] == [
        ("digits", "int", 1, "digits after the point")
    ]
    boxes = Dataset(LETTERS, one(Annotation(3, (1.25, 2.5, 10, 20))))
    converters.write(boxes, tmp_path / "in.json", "coco")
    words = ["convert", str(tmp_path / "in.json"), str(tmp_path / "out.lines"), "--to", "lines"]
    with pytest.raises(SystemExit) as end:
        main([*words, "--option", "digits=3", "--allow-lossy"])
    assert not end.value.code, capsys.readouterr().err
    assert (tmp_path / "out.lines").read_text() == "a.png\t24\t32\ttraffic light\t1.250,2.500,10.000,20.000\n"
    converters.convert(tmp_path / "out.lines", tmp_path / "back.json", to="coco")
    (record,) = converters.read(tmp_path / "back.json").records
    assert record.annotations[0].box == (1.25, 2.5, 10, 20)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("from dataclasses", "import no_such_package_at_all\nfrom dataclasses", "no_such_package_at_all"),
        ("class Lines", "1 / 0\nclass Lines", "division by zero"),
        ("    def write(self", "    def put(self", "abstract"),
        ("class Lines(Format[LineOptions])", "class Lines", "wanted a subclass of converters.Format"),
        ('name = "lines"', 'name = "other"', "calls itself 'other'"),
        ('"boxes"}', '"everything"}', "keeps everything, which is none of"),
        ('option(1, "digits after the point")', "1", "options without a help text or of an unknown type: digits"),
    ],
    ids=["missing package", "raises", "no write", "another class", "another name", "unknown feature", "no help"],
)
def test_a_format_that_cannot_be_used_stays_listed_with_its_reason(brought, old: str, new: str, words: str) -> None:
    assert old in LINES
    brought("lines", LINES.replace(old, new), "Lines")
    found = {info.name: info.problem for info in converters.list_formats()}
    assert found["lines"] is not None and words in found["lines"] and found["coco"] is None
    with pytest.raises(SamlabelError, match=re.escape(words)):
        converters.get("lines")


def test_a_missing_package_is_named_with_the_command_that_installs_it(brought) -> None:
    brought("needy", "import no_such_package_at_all")
    with pytest.raises(MissingDependency, match="pip install no_such_package_at_all"):
        converters.get("needy")


def test_two_formats_of_one_name_are_an_error(brought) -> None:
    brought("coco", LINES, "Lines")
    with pytest.raises(SamlabelError, match="two formats are called 'coco'"):
        converters.names()


def test_an_unknown_format_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownName, match="coco, .*yolo"):
        converters.get("cocoo")


@pytest.mark.parametrize("name", ALL)
def test_what_we_write_is_recognised_with_a_reason(name: str, tmp_path: Path) -> None:
    converters.write(drawn("hole", tmp_path / "photos"), tmp_path / "out", name)
    found, why = converters.detect_format(tmp_path / "out")
    assert found.name == name and len(why) > 10


def test_a_folder_of_nothing_known_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no format recognized"):
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


@pytest.mark.parametrize("info", converters.list_formats(), ids=lambda info: info.name)
def test_each_option_of_a_format_is_explained_and_its_default_is_a_choice(info: converters.FormatInfo) -> None:
    for chosen in info.options:
        assert chosen.help and (not chosen.choices or chosen.default in chosen.choices)


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
    assert converters.get(name).parsed([text]) == expected


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
        converters.get(name).parsed([text])
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


@pytest.mark.parametrize("words", [[], ["--from", "coco"]], ids=["recognized", "given"])
def test_a_conversion_asks_the_registry_once_for_each_side(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "in", "coco")
    asked: list[int] = []
    real = FORMATS.found
    monkeypatch.setattr(FORMATS, "found", lambda: asked.append(1) or real())
    converters.convert(tmp_path / "in", tmp_path / "python", to="labelme", images="none", from_=(words or [None])[-1])
    assert len(asked) == 2
    with pytest.raises(SystemExit) as end:
        main(["convert", str(tmp_path / "in"), str(tmp_path / "out"), "--to", "labelme", "--images", "none", *words])
    assert not end.value.code, capsys.readouterr().err
    assert len(asked) == 4
