"""The one writer: whole files, no link followed below its folder, with descriptors of folders and without."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from samlabel.errors import SamlabelError, UsageError
from samlabel.files import OutputFolder, Scratch
from samlabel.walk import leads_out

Act = Callable[[OutputFolder, str], object]


def replace(folder: OutputFolder, name: str) -> None:
    with folder.replacing(name) as file:
        file.write(b"new")


def log(folder: OutputFolder, name: str) -> None:
    with folder.append(name) as file:
        file.write(b"new")


def swap(folder: OutputFolder, name: str) -> None:
    with folder.replacing_folder(name) as fresh:
        folder.write(f"{fresh}/a.txt", "new")


def place(how: str) -> Act:
    def act(folder: OutputFolder, name: str) -> None:
        source = folder.path.parent / "source.png"
        source.write_bytes(b"new")
        folder.place(source, name, how)

    return act


WRITES: dict[str, Act] = {
    "write": lambda folder, name: folder.write(name, "new"),
    "durable": lambda folder, name: folder.write(name, "new", durable=True),
    "replacing": replace,
    "copy": place("copy"),
    "hardlink": place("hardlink"),
    "symlink": place("symlink"),
}
ACTS: dict[str, Act] = {
    **WRITES,
    "append": log,
    "replacing_folder": swap,
    "mkdir": lambda folder, name: folder.mkdir(f"{name or '/'}/deeper"),
    "remove": lambda folder, name: folder.remove(name),
    "remove_tree": lambda folder, name: folder.remove_tree(name),
    "rename from": lambda folder, name: folder.rename(name, "elsewhere"),
    "rename to": lambda folder, name: (folder.write("mine", "new"), folder.rename("mine", name)),
    "read": lambda folder, name: folder.read(name),
    "open": lambda folder, name: folder.open(name),
}


@pytest.fixture(params=[True, False], ids=["by descriptor", "part by part"])
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> OutputFolder:
    (tmp_path / "out").mkdir()
    return OutputFolder(tmp_path / "out", by_descriptor=request.param)


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A folder of somebody else's with two files."""
    (tmp_path / "victim" / "sub").mkdir(parents=True)
    (tmp_path / "victim" / "a.txt").write_text("theirs")
    (tmp_path / "victim" / "sub" / "a.txt").write_text("theirs")
    return tmp_path / "victim"


def tree(folder: Path) -> dict[str, str]:
    return {file.relative_to(folder).as_posix(): file.read_text() for file in folder.rglob("*") if file.is_file()}


THEIRS = {"a.txt": "theirs", "sub/a.txt": "theirs"}


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
@pytest.mark.parametrize("depth", [1, 3])
def test_a_link_in_the_place_of_a_folder_is_refused_and_named(
    folder: OutputFolder, victim: Path, act: Act, depth: int
) -> None:
    way = "/".join(["a", "b", "c"][:depth])
    (folder.path / way).parent.mkdir(parents=True, exist_ok=True)
    (folder.path / way).symlink_to(victim)
    for name in (f"{way}/a.txt", f"{way}/sub/a.txt", f"{way}/new.txt"):
        with pytest.raises(UsageError, match=f"out/{way} is a link to {victim}; .*: remove the link"):
            act(folder, name)
    assert tree(victim) == THEIRS and sorted(one.name for one in victim.iterdir()) == ["a.txt", "sub"]


@pytest.mark.parametrize("act", WRITES.values(), ids=WRITES)
def test_a_link_in_the_place_of_a_file_is_replaced(folder: OutputFolder, victim: Path, act: Act) -> None:
    (folder.path / "a.txt").symlink_to(victim / "a.txt")
    act(folder, "a.txt")
    assert tree(victim) == THEIRS
    assert (folder.path / "a.txt").read_bytes() == b"new"


@pytest.mark.parametrize("act", [ACTS[name] for name in ("append", "read", "open")], ids=["append", "read", "open"])
def test_a_link_is_neither_read_nor_appended_to(folder: OutputFolder, victim: Path, act: Act) -> None:
    (folder.path / "a.txt").symlink_to(victim / "a.txt")
    with pytest.raises(UsageError, match="a.txt is a link to"):
        act(folder, "a.txt")
    assert tree(victim) == THEIRS


@pytest.mark.parametrize("what", ["remove", "remove_tree"])
def test_a_link_is_removed_and_not_what_it_leads_to(folder: OutputFolder, victim: Path, what: str) -> None:
    (folder.path / "link").symlink_to(victim)
    ACTS[what](folder, "link")
    assert tree(victim) == THEIRS and folder.kind("link") is None


def test_a_tree_is_removed_without_what_links_in_it_lead_to(folder: OutputFolder, victim: Path) -> None:
    (folder.path / "deep" / "deeper").mkdir(parents=True)
    (folder.path / "deep" / "deeper" / "link").symlink_to(victim)
    (folder.path / "deep" / "a.txt").write_text("mine")
    folder.remove_tree("deep")
    assert tree(victim) == THEIRS and os.listdir(folder.path) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names")
@pytest.mark.parametrize("act", [ACTS[name] for name in ("append", "read", "open")], ids=["append", "read", "open"])
def test_a_pipe_in_the_place_of_a_file_is_refused_at_once(folder: OutputFolder, act: Act) -> None:
    os.mkfifo(folder.path / "a.txt")
    with pytest.raises(UsageError, match="a.txt is no regular file"):
        act(folder, "a.txt")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names")
@pytest.mark.parametrize("act", WRITES.values(), ids=WRITES)
def test_a_pipe_in_the_place_of_a_file_is_replaced(folder: OutputFolder, act: Act) -> None:
    os.mkfifo(folder.path / "a.txt")
    act(folder, "a.txt")
    assert (folder.path / "a.txt").read_bytes() == b"new"


NAMES = ["", ".", "..", "../a.txt", "a/../../a.txt", "/etc/a.txt", "a\0b", "..\\a.txt", "C:\\a.txt", "\\\\host\\a.txt"]


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
@pytest.mark.parametrize("name", [name for name in NAMES if name != "."])
def test_a_name_that_leads_out_is_refused(folder: OutputFolder, act: Act, name: str) -> None:
    before = sorted(folder.path.parent.rglob("*"))
    with pytest.raises(UsageError, match="leads outside"):
        act(folder, name)
    after = [one for one in sorted(folder.path.parent.rglob("*")) if one.name not in ("mine", "source.png")]
    assert leads_out(name) and after == before


@pytest.mark.parametrize("name", ["a.txt", "a/b c/ü.txt", "a//b.txt", "./a.txt", "...", "a..b", "-o", "a/./b.txt"])
def test_a_plain_name_is_written_where_it_says(folder: OutputFolder, name: str) -> None:
    folder.write(name, "new")
    assert (folder.path / name).read_text() == "new" and folder.read(name) == b"new"


@pytest.mark.parametrize("act", [WRITES[name] for name in ("write", "replacing")], ids=["write", "replacing"])
def test_equal_bytes_leave_the_file_alone(folder: OutputFolder, act: Act) -> None:
    act(folder, "a.txt")
    os.utime(folder.path / "a.txt", ns=(0, 0))
    act(folder, "a.txt")
    assert (folder.path / "a.txt").stat().st_mtime_ns == 0
    assert os.listdir(folder.path) == ["a.txt"]


def test_a_block_that_breaks_leaves_the_old_file_and_nothing_else(folder: OutputFolder) -> None:
    folder.write("a.txt", "old")
    with pytest.raises(ZeroDivisionError), folder.replacing("a.txt") as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert tree(folder.path) == {"a.txt": "old"}


def test_what_the_system_refuses_is_told_with_the_file(folder: OutputFolder) -> None:
    folder.mkdir("a.txt/full")
    with pytest.raises(SamlabelError, match=r"out/a\.txt: cannot be written: .*run the same command again") as caught:
        folder.write("a.txt", "new")
    assert "\n" not in str(caught.value)
    assert os.listdir(folder.path) == ["a.txt"]


def test_a_file_in_the_place_of_a_folder_is_refused(folder: OutputFolder) -> None:
    folder.write("a", "file")
    with pytest.raises(UsageError, match="out/a is no folder"):
        folder.write("a/b.txt", "new")


def test_a_folder_that_was_renamed_is_not_written_to_under_its_old_name(folder: OutputFolder) -> None:
    folder.write("new/deep/a.txt", "first")
    folder.rename("new", "done")
    folder.write("new/deep/a.txt", "second")
    assert tree(folder.path) == {"done/deep/a.txt": "first", "new/deep/a.txt": "second"}


def test_many_folders_are_written_to_in_turn(folder: OutputFolder) -> None:
    for turn in range(2):
        for place in range(100):
            folder.write(f"deep/{place}/{turn}.txt", "new")
    assert len(tree(folder.path)) == 200


def test_the_named_folder_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "named").symlink_to(tmp_path / "real")
    folder = OutputFolder(tmp_path / "named")
    folder.write("a.txt", "new")
    assert (tmp_path / "real" / "a.txt").read_text() == "new"


def test_nothing_is_made_before_the_first_write(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path / "a" / "b")
    assert folder.kind("c") is None and folder.read("c") is None
    folder.remove("c")
    assert not (tmp_path / "a").exists()
    folder.make().unmake()
    assert not (tmp_path / "a").exists()


def test_a_private_folder_is_its_owners_and_gone_at_the_end(folder: OutputFolder) -> None:
    with folder.private_folder("a.onnx") as work:
        assert stat.S_IMODE((folder.path / work).stat().st_mode) == 0o700
        (folder.path / work / "a.onnx").write_text("new")
        (folder.path / work / "draft").write_text("rest")
        folder.rename(f"{work}/a.onnx", "a.onnx")
    assert tree(folder.path) == {"a.onnx": "new"}


def test_leftovers_are_removed_and_what_is_like_them_stays(folder: OutputFolder) -> None:
    left = ["sub/.a.txt.samlabel-0123456789abcdef-7", ".b.samlabel-0123456789abcdef-1"]
    others = [".a.txt.tmp", "a.samlabel-0123456789abcdef-1", ".a.samlabel-0123-1", "sub/.samlabel"]
    for name in (*left, *others):
        folder.write(name, "x")
    (folder.path / ".dir.samlabel-0123456789abcdef-2").mkdir()
    folder.clear_leftovers()
    assert sorted(tree(folder.path)) == sorted(others)
    assert not (folder.path / ".dir.samlabel-0123456789abcdef-2").exists()


def test_a_scratch_folder_is_gone_with_its_block() -> None:
    with Scratch() as scratch:
        scratch.write("sub/a.txt", "new")
        assert (scratch.path / "sub" / "a.txt").exists()
    assert not scratch.path.exists()
