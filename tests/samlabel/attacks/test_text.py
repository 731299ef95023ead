"""Text of strangers: no name in a file gets a terminal or a CI system to do anything."""

from __future__ import annotations

import ast
import io
import json
import logging
import re
import sys
import unicodedata
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from samlabel.cli import main
from samlabel.cli._console import print_table, say, say_annotation, tamed_libraries
from samlabel.cli._progress import Shown
from samlabel.review.overlay import draw
from samlabel.text import line, printable, to_json
from samlabel.types import Annotation, Category

ROOT = Path(__file__).resolve().parents[3]
Run = Callable[..., tuple[int, str, str]]

NAMES = {
    "colour": "red\x1b[31m",
    "window title": "\x1b]0;owned\x07",
    "clear screen in one byte": "\x9b2J",
    "back to the start of the line": "ok\rpassed",
    "backspaces": "bad\x08\x08\x08good",
    "line feed": "a\n5 of 5 images labelled",
    "other line ends": "a\x0bb\x0cc\x85d\u2028e\u2029f",
    "tab": "a\tb",
    "nothing": "a\x00b\x7f",
    "right to left": "\u202egnp.exe",
    "isolates": "\u2066a\u2069\u200f",
    "unseen": "a\u200b\ufeff\u2060\U000e0041b",
    "workflow command": "::error::fake",
    "workflow command after spaces": "  ::stop-commands::x",
    "workflow command in a line of its own": "a\n::set-output name=x::y",
    "older workflow command": "a ##[add-mask]x",
    "Azure": "##vso[task.setvariable variable=x]y",
    "TeamCity": "##teamcity[buildStop]",
    "half a character": "a\udc9bb",
}
UNSAFE = re.compile(r"^\s*::|##\w*\[")


def assert_harmless(text: str, *, annotations: bool = False) -> None:
    """`text` is what a process printed: nothing in it is obeyed by a terminal, and no line by a CI system."""
    for shown in text.split("\n"):
        bad = [sign for sign in shown if unicodedata.category(sign) in ("Cc", "Cf", "Zl", "Zp", "Cs") and sign != "\t"]
        assert bad == [], f"{bad!r} in {shown!r}"
        ours = annotations and re.match(r"::(error|warning|notice) file=[^:,]*,title=[a-z-]+::", shown)
        assert ours or not UNSAFE.search(shown), shown


@pytest.fixture(params=NAMES.values(), ids=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main([str(word) for word in words])
        return (int(end.value.code or 0), *capsys.readouterr())

    return call


def dataset(folder: Path, *names: str, images: Sequence[str] = ("a.png",)) -> Path:
    """A COCO file with classes of these names, each with an object that reaches out of its image, in each image."""
    from PIL import Image

    folder.mkdir(exist_ok=True)
    Image.new("RGB", (60, 40)).save(folder / "a.png")
    places = [(image, category) for image in range(len(images)) for category in range(len(names))]
    content = {
        "images": [{"id": n, "file_name": image, "width": 60, "height": 40} for n, image in enumerate(images)],
        "annotations": [
            {"id": n, "image_id": image, "category_id": category, "bbox": [2, 3, 90, 20], "area": 1, "iscrowd": 0}
            for n, (image, category) in enumerate(places)
        ],
        "categories": [{"id": n, "name": name} for n, name in enumerate((*names, *(f"{name} 2" for name in names)))],
    }
    (folder / "labels.json").write_text(json.dumps(content))
    return folder / "labels.json"


COMMANDS: dict[str, tuple[str, ...]] = {
    "stats": ("stats", "{file}"),
    "check": ("check", "{file}", "--images", "{folder}"),
    "check sarif": ("check", "{file}", "--images", "{folder}", "--output", "sarif"),
    "check json": ("check", "{file}", "--images", "{folder}", "--json"),
    "check github": ("check", "{file}", "--images", "{folder}", "--output", "github"),
    "convert": ("convert", "{file}", "{folder}/out", "--to", "labelme", "--allow-lossy"),
    "convert refused": ("convert", "{file}", "{folder}/out", "--to", "yolo"),
    "view": ("view", "{file}", "--out", "{folder}/view", "--images", "{folder}"),
    "filter": ("filter", "{file}", "{folder}/out.json", "--classes", "no such class"),
    "merge": ("merge", "{file}", "{file}", "--out", "{folder}/out.json", "--rename", "x=y"),
    "split": ("split", "{file}", "{folder}/parts", "--part", "train=1"),
}


# Names that readers take; what they say of the others is one line, see below.
TAKEN = [name for name in NAMES.values() if name.strip() == name and "\x00" not in name and "\udc9b" not in name]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("of", ["classes", "images"])
def test_what_a_command_prints_is_harmless(run: Run, tmp_path: Path, command: str, of: str) -> None:
    names, images = (TAKEN, ["a.png"]) if of == "classes" else (["dog"], TAKEN)
    file = dataset(tmp_path / "set", *names, images=images)
    _, out, err = run(*(word.format(file=file, folder=file.parent) for word in COMMANDS[command]))
    assert (out + err).count("\n") and "please report it" not in err, err
    assert_harmless(out + err, annotations=command == "check github")


@pytest.mark.parametrize("command", ["stats", "check", "check github"])
def test_a_command_prints_as_many_lines_for_any_name(run: Run, tmp_path: Path, command: str, name: str) -> None:
    printed = []
    for folder, text in (("tame", "plain"), ("wild", name)):
        file = dataset(tmp_path / folder, text)
        _, out, err = run(*(word.format(file=file, folder=file.parent) for word in COMMANDS[command]))
        assert_harmless(out + err, annotations=command == "check github")
        printed.append((out + err).count("\n"))
    assert printed[0] == printed[1] or (name not in TAKEN and printed[1] <= 4)


def test_json_keeps_the_exact_name(run: Run, tmp_path: Path, name: str) -> None:
    _, out, _ = run("stats", dataset(tmp_path / "set", name), "--json")
    assert_harmless(out)
    if "\udc9b" not in name:
        assert {one["name"] for one in json.loads(out)["classes"]} == {name, f"{name} 2"}


def test_any_value_reads_back_from_json(name: str) -> None:
    for indent in (None, 1):
        text = to_json({name: [name, "é 日本", "##"]}, indent=indent)
        assert_harmless(text)
        assert json.loads(text) == {name: [name, "é 日本", "##"]} and "é 日本" in text


@pytest.mark.parametrize(
    "text",
    ["cat", "C:\\photos\\a.png", "naïve 日本 🐕", "a: b:: c", "# 1", "\u0645\u06cc\u200c\u062e\u0648"],
    ids=["word", "path of Windows", "letters", "colons", "hash", "Persian"],
)
def test_plain_text_stays_as_it_is(text: str) -> None:
    assert printable(text) == line(text) == text


def test_an_error_quotes_a_name_in_one_harmless_line(run: Run, tmp_path: Path, name: str) -> None:
    file = tmp_path / "labels.json"
    file.write_text(json.dumps({"images": [], "annotations": [{"id": name, "image_id": name}], "categories": []}))
    code, out, err = run("convert", file, tmp_path / "out", "--to", "yolo")
    assert code and err.count("\n") == 1
    assert_harmless(out + err)


def test_a_word_of_the_command_line_is_quoted_in_one_harmless_line(run: Run, name: str) -> None:
    _, out, err = run("convert", f"no {name}", "out", "--to", "yolo")
    assert err.count("\n") == 1
    assert_harmless(out + err)


@pytest.mark.skipif(sys.platform == "win32", reason="names that Windows does not have")
@pytest.mark.parametrize("log", [False, True], ids=["progress", "log on stderr"])
def test_names_of_broken_images_are_harmless_in_progress_log_and_table(
    run: Run, tmp_path: Path, log: bool, fakes: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "images"
    fakes.draw(folder / "good.png")
    for text in NAMES.values():
        if "\0" not in text:
            (folder / f"{text}.png").write_bytes(b"?")
    words = ["annotate", folder, "--out", tmp_path / "out", "--device", "cpu", "--detector", "none"]
    code, out, err = run(*words, "--points-per-side", "1", *(["--log", "-"] if log else []))
    assert code == 3 and "failed" in out
    assert_harmless(out + err)


def test_progress_on_a_terminal_is_harmless(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr("samlabel.progress.FIRST", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    terminal = sys.stderr
    with Shown(quiet=False) as shown, shown.stage(f"writing {name}", total=2) as advance:
        advance()
        shown.tell(f"failed: {name}.png: cannot be read: {name}")
    said = terminal.getvalue()  # type: ignore[attr-defined]
    assert "failed: " in said and ".png: cannot be read" in "".join(said.split("\n"))
    assert_harmless(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", said))


def test_a_table_on_a_terminal_is_harmless(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("TERM", "dumb")
    print_table(("class", "objects"), [(name, 1)])
    assert_harmless(sys.stdout.getvalue())  # type: ignore[attr-defined]


@pytest.mark.parametrize("speak", ["logging", "warnings"])
def test_what_libraries_say_is_one_harmless_line(name: str, speak: str, capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.Logger("somebody")
    logger.addHandler(logging.StreamHandler(sys.stderr))
    with tamed_libraries(), warnings.catch_warnings():
        warnings.simplefilter("always")
        if speak == "logging":
            logger.warning("class %s is odd", name)
        else:
            warnings.warn(f"class {name} is odd", stacklevel=1)
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "is odd" in err
    assert_harmless(err)


def test_an_annotation_for_github_holds_one_command(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    say_annotation("error", name, file=name, title="image-size")
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert_harmless(out, annotations=True)


def test_say_prints_one_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    say(name)
    say(f"  {name}")
    out = capsys.readouterr().out
    assert out.count("\n") == 2
    assert_harmless(out)


def test_a_page_shows_names_without_their_power(run: Run, tmp_path: Path, name: str) -> None:
    file = dataset(tmp_path / "set", name)
    run("view", file, "--out", tmp_path / "view", "--images", tmp_path / "set")
    page = (tmp_path / "view" / "index.html").read_bytes().decode("utf-8")
    assert [
        sign for sign in page if unicodedata.category(sign) in ("Cc", "Cf", "Zl", "Zp", "Cs") and sign != "\n"
    ] == []


def test_an_overlay_draws_a_name_as_it_is_printed(name: str) -> None:
    pixels = np.zeros((400, 600, 3), np.uint8)
    box = Annotation(category_id=1, box=(10, 100, 590, 390))
    wild, tame = (draw(pixels, [box], [Category(1, text)]).picture for text in (name, printable(name)))
    assert np.array_equal(np.asarray(wild), np.asarray(tame))


def test_nothing_of_the_commands_prints_but_the_console() -> None:
    found = []
    for file in sorted((ROOT / "samlabel").rglob("*.py")):
        if file.parent.name == "training" or file.name == "_console.py":
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and re.fullmatch(
                r"print|typer\.(echo|secho)|sys\.std(out|err)\.write|.*console\.print", ast.unparse(node.func), re.I
            ):
                found.append(f"{file.relative_to(ROOT)}: {ast.unparse(node)[:60]}")
    assert found == [
        "samlabel/cli/__init__.py: typer.echo(f'samlabel {__version__}')",
        "samlabel/cli/__init__.py: typer.echo(context.get_help(), err=True)",
    ]
