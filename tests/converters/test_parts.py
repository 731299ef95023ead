"""Large sets that several processes share: what comes out is what one process makes, and none is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import converters
from converters import parallel
from converters.io import spool
from samlabel.errors import SamlabelError
from samlabel.types import ImageRecord
from tests.converters.test_scale import ring

pytestmark = pytest.mark.skipif(os.name != "posix", reason="one process does it all there")
HEIGHT, WIDTH = 120, 160
ROOT = Path(__file__).resolve().parents[2]


def coco_file(file: Path, *, images: int = 40, objects: int = 32) -> Path:
    """Polygons, parts, crowds, boxes, empty images, and names of which some want the same label file."""
    names = [f"{'z/' if n > images // 2 else ''}{n // 3:03d}.{('jpg', 'png', 'bmp')[n % 3]}" for n in range(images)]
    table = [{"id": n, "file_name": names[n], "height": HEIGHT, "width": WIDTH} for n in range(images)]
    found: list[dict[str, Any]] = []
    for number in range(images * objects):
        image = number * 7 % images  # not in the order of the images
        if image % 8 == 5:
            continue
        segmentation: Any = [ring(number, 5 + number % 30)]
        if number % 11 == 0:
            segmentation.append(ring(number + 17, 6))
        if number % 13 == 0:
            segmentation = {"size": [HEIGHT, WIDTH], "counts": [5, 100 + number, HEIGHT * WIDTH - 105 - number]}
        if image % 9 == 2 or number % 17 == 0:
            segmentation = []
        entry = {"id": number + 1, "image_id": image, "category_id": number % 3 + 1, "bbox": [1.5, 2, 30, 20.25]}
        found.append({**entry, "segmentation": segmentation, "iscrowd": int(number % 13 == 0)})
        if number % 19 == 0:
            found[-1]["score"] = 0.5
    classes = [{"id": n, "name": f"class {n}", "supercategory": "things"} for n in (1, 2, 3)]
    file.write_text(json.dumps({"info": {"year": 1}, "images": table, "annotations": found, "categories": classes}))
    return file


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return coco_file(tmp_path_factory.mktemp("coco") / "set.json")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return coco_file(tmp_path_factory.mktemp("coco") / "set.json", objects=16)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Small sets are divided among three processes; of each of the others, whether it brought its part to an end."""
    monkeypatch.setattr(spool, "MUCH", 1)
    monkeypatch.setattr(spool, "BEGINNING", 0)
    monkeypatch.setattr(parallel, "processes", lambda: 3)
    monkeypatch.setattr(parallel, "PATIENCE", 60.0)
    given: list[bool] = []
    real = parallel._Helper.answer

    def answer(self: Any) -> Any:
        found = real(self)
        given.append(found is not None)
        return found

    monkeypatch.setattr(parallel._Helper, "answer", answer)
    return given


def in_one(*arguments: Any, **options: Any) -> converters.Receipt:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parallel, "processes", lambda: 1)
        return converters.convert(*arguments, **options)


def files(folder: Path) -> dict[str, bytes]:
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


YOLO = {"to": "yolo", "images": "none", "allow_lossy": True}


@pytest.mark.parametrize(
    ("options", "helpers"),
    [
        (YOLO, 2),
        ({**YOLO, "outline": "traced", "crowds": "drop", "measure": "none"}, 2),
        ({**YOLO, "tolerance": 1.0, "measure": "all"}, 2),
        ({**YOLO, "allow_lossy": False, "min_iou": 0.0, "measure": "all"}, 4),
        ({"to": "labelme", "images": "none", "dry_run": True}, 2),
    ],
    ids=["yolo", "traced", "all measured", "two passes", "labelme"],
)
def test_several_processes_write_and_tell_what_one_does(
    options: dict[str, Any], helpers: int, source: Path, tmp_path: Path, answers: list[bool]
) -> None:
    receipts = {}
    for folder, convert in (("one", in_one), ("three", converters.convert)):
        (tmp_path / folder).mkdir()
        receipts[folder] = {**convert(source, tmp_path / folder / "out", **options).to_dict(), "target": ""}
    assert answers == [True] * helpers
    assert receipts["three"] == receipts["one"] and receipts["one"]["objects_in"] > 1000
    assert files(tmp_path / "three") == files(tmp_path / "one")
    assert len(files(tmp_path / "one")) == (0 if options.get("dry_run") else 41)


def test_images_that_want_the_same_label_file_are_renamed_alike_in_every_part(
    source: Path, tmp_path: Path, answers: list[bool]
) -> None:
    receipt = converters.convert(source, tmp_path / "out", measure="none", **YOLO)
    assert answers == [True, True] and receipt.notes["image-renamed"] > 20
    assert len(list((tmp_path / "out" / "labels").rglob("*.txt"))) == receipt.images_out == 40


def test_a_small_set_starts_no_process(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "processes", lambda: 3)
    monkeypatch.setattr(parallel._Helper, "started", lambda *_: pytest.fail("a process was started"))
    assert converters.convert(source, tmp_path / "out", measure="none", **YOLO).images_out == 40


def test_a_lenient_reader_works_alone(source: Path, tmp_path: Path, answers: list[bool]) -> None:
    converters.convert(source, tmp_path / "out", lenient=True, measure="none", **YOLO)
    assert answers == []


@pytest.mark.parametrize("script", ["exit 3", "kill -9 $$", "echo nothing", "exec sleep 60", None], ids=str)
def test_what_another_process_does_not_finish_this_one_does(
    script: str | None, small: Path, tmp_path: Path, answers: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = in_one(small, tmp_path / "one", measure="none", **YOLO)
    other = tmp_path / "python"
    if script is not None:
        other.write_text(f"#!/bin/sh\n{script}\n")
        other.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(other))
    monkeypatch.setattr(parallel, "PATIENCE", 0.5)
    started: list[subprocess.Popen] = []
    real = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: started.append(real(*a, **k)) or started[-1])
    receipt = converters.convert(small, tmp_path / "three", measure="none", **YOLO)
    assert answers == ([] if script is None else [False, False])
    assert all(process.returncode is not None for process in started)
    assert files(tmp_path / "three") == files(tmp_path / "one")
    assert {**receipt.to_dict(), "target": ""} == {**told.to_dict(), "target": ""}


@pytest.mark.parametrize("fault", ["class", "folder"])
def test_an_error_in_a_later_part_is_the_error_of_one_process(
    fault: str, source: Path, tmp_path: Path, answers: list[bool]
) -> None:
    content = json.loads(source.read_text())
    if fault == "class":
        content["annotations"][-3]["category_id"] = 9
        content["annotations"][-3]["image_id"] = 38
    file = tmp_path / "broken.json"
    file.write_text(json.dumps(content))
    said = []
    for convert in (in_one, converters.convert):
        target = tmp_path / f"out {len(said)}" / "yolo"
        (target / "labels").mkdir(parents=True)
        if fault == "folder":
            (target / "labels" / "z").write_text("in the way")
        with pytest.raises((SamlabelError, OSError)) as error:
            convert(file, target, measure="none", **YOLO)
        said.append((type(error.value), str(error.value).replace(str(target), "")))
        assert not list(target.rglob("*.tmp"))
    assert said[0] == said[1]
    assert answers and not all(answers)


def much(_: Any) -> bytes:
    return bytes(1_000_000)  # more than a pipe holds


class NoImages(parallel.Part):
    def __iter__(self) -> Iterator[ImageRecord]:
        return iter(())


def test_an_answer_that_nobody_waits_for_holds_nothing_up() -> None:
    helper = parallel._Helper.started(much, NoImages())
    assert helper is not None and helper._process.stdout.read(1) == parallel.LIFE
    time.sleep(0.5)
    start = time.monotonic()
    helper.end()
    assert helper._process.returncode is not None and time.monotonic() - start < parallel.PATIENCE / 2


SLOW = """
import time
from converters.formats.yolo import writer as yolo
quick = yolo._Labels._write
yolo._Labels._write = lambda *arguments: (time.sleep(0.05), quick(*arguments))[1]
"""  # a sleep ends cleanly wherever a signal comes; numpy makes a TypeError of one inside pycocotools' __array__
RUN = (
    SLOW
    + """
import sys, converters.parallel as parts, converters.io.spool as spool
path, begin = parts._BEGIN.split("; from ")
parts._BEGIN = path + chr(10) + SLOW + "from " + begin
spool.MUCH, spool.BEGINNING, parts.processes = 1, 0, lambda: 2
real = parts._Helper.__init__
def noted(self, *arguments):
    real(self, *arguments)
    open(sys.argv[1], "w").write(str(self._process.pid))
parts._Helper.__init__ = noted
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
from samlabel.cli import main
main(sys.argv[2:])
"""
)


def is_gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    status = Path(f"/proc/{process}/stat")  # ended, but nobody has asked for it yet
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.parametrize(
    ("number", "whom", "code"),
    [
        (signal.SIGINT, "group", 130),
        (signal.SIGTERM, "parent", 143),
        (signal.SIGKILL, "parent", -9),
        (signal.SIGKILL, "helper", 0),
    ],
    ids=["interrupt", "terminate", "kill", "helper killed"],
)
def test_an_end_at_any_moment_leaves_no_process_and_no_half_file(
    number: int, whom: str, code: int, small: Path, tmp_path: Path
) -> None:
    target, noted = tmp_path / "out", tmp_path / "helper"
    words = ["convert", str(small), str(target), "--to", "yolo", "--images", "none", "--allow-lossy"]
    words += ["--measure", "none"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    process = subprocess.Popen(
        [sys.executable, "-c", f"SLOW = {SLOW!r}\n{RUN}", str(noted), *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    until = time.monotonic() + 60
    while not list((target / "labels" / "z").glob("*.txt")):  # the helper's part: it is at work
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.01)
    helper = int(noted.read_text())
    if whom == "group":
        os.killpg(process.pid, number)
    else:
        os.kill(process.pid if whom == "parent" else helper, number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == code, said
    assert said.count("\n") <= 1 and "Traceback" not in said, said
    until = time.monotonic() + 20
    while not is_gone(helper):
        assert time.monotonic() < until
        time.sleep(0.05)
    if whom == "helper":
        in_one(small, tmp_path / "one", measure="none", **YOLO)
        assert {n: d for n, d in files(target).items() if not n.endswith(".tmp")} == files(tmp_path / "one")
    elif code > 0:
        assert not list(target.rglob("*.tmp"))


@pytest.mark.parametrize(
    ("environment", "executable", "wanted"),
    [
        ({}, "/usr/bin/python3.12", 3),
        ({"OMP_NUM_THREADS": "2"}, "/usr/bin/python3", 2),
        ({"OMP_NUM_THREADS": "1"}, "/usr/bin/python3", 1),
        ({}, "/opt/blender", 1),
        ({}, "", 1),
    ],
    ids=["free", "two threads", "one thread", "an application", "embedded"],
)
def test_processes_are_as_many_as_cores_and_never_many(
    environment: dict[str, str], executable: str, wanted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(sys, "executable", executable)
    assert parallel.processes() == wanted
