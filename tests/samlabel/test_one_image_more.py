"""One image more in a run that was finished costs about itself, and ends with the bytes of a run from the start."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from samlabel import OutputOptions, auto_annotate, formats
from samlabel.errors import FormatError
from samlabel.runs.run import Summary

IMAGEWISE = [name for name in formats.names() if isinstance(formats.get(name), formats.ImagewiseFormat)]
PLACING = ("copy", "hardlink", "symlink", "none")
CHANGES = ("added", "another image", "removed", "name taken by another", "edited", "file gone", "notes damaged")
OVER_ALL = {  # files that say something of every image
    "labelme": {"labels.txt"},
    "png": {"objects.json"},
    "sa1b": {"samlabel.jsonl"},
    "voc": {"labelmap.txt", "ImageSets/Main/trainval.txt", "ImageSets/Segmentation/trainval.txt"},
    "yolo": {"data.yaml"},
}
Run = Callable[..., Summary]


@pytest.fixture
def run(tmp_path: Path, fakes: ModuleType) -> Run:
    def run(
        folder: Path,
        out: Path,
        *names: str,
        images: Any = None,
        overwrite: bool = False,
        update: bool = False,
        **options: Any,
    ) -> Summary:
        models = {"detector": fakes.Detector(), "segmenter": fakes.Segmenter(), "device": "cpu"}
        output = OutputOptions(place_images=images, overwrite=overwrite, update=update)
        return auto_annotate(folder, output_dir=out, formats=names, output=output, **models, **options)

    return run


def draw(fakes: ModuleType, folder: Path, *names: str) -> Path:
    for name in names:
        fakes.draw(folder / name, (2, 3, 20, 30, fakes.RED), (30, 5, 50, 20, fakes.BLUE))
    return folder


def contents(out: Path) -> dict[str, bytes | str]:
    """Every file of an output, links by where they lead; nothing hidden."""
    files = [file for file in sorted(out.rglob("*")) if ".samlabel" not in file.parts and not file.is_dir()]
    return {
        file.relative_to(out).as_posix(): os.readlink(file) if file.is_symlink() else file.read_bytes()
        for file in files
    }


def inodes(out: Path) -> dict[str, int]:
    return {name: (out / name).lstat().st_ino for name in contents(out)}


@pytest.mark.parametrize("count", [3, 12])
@pytest.mark.parametrize("name", IMAGEWISE)
def test_only_the_files_of_a_new_image_and_those_over_all_are_written(
    tmp_path: Path, fakes: ModuleType, run: Run, name: str, count: int
) -> None:
    images = draw(fakes, tmp_path / "images", *(f"{number:03}.png" for number in range(count)))
    run(images, tmp_path / "out", name)
    before = inodes(tmp_path / "out" / name)
    draw(fakes, images, "new.png")
    run(images, tmp_path / "out", name)
    after = inodes(tmp_path / "out" / name)
    written = {file for file, inode in after.items() if before.get(file) != inode}
    of_all = {file for file in written if "new" not in file}
    assert before.keys() < after.keys() and of_all <= OVER_ALL[name]
    assert 0 < len(written - of_all) <= 4


@pytest.mark.parametrize("name", IMAGEWISE)
@pytest.mark.parametrize(
    ("change", "placing"),
    [(change, None) for change in CHANGES] + [(change, how) for change in CHANGES[:2] for how in PLACING],
)
def test_files_are_those_of_a_run_from_the_start(
    tmp_path: Path, fakes: ModuleType, run: Run, name: str, placing: str | None, change: str
) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    draw(fakes, images, "b.png", "deep/c.png", "deep/d.png")
    fakes.draw(images / "nothing.png")
    options: dict[str, Any] = {"images": placing}
    first = run(images, out, name, **options)
    of_b = next(
        file for file in contents(out / name) if "b." in file and not file.startswith(("images", "JPEG", "b.png"))
    )
    if change == "added":
        draw(fakes, images, "a.png", "deep/new.png")
    elif change == "removed":
        (images / "deep/c.png").unlink()
    elif change == "another image":
        fakes.draw(images / "deep/c.png", (1, 1, 9, 9, fakes.BLUE))
    elif change == "name taken by another":
        draw(fakes, images, "b.bmp")
    elif change == "edited":
        (out / name / of_b).write_bytes(b"no longer of this format")
        draw(fakes, images, "new.png")
        options["overwrite"] = True
    elif change == "file gone":
        (out / name / of_b).unlink()
    else:
        (out / f".samlabel/made-{name}.jsonl").write_bytes(b'["", {}]\n' * 9)
        draw(fakes, images, "new.png")
    again = run(images, out, name, **options)
    fresh = run(images, tmp_path / "fresh", name, images=placing)
    assert contents(out / name) == contents(tmp_path / "fresh" / name)
    assert again.losses == fresh.losses and again.objects == fresh.objects
    assert bool(again.kept) == (change == "edited") and first.failed == again.failed == 0
    before = inodes(out)
    run(images, out, name, images=placing)
    assert inodes(out) == before  # nothing is left to write


@pytest.mark.parametrize("name", IMAGEWISE)
def test_an_output_of_a_version_that_noted_no_images_is_written_anew(
    tmp_path: Path, fakes: ModuleType, run: Run, name: str
) -> None:
    images, out = draw(fakes, tmp_path / "images", "a.png", "b.png"), tmp_path / "out"
    run(images, out, name)
    known = json.loads((out / ".samlabel/outputs.json").read_text())
    del known[name]["images"]
    (out / ".samlabel/outputs.json").write_text(json.dumps(known))
    (out / f".samlabel/made-{name}.jsonl").unlink()
    draw(fakes, images, "new.png")
    assert run(images, out, name).images == 3
    run(images, tmp_path / "fresh", name)
    assert contents(out / name) == contents(tmp_path / "fresh" / name)


def test_where_files_have_one_name_only_copies_are_taken_over(
    tmp_path: Path, fakes: ModuleType, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object, **__: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    images, out = draw(fakes, tmp_path / "images", "a.png", "b.png"), tmp_path / "out"
    run(images, out, "yolo")
    draw(fakes, images, "c.png")
    run(images, out, "yolo")
    run(images, tmp_path / "fresh", "yolo")
    assert contents(out / "yolo") == contents(tmp_path / "fresh" / "yolo")
    assert run(images, out, "yolo").kept == ()  # none counts as edited


def test_a_moved_output_with_moved_images_is_taken_over_as_well(tmp_path: Path, fakes: ModuleType, run: Run) -> None:
    draw(fakes, tmp_path / "old/images", "a.png", "b.png")
    run(tmp_path / "old/images", tmp_path / "old/out", "yolo")
    shutil.copytree(tmp_path / "old", tmp_path / "new", copy_function=shutil.copy2)
    before = inodes(tmp_path / "new/out/yolo")
    run(draw(fakes, tmp_path / "new/images", "c.png"), tmp_path / "new/out", "yolo")
    after = inodes(tmp_path / "new/out/yolo")
    assert {name for name in before if after[name] != before[name]} == {"data.yaml"}


def test_other_options_are_written_in_full(tmp_path: Path, fakes: ModuleType, run: Run) -> None:
    images, out = draw(fakes, tmp_path / "images", "a.png", "b.png"), tmp_path / "out"
    run(images, out, "yolo", images="none")
    before = inodes(out / "yolo")
    run(images, out, "yolo", images="copy", update=True)
    assert not {*before.values()} & {*inodes(out / "yolo").values()}


@pytest.mark.parametrize("name", IMAGEWISE)
def test_after_a_swap_that_was_cut_off_nothing_is_taken_over(
    tmp_path: Path, fakes: ModuleType, run: Run, name: str
) -> None:
    images, out = draw(fakes, tmp_path / "images", "a.png", "b.png"), tmp_path / "out"
    run(images, out, name)
    noted = out / ".samlabel/outputs.json"
    before = json.loads(noted.read_text())
    fakes.draw(images / "b.png", (1, 1, 9, 9, fakes.BLUE))
    run(images, out, name)
    before[name]["next"] = json.loads(noted.read_text())[name]["files"]
    noted.write_text(json.dumps(before))  # as it is between the two renames and the note that they are done
    draw(fakes, images, "b.png", "c.png")
    assert run(images, out, name).kept == ()
    run(images, tmp_path / "fresh", name)
    assert contents(out / name) == contents(tmp_path / "fresh" / name)


@pytest.mark.parametrize(
    "says",
    [
        {"files": ["../../theirs.txt"]},
        {"files": [["a"]]},
        {"files": 7},
        {"image": "../../theirs.txt"},
        {"image": {}},
        {"name": "../x.png"},
        {"name": None},
        {"objects": "many"},
        {"losses": {"image-renamed": "x"}},
        {"tallies": {}},
        {"tallies": {"boxes": "x"}},
        {"line": 3},
        {"further": 1},
    ],
    ids=str,
)
def test_notes_that_somebody_else_made_are_not_followed(
    tmp_path: Path, fakes: ModuleType, run: Run, says: dict[str, Any]
) -> None:
    images, out = draw(fakes, tmp_path / "images", "a.png", "b.png"), tmp_path / "out"
    (tmp_path / "theirs.txt").write_text("theirs")
    run(images, out, "yolo")
    known, notes = json.loads((out / ".samlabel/outputs.json").read_text()), out / ".samlabel/made-yolo.jsonl"
    lines = [json.loads(line) for line in notes.read_text().splitlines()]
    notes.write_text("")
    for digest, made in lines:
        known["yolo"]["images"][made["path"]][1] = len(notes.read_bytes())
        notes.write_text(notes.read_text() + json.dumps([digest, {**made, **says}]) + "\n")
    (out / ".samlabel/outputs.json").write_text(json.dumps(known))
    draw(fakes, images, "c.png")
    run(images, out, "yolo")
    run(images, tmp_path / "fresh", "yolo")
    assert contents(out / "yolo") == contents(tmp_path / "fresh" / "yolo")
    assert (tmp_path / "theirs.txt").read_text() == "theirs"


@pytest.mark.parametrize("images", [7, {"a.png": 7}, {"a.png": [1, 2]}, {"a.png": ["x", -1]}, {"a.png": ["x", 1, 2]}])
def test_a_table_of_images_that_samlabel_did_not_write_is_refused(
    tmp_path: Path, fakes: ModuleType, run: Run, images: Any
) -> None:
    folder, out = draw(fakes, tmp_path / "images", "a.png"), tmp_path / "out"
    run(folder, out, "yolo")
    known = json.loads((out / ".samlabel/outputs.json").read_text())
    known["yolo"]["images"] = images
    (out / ".samlabel/outputs.json").write_text(json.dumps(known))
    with pytest.raises(FormatError, match="samlabel did not write this"):
        run(folder, out, "yolo")
