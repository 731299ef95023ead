"""One writer at a time: every command that writes holds its output, and lets go of it however it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import converters
from samlabel.cli import main
from samlabel.errors import UsageError
from samlabel.lock import Lock
from samlabel.types import Dataset, ImageRecord

ROOT = Path(__file__).parents[2]
COMMANDS = {
    "annotate": ["annotate", "photos", "--out", "out", "--device", "cpu"],
    "generate": ["generate", "photos", "--output", "out", "--device", "cpu"],
    "view": ["view", "labels.json", "--out", "out", "--images", "photos"],
    "convert": ["convert", "labels.json", "out", "--to", "yolo", "--image-root", "photos"],
    "filter": ["filter", "labels.json", "out", "--to", "labelme", "--image-root", "photos"],
    "merge": ["merge", "labels.json", "labels.json", "--out", "out", "--to", "voc"],
    "split": ["split", "labels.json", "out", "--to", "coco"],
    "stats": ["stats", "labels.json", "--plot", "out.svg", "--image-root", "photos"],
    "export": ["export", "nano", "--out", "out"],
}


@pytest.fixture
def here(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fakes: ModuleType) -> Path:
    """A current folder with photos and labels."""
    records = [ImageRecord(name, size) for name, size in (("a.png", (40, 60)), ("zzz.png", (40, 60)))]
    converters.write(Dataset(fakes.Detector.info.categories, records, photos), tmp_path / "labels.json", "coco")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def hidden(folder: Path) -> list[str]:
    return sorted(one.relative_to(folder).as_posix() for one in folder.rglob(".samlabel-*"))


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_a_second_writer_is_refused_in_one_line(
    here: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    target = "out.svg" if "out.svg" in words else "out"
    before = sorted(here.rglob("*"))
    with Lock(here / target), pytest.raises(SystemExit) as end:
        main(words)
    said = capsys.readouterr().err.splitlines()
    assert end.value.code == 2
    assert f"samlabel: error: {here / target}" in said[-1].replace(f"error: {target}", f"error: {here / target}")
    assert said[-1].endswith("is in use by another samlabel run; wait for it or choose another output")
    assert sorted(here.rglob("*")) == before


@pytest.mark.parametrize("name", ["view", "convert", "filter", "split", "stats"])
def test_nothing_of_the_lock_is_left_at_the_end(here: Path, name: str) -> None:
    with pytest.raises(SystemExit) as end:
        main(COMMANDS[name])
    assert end.value.code == 0 and hidden(here) == []


def test_a_refused_command_leaves_no_lock_and_no_folder(here: Path) -> None:
    with pytest.raises(SystemExit) as end:
        main(["convert", "labels.json", "new/deep/out", "--to", "yolo", "--image-root", "nowhere"])
    assert end.value.code != 0
    assert not (here / "new" / "deep" / "out" / "data.yaml").exists()


def test_a_dry_run_takes_no_lock(here: Path) -> None:
    with Lock(here / "out"), pytest.raises(SystemExit) as end:
        main([*COMMANDS["convert"], "--dry-run"])
    assert end.value.code == 0


def test_two_names_of_one_folder_are_one_target(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "other").symlink_to(tmp_path / "real")
    with Lock(tmp_path / "other"), pytest.raises(UsageError, match="in use"), Lock(tmp_path / "real" / "." / ""):
        pass


def test_neighbors_do_not_hold_each_other(tmp_path: Path) -> None:
    with Lock(tmp_path / "a.json"), Lock(tmp_path / "b.json"), Lock(tmp_path / "a"):
        assert len(hidden(tmp_path)) == 3
    assert hidden(tmp_path) == []


def test_a_killed_process_frees_its_target_and_says_what_it_had_begun(tmp_path: Path) -> None:
    target = tmp_path / "out"
    code = (
        "from samlabel.lock import Lock\n"
        f"with Lock({str(target)!r}) as lock: lock.begin('something'); print('in', flush=True); input()"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
    assert other.stdout is not None and other.stdout.readline() == b"in\n"
    with pytest.raises(UsageError, match="in use by another samlabel run"), Lock(target):
        pass
    other.kill()
    other.wait()
    other.stdout.close()
    with pytest.raises(ZeroDivisionError), Lock(target):
        raise ZeroDivisionError
    with Lock(target) as lock:
        assert lock.unfinished == "something"
    assert hidden(tmp_path) == []


def test_a_lock_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / ".samlabel-out.lock").symlink_to(tmp_path / "theirs")
    with pytest.raises(UsageError, match="is a link to"), Lock(tmp_path / "out"):
        pass
    assert (tmp_path / "theirs").read_text() == "theirs"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="a folder that its owner may not change")
def test_a_folder_alone_in_what_may_be_changed_holds_its_lock_itself(tmp_path: Path) -> None:
    (tmp_path / "mounted" / "out").mkdir(parents=True)
    (tmp_path / "mounted").chmod(0o555)
    try:
        with Lock(tmp_path / "mounted" / "out"):
            assert hidden(tmp_path) == ["mounted/out/.samlabel-out.lock"]
    finally:
        (tmp_path / "mounted").chmod(0o755)
