"""The same images give the same bytes: whatever the number of workers, killed and resumed or not, here or elsewhere."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from samlabel import auto_annotate
from samlabel.hub.threads import torch_threads, use_threads
from samlabel.objects import Objects
from samlabel.options import JobOptions, Thresholds
from samlabel.pipeline.context import ImageContext
from samlabel.pipeline.engine import label, windows
from samlabel.pipeline.stages import Models
from samlabel.protocols import ImageRef, ModelInfo
from samlabel.runs.run import Summary
from samlabel.sources.images import encoded

ROOT = Path(__file__).resolve().parents[2]
FORMATS = ("coco", "yolo", "sa1b")
NUMBERS = (1, 2, 3)


@pytest.fixture
def two_threads() -> Any:
    """Torch has two threads, also where there is one core: how they are shared out is what is tested."""
    before = torch_threads()
    use_threads(2)
    yield
    use_threads(before)


def shaded(folder: Path, count: int) -> Path:
    """Drawings with gradients and discs of many sizes, so that no two logits are alike."""
    from PIL import Image

    folder.mkdir()
    row, column = np.mgrid[:150, :200]
    for number in range(count):
        pixels = np.stack([row, column, (row * column + 17 * number) % 256], 2).astype(np.uint8)
        for disc in range(5):
            y, x, radius = 20 + 25 * disc, (37 * (disc + number)) % 180, 8 + 3 * disc + number
            pixels[(row - y) ** 2 + (column - x) ** 2 < radius**2] = (50 * disc, 255 - 40 * number, 90)
        Image.fromarray(pixels).save(folder / f"{number:03}.png")
    return folder


def annotate(images: Path, out: Path, workers: int, **options: Any) -> Summary:
    return auto_annotate(
        images,
        output_dir=out,
        formats=FORMATS,
        conf=0.0,
        max_det=8,
        device="cpu",
        job=JobOptions(workers=workers),
        thresholds=Thresholds(pred_iou_thresh=0.0, stability_score_thresh=0.0),
        **options,
    )


def written(out: Path) -> dict[str, bytes]:
    """Every file of an output but the hidden ones."""
    files = (file for file in sorted(out.rglob("*")) if file.is_file() and ".samlabel" not in file.parts)
    return {file.relative_to(out).as_posix(): file.read_bytes() for file in files}


@pytest.mark.parametrize("detector", ["nano", "none"])
def test_labels_do_not_depend_on_the_number_of_workers(tmp_path: Path, two_threads: None, detector: str) -> None:
    from samlabel.options import Grid

    images = shaded(tmp_path / "images", 3)
    for workers in NUMBERS:
        grid = Grid(points_per_side=4, pred_iou_thresh=0.0, stability_score_thresh=0.0)
        found = annotate(images, tmp_path / f"out-{workers}", workers, det_model=detector, grid=grid)
        assert found.objects > 0
    first, *others = (written(tmp_path / f"out-{workers}") for workers in NUMBERS)
    assert all(other == first for other in others)


def test_an_image_is_labeled_alike_alone_and_among_others(tmp_path: Path, two_threads: None) -> None:
    images = shaded(tmp_path / "images", 3)
    (tmp_path / "one").mkdir()
    shutil.copy(images / "001.png", tmp_path / "one")
    annotate(images, tmp_path / "many", 2)
    auto_annotate(  # the default number of workers is one for one image
        tmp_path / "one",
        output_dir=tmp_path / "alone",
        formats=FORMATS,
        conf=0.0,
        max_det=8,
        device="cpu",
        thresholds=Thresholds(pred_iou_thresh=0.0, stability_score_thresh=0.0),
    )
    assert (tmp_path / "alone/yolo/labels/001.txt").read_bytes() == (tmp_path / "many/yolo/labels/001.txt").read_bytes()


class Noisy:
    """Each score of an object has float32's noise below the sixth digit."""

    def __init__(self, segmenter: Any, noise: float) -> None:
        self.info = replace(segmenter.info, prompts=frozenset({"box"}))
        self._segmenter, self._noise = segmenter, noise
        self.embed = segmenter.embed

    def segment(self, embedding: Any, objects: Objects) -> Objects:
        found, every = self._segmenter.segment(embedding, objects), np.ones(len(objects))
        return replace(
            found,
            scores=every * (0.9 + self._noise),
            predicted_ious=every * (0.8 + self._noise),
            stability_scores=every * (0.7 + self._noise),
        )


def test_scores_are_written_to_six_digits(photos: Path, tmp_path: Path, fakes: ModuleType) -> None:
    for name, noise in (("a", 1e-8), ("b", -1e-8)):
        segmenter = Noisy(fakes.Segmenter(), noise)
        auto_annotate(photos, output_dir=tmp_path / name, detector=fakes.Detector(), segmenter=segmenter, device="cpu")
    assert written(tmp_path / "a") == written(tmp_path / "b")
    entries = json.loads((tmp_path / "a/coco/annotations.json").read_text(encoding="utf-8"))["annotations"]
    assert {(one["score"], one["predicted_iou"], one["stability_score"]) for one in entries} == {(0.9, 0.8, 0.7)}


def test_the_manifest_is_the_same_and_timings_are_a_hidden_file(
    photos: Path, tmp_path: Path, fakes: ModuleType
) -> None:
    for home, pause in (("a", 0.0), ("b", 0.02)):
        shutil.copytree(photos, tmp_path / home / "photos")
        auto_annotate(
            tmp_path / home / "photos",
            output_dir=tmp_path / home / "out",
            detector=fakes.Detector(),
            segmenter=fakes.Segmenter(pause=pause),
            device="cpu",
        )
    assert written(tmp_path / "a/out") == written(tmp_path / "b/out")
    timings = json.loads((tmp_path / "a/out/.samlabel/last_run.json").read_text(encoding="utf-8"))
    assert timings["annotated"] == 3 and timings["seconds"] > 0 and "segment" in timings["stages"]


class Crowd:
    """A detector whose boxes depend on the batch, as rounding on a GPU does."""

    def __init__(self, detector: Any) -> None:
        self.info = ModelInfo("crowd", detector.info.categories, "none")
        self.batches: list[list[str]] = []
        self._detector = detector

    def detect(self, images: Sequence[Any]) -> list[Objects]:
        self.batches.append([image.path for image in images])
        found = self._detector.detect(images)
        return [replace(one, scores=one.scores - 0.01 * len(images)) for one in found]


@pytest.mark.parametrize("done", [{"a.png"}, {"a.png", "b.png"}, {"b.png", "e.png"}], ids=["one", "two", "holes"])
def test_a_resumed_run_detects_in_the_batches_of_one_that_was_not_stopped(
    tmp_path: Path, fakes: ModuleType, done: set[str]
) -> None:
    every = [f"{name}.png" for name in "abcdefg"]
    for name in every:
        fakes.draw(tmp_path / name, (2, 3, 20, 30, fakes.RED))

    def run(todo: Sequence[str]) -> dict[str, Any]:
        shown = windows([ImageRef(path) for path in every], [ImageRef(path) for path in todo], 3)
        images = (ImageContext(encoded(tmp_path, ref.path)) for ref in shown.refs)
        stages = Models(Crowd(fakes.Detector()), fakes.Segmenter()).stages(Thresholds())
        results = label(images, stages, batch=3, windows=shown)
        return {one.record.path: one.record for one in results}  # type: ignore[union-attr]

    whole = run(every)
    rest = run([path for path in every if path not in done])
    assert list(whole) == every and rest == {path: whole[path] for path in every if path not in done}


def killed_under_one_worker(images: Path, out: Path, after: int) -> None:
    """Start a run in a process of its own and kill it when so many images are in its journal."""
    line = [sys.executable, "-m", "samlabel", "annotate", str(images), "-o", str(out), "--workers", "1", "-q"]
    line += ["--conf", "0", "--max-det", "8", "--pred-iou-thresh", "0", "--stability-score-thresh", "0"]
    for name in FORMATS:
        line += ["--format", name]
    process = subprocess.Popen([*line, "--device", "cpu"], cwd=ROOT)
    journal = out / ".samlabel" / "journal.jsonl"
    while process.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") >= after):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.photos
def test_a_hundred_photos_with_one_two_and_three_workers_and_killed_between(photos_data: Path, tmp_path: Path) -> None:
    found = sorted((photos_data / "photos").rglob("*.jpg"))[:100]
    assert len(found) == 100
    images = tmp_path / "images"
    images.mkdir()
    for number, file in enumerate(found):
        shutil.copy(file, images / f"{number:03}.jpg")
    for workers in NUMBERS:
        annotate(images, tmp_path / f"out-{workers}", workers)
    killed_under_one_worker(images, tmp_path / "killed", 30)
    assert annotate(images, tmp_path / "killed", 3).resumed >= 30
    first = written(tmp_path / "out-1")
    for name in ("out-2", "out-3", "killed"):
        other = written(tmp_path / name)
        assert [file for file in first if other.get(file) != first[file]] == [] and other.keys() == first.keys()
