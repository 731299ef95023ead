"""Commands on datasets that are killed at each call that changes the disk, and started again."""

from __future__ import annotations

import contextlib
import io
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.samlabel import fakes

from .faults import Faults
from .world import command, run_in_child

ROOT = ("--image-root", "photos")
# The words of each command, started in a folder of photos and labels; everything it writes is `out...`.
COMMANDS = {
    "convert": ("convert", "labels.json", "out", "--to", "yolo", *ROOT, "--allow-lossy"),
    "convert to one file": ("convert", "labels.json", "out.json", "--to", "labelstudio", *ROOT, "--images", "copy"),
    "convert beside images": ("convert", "labels.json", "out", "--to", "labelme", *ROOT, "--allow-lossy"),
    "filter": ("filter", "labels.json", "out", "--to", "sa1b", "--classes", "red", *ROOT, "--allow-lossy"),
    "merge": ("merge", "labels.json", "more.json", "--out", "out", "--to", "voc", *ROOT, "--allow-lossy"),
    "split": (
        "split",
        "labels.json",
        "out",
        "--to",
        "yolo",
        "--part",
        "a=0.5",
        "--part",
        "b=0.5",
        *ROOT,
        "--allow-lossy",
    ),
    "view": ("view", "labels.json", "--out", "out", "--images", "photos"),
}


def killed_commands(base: Path, stride: int = 1) -> Counter[str]:
    """Each command killed at every call (or each `stride`th), between and inside writes, and started again.

    The second run must end well, with the files of a run that was never killed, and with nothing hidden beside them.
    """
    counts: Counter[str] = Counter()
    said = base / "said.txt"
    start = _world(base / "start")
    for number, (name, words) in enumerate(COMMANDS.items()):
        whole = _copy(start, base / "whole")
        with contextlib.redirect_stdout(io.StringIO()):  # here, so that every child starts with all modules loaded
            assert command(whole, *words) == 0, name
        wanted = files_of(whole)
        assert len(wanted) > len(files_of(start)) and not any("samlabel-" in file for file in wanted)
        for kind in ("kill", "torn"):
            step = number % stride
            while True:
                folder = _copy(start, base / "killed")
                code = run_in_child(partial(_faulty, folder, kind, step, partial(command, folder, *words)), said=said)
                if code == 0:
                    break
                assert code == -signal.SIGKILL, f"{name}, call {step}: exit code {code}: {said.read_text()}"
                again = run_in_child(partial(command, folder, *words), said=said)
                assert again == 0, f"{name}, after call {step}: exit code {again}: {said.read_text()}"
                found = files_of(folder)
                differ = sorted(file for file in {*wanted, *found} if wanted.get(file) != found.get(file))
                assert not differ, f"{name}, after call {step}: {differ}"
                counts["kills of commands"] += 1
                step += stride
    return counts


def _faulty(folder: Path, kind: str, step: int, work: Callable[[], int]) -> int:
    Faults(folder, kind, step).install()
    return work()


def _world(folder: Path) -> Path:
    """Two label files over five drawings; a file of a person's lies where labels of several commands go."""
    import converters
    from samlabel.sources.images import decode
    from samlabel.types import Dataset, ImageRecord

    for i in range(4):
        fakes.draw(folder / "photos" / f"{i}.png", (i, 3, 20, 30, fakes.RED), (30, 5, 50, 9 + i, fakes.BLUE))
    fakes.draw(folder / "photos" / "deep" / "4.png", (1, 1, 9, 9, fakes.RED))
    model, paths = fakes.Segmenter(), sorted((folder / "photos").rglob("*.png"))
    records = []
    for path in paths:
        image = decode(folder / "photos", path.relative_to(folder / "photos").as_posix()).image
        found = model.segment(image.pixels, fakes.find(image.pixels)).annotations()
        records.append(ImageRecord(image.path, image.size, found))
    categories = fakes.Detector.info.categories
    converters.write(Dataset(categories, records[:3], folder / "photos"), folder / "labels.json", "coco")
    converters.write(Dataset(categories, records[3:], folder / "photos"), folder / "more.json", "coco")
    (folder / "out").mkdir()
    (folder / "out" / "a person's notes.md").write_text("not made by samlabel")
    return folder


def _copy(start: Path, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return Path(shutil.copytree(start, folder))


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too."""
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
