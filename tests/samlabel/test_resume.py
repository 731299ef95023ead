"""A run that was cut off anywhere, started again, ends with the bytes of one that was not."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from samlabel.annotate import auto_annotate

HERE = Path(__file__).parent
FORMATS = ("coco", "yolo")
RUN = f"""
import sys
sys.path[:0] = [{str(HERE)!r}, {str(HERE.parents[1])!r}]
import fakes
from samlabel import formats
formats.write, formats.names, formats.get = fakes.write, fakes.names, fakes.get
from samlabel.annotate import auto_annotate
photos, out, pause = sys.argv[1:]
print("ready", flush=True)
auto_annotate(photos, output_dir=out, detector=fakes.Detector(), segmenter=fakes.Segmenter(pause=float(pause)),
              device="cpu", formats={FORMATS!r})
"""


def start(photos: Path, out: Path, pause: float) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", RUN, str(photos), str(out), str(pause)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == b"ready"
    return process


def finish(process: subprocess.Popen[bytes]) -> int:
    process.communicate(timeout=60)
    return process.returncode


def labels(out: Path) -> dict[str, bytes]:
    return {
        file.relative_to(out).as_posix(): file.read_bytes()
        for file in sorted(out.rglob("*"))
        if file.is_file() and ".samlabel" not in file.parts and file.name != "manifest.json"
    }


@pytest.fixture
def many(tmp_path: Path, fakes: ModuleType) -> Path:
    folder = tmp_path / "photos"
    for i in range(30):
        fakes.draw(folder / f"{i:02}.png", (i % 9, 3, 20, 30, fakes.RED), (30, 5, 50, 20 + i % 7, fakes.BLUE))
    return folder


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_run_killed_at_random_moments_resumes_to_the_same_bytes(many: Path, tmp_path: Path) -> None:
    assert finish(start(many, tmp_path / "whole", 0)) == 0
    kills, rng = 0, random.Random(7)
    while True:
        process = start(many, tmp_path / "out", 0.01)
        time.sleep(rng.uniform(0, 0.25))
        process.send_signal(signal.SIGKILL)
        if finish(process) == 0:  # it was faster
            break
        kills += 1
        if kills == 8:
            assert finish(start(many, tmp_path / "out", 0)) == 0
            break
    assert kills >= 2
    assert labels(tmp_path / "out") == labels(tmp_path / "whole")


@pytest.mark.usefixtures("plain_formats")
def test_a_run_cut_off_at_every_rename_and_delete_resumes_to_the_same_bytes(
    photos: Path, tmp_path: Path, fakes: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Cut(BaseException):
        pass

    left = [10**9]

    def cutting(real: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise Cut
            return real(*arguments, **options)

        return call

    monkeypatch.setattr(os, "replace", cutting(os.replace))
    monkeypatch.setattr(shutil, "rmtree", cutting(shutil.rmtree))

    def run(out: Path) -> None:
        auto_annotate(
            photos,
            output_dir=out,
            detector=fakes.Detector(),
            segmenter=fakes.Segmenter(),
            device="cpu",
            formats=FORMATS,
        )

    def first_half(out: Path) -> None:
        fakes.draw(photos / "zzz.png")
        run(out)
        (out / "yolo" / "notes.md").write_text("a person's own file")
        fakes.draw(photos / "zzz.png", (0, 0, 9, 9, fakes.RED))  # so that the second half swaps the folders

    first_half(tmp_path / "whole")
    run(tmp_path / "whole")
    whole = labels(tmp_path / "whole")
    assert whole["yolo/notes.md"] == b"a person's own file"
    cuts = 0
    while True:
        out = tmp_path / f"out{cuts}"
        left[0] = 10**9
        first_half(out)
        left[0] = cuts
        try:
            run(out)
        except Cut:
            left[0] = 10**9
            run(out)
            assert labels(out) == whole, f"cut at call {cuts}"
            cuts += 1
        else:
            break
    assert cuts >= 8


@pytest.mark.usefixtures("plain_formats")
def test_a_full_disk_is_one_line_and_what_was_done_stays(photos: Path, tmp_path: Path, fakes: ModuleType) -> None:
    resource = pytest.importorskip("resource")
    from samlabel.errors import SamlabelError

    def run(**options: Any) -> Any:
        return auto_annotate(
            photos,
            output_dir=tmp_path / "out",
            detector=fakes.Detector(),
            segmenter=fakes.Segmenter(),
            device="cpu",
            **options,
        )

    def limit(event: Any) -> None:
        size = (tmp_path / "out" / ".samlabel" / "journal.jsonl").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50, hard))

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with pytest.raises(SamlabelError, match="run the same command again"):
            run(progress=limit)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    summary = run()
    assert (summary.resumed, summary.annotated) == (1, 2)
