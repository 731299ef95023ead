"""A folder of drawings, the jobs that are done to it, and the bytes that each ends with when nothing goes wrong."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.samlabel import fakes

FORMATS = ("coco", "yolo")
NEW, CHANGED, DELETED = "new photo.png", "changed.png", "deleted.png"
NOTES = "yolo/a person's notes.md"
# Each job: flags of the last run, and whether a finished run and a change of the photos came before it.
JOBS = {
    "fresh": ((), False),
    "changed photos": ((), True),
    "update": (("--update", "--min-area", "150"), True),
    "overwrite": (("--overwrite", "--conf", "0.4"), True),
}


def use_fakes(pause: float = 0.0) -> None:
    """Every annotate of this process sees drawn rectangles; journal, writers and command line are the real ones."""
    import samlabel.annotate
    import samlabel.runs.settings
    from samlabel.pipeline.stages import Models

    samlabel.runs.settings._shipped_weights = lambda: []  # not asked for, and maybe not readable for another user
    samlabel.annotate._models = lambda *_, **__: Models(fakes.Detector(), fakes.Segmenter(pause=pause))


@dataclass
class World:
    """Drawings in `photos`, and for each job the state that it starts from and the bytes that it must end with."""

    base: Path
    photos: int = 5
    wanted: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        before = self.base / "before"
        for i in range(self.photos - 2):
            fakes.draw(before / "photos" / f"{i:02}.png", (i % 9, 3, 20, 30, fakes.RED), (30, 5, 50, 9 + i, fakes.BLUE))
        fakes.draw(before / "photos" / CHANGED, (1, 1, 9, 9, fakes.RED))
        fakes.draw(before / "photos" / DELETED, (1, 1, 30, 9, fakes.RED))
        with contextlib.redirect_stdout(io.StringIO()):  # here, so that every child starts with all modules loaded
            assert annotate(before) == 0
        (before / "out" / NOTES).write_text("not made by samlabel")
        fakes.draw(before / "photos" / NEW, (0, 0, 9, 19, fakes.BLUE))
        fakes.draw(before / "photos" / CHANGED, (0, 0, 29, 9, fakes.RED))
        (before / "photos" / DELETED).unlink()
        for job in JOBS:
            folder = self.start(job, f"whole {job}")
            assert run_in_child(lambda job=job, folder=folder: do(job, folder)) == 0
            self.wanted[job] = labels(folder / "out")
            assert len(self.wanted[job]) > self.photos

    def start(self, job: str, name: str) -> Path:
        """A folder with `photos` and `out` as they are before `job`."""
        folder = self.base / name
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.base / "before" / "photos", folder / "photos", copy_function=shutil.copy2)
        if JOBS[job][1]:
            shutil.copytree(self.base / "before" / "out", folder / "out", copy_function=shutil.copy2)
        return folder

    def bytes_lost(self, job: str, folder: Path) -> int:
        """Bytes of the uninterrupted run that are not there, and bytes that are there and should not be."""
        wanted, found = self.wanted[job], labels(folder / "out")
        return sum(
            max(len(wanted.get(name, b"")), len(found.get(name, b""))) or 1
            for name in {*wanted, *found}
            if wanted.get(name) != found.get(name)
        )


def do(job: str, folder: Path) -> int:
    """Exit code of the last run of `job`."""
    return annotate(folder, *JOBS[job][0])


def annotate(folder: Path, *words: str) -> int:
    """Exit code of `samlabel annotate`, in this process."""
    line = ["annotate", str(folder / "photos"), "--out", str(folder / "out"), "--device", "cpu", "--quiet"]
    for name in FORMATS:
        line += ["--format", name]
    return command(folder, *line, *words)


def command(folder: Path, *words: str) -> int:
    """Exit code of a command that is started in `folder`, in this process."""
    from samlabel.cli import main

    before = os.getcwd()
    os.chdir(folder)
    try:
        main(list(words))
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        os.chdir(before)
    raise AssertionError("the command line ends with SystemExit")


def labels(out: Path) -> dict[str, bytes]:
    """Every file of an output but the hidden ones; the manifest without the environment."""
    found = {}
    for file in sorted(out.rglob("*")):
        name = file.relative_to(out).as_posix()
        if file.is_file() and not name.startswith(".samlabel/"):
            found[name] = file.read_bytes()
    if "manifest.json" in found:
        says = json.loads(found["manifest.json"])
        found["manifest.json"] = json.dumps({**says, "environment": None}).encode()
    return found


def start_child(work: Callable[[], int], *, said: Path | None = None) -> int:
    """Process id of a real process, forked, so that its start costs nothing; `said` gets what it prints."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        target = os.open(said or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(target, 1)
        os.dup2(target, 2)
        code = work()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait(child: int) -> int:
    """Exit code, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run_in_child(work: Callable[[], int], *, said: Path | None = None) -> int:
    return wait(start_child(work, said=said))
