"""A file that changed is known by its bytes, whatever its size and times say; one that did not is not read again."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import converters
from samlabel import JobOptions, OutputOptions, auto_annotate
from samlabel.errors import OutputExists
from samlabel.file_state import States, is_same, state_of
from samlabel.runs.run import Summary

PLACING = ("copy", "hardlink", "symlink")


def flat(path: Path, colour: tuple[int, int, int]) -> Path:
    """An uncompressed image of one colour: two of them differ in no byte of their size."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (60, 40), colour).save(path, format="BMP")
    return path


@pytest.fixture
def images(tmp_path: Path, fakes: ModuleType) -> Path:
    for name, colour in (("a.bmp", fakes.RED), ("b.bmp", fakes.BLUE), ("c.bmp", fakes.GREY)):
        flat(tmp_path / "images" / name, colour)
    return tmp_path / "images"


@pytest.fixture
def run(images: Path, tmp_path: Path, fakes: ModuleType) -> Callable[..., Summary]:
    def annotate(out: Path = tmp_path / "out", segmenter: Any = None, **options: Any) -> Summary:
        options = {"formats": ("coco", "yolo"), **options}
        segmenter = segmenter or fakes.Segmenter()
        return auto_annotate(
            images, output_dir=out, detector=fakes.Detector(), segmenter=segmenter, device="cpu", **options
        )

    return annotate


def swap(file: Path, new: bytes, how: str) -> None:
    """Put other bytes of the same length in a file, its size and modification time as before."""
    before = file.stat()
    assert len(new) == before.st_size and new != file.read_bytes()
    if how == "in place":
        file.write_bytes(new)
    else:
        other = file.with_name("other.tmp")
        other.write_bytes(new)
        os.replace(other, file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def categories(out: Path, name: str) -> list[int]:
    content = json.loads((out / "coco" / "annotations.json").read_text(encoding="utf-8"))
    ids = [one["id"] for one in content["images"] if one["file_name"] == name]
    return [one["category_id"] for one in content["annotations"] if one["image_id"] in ids]


HOW = ("in place", "renamed over")


@pytest.mark.parametrize("how", HOW)
def test_an_image_swapped_between_runs_is_labeled_anew(
    images: Path, tmp_path: Path, run: Callable[..., Summary], how: str
) -> None:
    run()
    swap(images / "a.bmp", (images / "b.bmp").read_bytes(), how)
    assert run().annotated == 1
    assert categories(tmp_path / "out", "a.bmp") == [7]
    assert (tmp_path / "out/yolo/images/a.bmp").read_bytes() == (images / "a.bmp").read_bytes()


@pytest.mark.parametrize("placed", PLACING)
def test_an_image_swapped_for_one_of_the_same_labels_is_placed_anew(
    images: Path, tmp_path: Path, run: Callable[..., Summary], placed: str
) -> None:
    options = {"formats": ("yolo",), "output": OutputOptions(place_images=placed)}
    run(**options)
    swap(images / "c.bmp", flat(tmp_path / "grey.bmp", (129, 128, 128)).read_bytes(), "renamed over")
    run(**options)
    assert (tmp_path / "out/yolo/images/c.bmp").read_bytes() == (images / "c.bmp").read_bytes()


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("name", ["coco/annotations.json", "yolo/labels/a.txt", "yolo/images/a.bmp"])
def test_an_edited_file_of_the_output_is_not_overwritten(
    images: Path, tmp_path: Path, run: Callable[..., Summary], fakes: ModuleType, name: str, how: str
) -> None:
    run()
    file = tmp_path / "out" / name
    text = file.read_bytes()
    theirs = text[:-3] + bytes(reversed(text[-3:])) if name.startswith("coco") else bytes([text[0] ^ 64]) + text[1:]
    swap(file, theirs, how)
    flat(images / "d.bmp", fakes.RED)
    with pytest.raises(OutputExists, match="changed since samlabel wrote it"):
        run()
    assert file.read_bytes() == theirs
    run(output=OutputOptions(overwrite=True))
    assert [kept.read_bytes() for kept in (tmp_path / "out/kept").rglob(file.name)] == [theirs]


class Opened:
    """Files opened while it is on; an audit hook sees each, whoever opens it."""

    def __init__(self) -> None:
        self.on = False
        self.names: list[str] = []
        sys.addaudithook(self._see)

    def _see(self, event: str, arguments: Any) -> None:
        if self.on and event == "open" and isinstance(arguments[0], (str, os.PathLike)):
            self.names.append(os.path.basename(os.fspath(arguments[0])))

    def during(self, call: Callable[[], Any]) -> list[str]:
        """The names of the images that a call opened."""
        self.on, self.names = True, []
        try:
            call()
        finally:
            self.on = False
        return sorted(name for name in self.names if name.endswith((".bmp", ".txt")) and name != "classes.txt")


@pytest.fixture(scope="module")
def opened() -> Iterator[Opened]:
    yield Opened()


@pytest.mark.parametrize("placed", ["copy", "symlink"])
def test_a_rerun_reads_no_image_and_no_label_again(run: Callable[..., Summary], opened: Opened, placed: str) -> None:
    run(output=OutputOptions(place_images=placed))
    assert opened.during(lambda: run(output=OutputOptions(place_images=placed))) == []


def test_a_rerun_after_one_more_image_reads_only_that_one(
    images: Path, run: Callable[..., Summary], opened: Opened, fakes: ModuleType
) -> None:
    run()
    flat(images / "d.bmp", fakes.RED)
    assert {name for name in opened.during(run) if name.endswith(".bmp")} == {"d.bmp"}
    assert opened.during(run) == []


@pytest.mark.parametrize("placed", PLACING)
def test_a_copied_folder_is_read_once_and_nothing_of_it_is_redone(
    images: Path, tmp_path: Path, run: Callable[..., Summary], opened: Opened, placed: str
) -> None:
    run(output=OutputOptions(place_images=placed))
    for name in ("images", "out"):
        shutil.copytree(tmp_path / name, tmp_path / "new" / name, symlinks=True)
        shutil.rmtree(tmp_path / name)
        shutil.move(tmp_path / "new" / name, tmp_path / name)
    before = (tmp_path / "out/coco/annotations.json").read_bytes()
    assert run(output=OutputOptions(place_images=placed)).annotated == 0
    assert (tmp_path / "out/coco/annotations.json").read_bytes() == before
    assert opened.during(lambda: run(output=OutputOptions(place_images=placed))) == []


def older(out: Path) -> None:
    """Hidden files as the version before wrote them: size and time alone, and no hash of an image."""
    import zlib

    memory = out / ".samlabel" / "outputs.json"
    known = json.loads(memory.read_text(encoding="utf-8"))
    for one in known.values():
        for file, (*state, sha256) in one["files"].items():
            one["files"][file] = [*state[:2], None if file.endswith(".bmp") else sha256]
        one["pictures"] = {file: state[:2] for file, state in one["pictures"].items()}
    memory.write_text(json.dumps(known))
    journal = out / ".samlabel" / "journal.jsonl"
    lines = []
    for line in journal.read_bytes().splitlines():
        head, _, body = line[9:].partition(b"\t")
        said = json.loads(head)
        line = json.dumps({**said, "stat": said["stat"][:2]}, separators=(",", ":")).encode() + b"\t" + body
        lines.append(f"{zlib.crc32(line):08x} ".encode() + line + b"\n")
    journal.write_bytes(b"".join(lines))


def test_hidden_files_of_the_version_before_are_read_and_hashes_decide(
    images: Path, tmp_path: Path, run: Callable[..., Summary], opened: Opened
) -> None:
    run()
    older(tmp_path / "out")
    assert run().annotated == 0
    assert not [name for name in opened.during(run) if name.endswith(".txt")]
    older(tmp_path / "out")
    swap(images / "a.bmp", (images / "b.bmp").read_bytes(), "in place")
    assert run().annotated == 1 and categories(tmp_path / "out", "a.bmp") == [7]


class Meddler:
    """A segmenter that changes an image of the run when it segments another."""

    def __init__(self, segmenter: Any, meddle: Callable[[], None]) -> None:
        self.info = segmenter.info
        self._segmenter, self._meddle = segmenter, meddle
        self.segment, self.generate = segmenter.segment, segmenter.generate

    def embed(self, images: Any) -> Any:
        if any(image.path == "b.bmp" for image in images):
            self._meddle()
        return self._segmenter.embed(images)


def test_an_image_that_changes_after_it_was_read_fails_alone(
    images: Path, tmp_path: Path, run: Callable[..., Summary], fakes: ModuleType
) -> None:
    new = (images / "b.bmp").read_bytes()
    meddler = Meddler(fakes.Segmenter(), lambda: swap(images / "a.bmp", new, "in place"))
    summary = run(segmenter=meddler, job=JobOptions(workers=1))
    assert [(one.path, one.stage) for one in summary.failures] == [("a.bmp", "write")]
    assert "changed since it was labeled; run the same command again" in summary.failures[0].reason
    assert (summary.exit_code, summary.annotated, summary.failed) == (3, 2, 1)
    assert not (tmp_path / "out/yolo/images/a.bmp").exists() and categories(tmp_path / "out", "b.bmp") == [7]
    assert "a.bmp" not in (tmp_path / "out/coco/annotations.json").read_text(encoding="utf-8")
    again = run()
    assert (again.exit_code, again.annotated) == (0, 1) and categories(tmp_path / "out", "a.bmp") == [7]
    assert (tmp_path / "out/yolo/images/a.bmp").read_bytes() == new


def test_an_image_that_is_saved_again_with_the_same_bytes_is_no_failure(
    images: Path, run: Callable[..., Summary], fakes: ModuleType
) -> None:
    same = (images / "a.bmp").read_bytes()
    summary = run(segmenter=Meddler(fakes.Segmenter(), lambda: (images / "a.bmp").write_bytes(same) and None))
    assert (summary.exit_code, summary.annotated) == (0, 3)


@pytest.mark.parametrize("gone", [False, True], ids=["changed", "gone"])
@pytest.mark.parametrize("placed", PLACING)
@pytest.mark.parametrize("format", ["yolo", "sa1b"])
def test_an_image_that_changes_while_labels_are_written_is_noticed_when_it_is_placed(
    images: Path,
    tmp_path: Path,
    run: Callable[..., Summary],
    monkeypatch: pytest.MonkeyPatch,
    format: str,
    placed: str,
    gone: bool,
) -> None:
    new, update = (images / "b.bmp").read_bytes(), converters.update

    def late(*arguments: Any, **options: Any) -> Any:
        if (images / "a.bmp").exists() and (images / "a.bmp").read_bytes() != new:
            (images / "a.bmp").unlink() if gone else swap(images / "a.bmp", new, "in place")
        return update(*arguments, **options)

    monkeypatch.setattr("samlabel.formats.update", late)
    summary = run(formats=("coco", format), output=OutputOptions(place_images=placed))
    assert [(one.path, one.stage) for one in summary.failures] == [("a.bmp", "write")] and summary.exit_code == 3
    names = {file.stem for file in (tmp_path / "out").rglob("*") if ".samlabel" not in file.parts}
    assert "a" not in names and "b" in names
    assert "a.bmp" not in (tmp_path / "out/coco/annotations.json").read_text(encoding="utf-8")
    assert not list((tmp_path / "out").glob(".samlabel-*"))


def test_an_image_that_changes_before_it_is_embedded_is_noticed(
    images: Path, tmp_path: Path, run: Callable[..., Summary], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow")
    new, write = (images / "b.bmp").read_bytes(), converters.write

    def late(dataset: Any, path: Path, *, format: str, **options: Any) -> Any:
        if (images / "a.bmp").read_bytes() != new:
            swap(images / "a.bmp", new, "in place")
        return write(dataset, path, format=format, **{**options, "pictures": "embed"})

    monkeypatch.setattr("samlabel.formats.write", late)
    assert [one.path for one in run(formats=("parquet",)).failures] == ["a.bmp"]
    monkeypatch.undo()
    found = converters.read(tmp_path / "out" / "parquet", pictures=True)
    assert [record.path for record in found.records] == ["b.bmp", "c.bmp"]


def test_a_person_s_labels_stay_when_their_image_changed_and_is_copied(
    images: Path, tmp_path: Path, run: Callable[..., Summary]
) -> None:
    run()
    file = tmp_path / "out/yolo/labels/a.txt"
    file.write_text("0 0.5 0.5 0.25 0.25\n")
    run()
    theirs = file.read_text()
    swap(images / "a.bmp", (images / "b.bmp").read_bytes(), "in place")
    summary = run()
    assert [one.kind for one in summary.conflicts] == ["picture-changed"] and summary.failed == 0
    assert file.read_text() == theirs
    assert (tmp_path / "out/yolo/images/a.bmp").read_bytes() == (images / "a.bmp").read_bytes()


def test_an_image_that_changes_under_its_hard_link_is_no_edit_of_the_output(
    images: Path, tmp_path: Path, run: Callable[..., Summary]
) -> None:
    run(output=OutputOptions(place_images="hardlink"))
    swap(images / "a.bmp", (images / "b.bmp").read_bytes(), "in place")
    assert run(output=OutputOptions(place_images="hardlink")).annotated == 1
    assert (tmp_path / "out/yolo/images/a.bmp").samefile(images / "a.bmp")


@pytest.mark.skipif(os.name == "nt", reason="no change time there")
def test_a_state_shows_sameness_only_with_all_of_its_fields(tmp_path: Path) -> None:
    file = flat(tmp_path / "a.bmp", (1, 2, 3))
    now = state_of(file)
    assert is_same(now, now) and is_same(list(now), now)
    for known in ((), now[:2], now[:3], (*now, 1), (now[0], now[1], now[2] - 1, now[3]), (*now[:3], now[3] + 1)):
        assert not is_same(known, now)
    assert not is_same(now[:2], now[:2])  # as where there is no change time


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 3}', '{"a": ["x", "y"]}', '{"a": [[1]]}', "null"])
def test_states_that_cannot_be_read_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "states.json").write_text(text)
    assert not States(tmp_path / "states.json").of("a", "x")
