"""Running out of memory makes the pieces smaller; memory does not grow with images or boxes."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from samlabel.annotate import auto_annotate
from samlabel.options import Grid, JobOptions

ROOT = Path(__file__).resolve().parents[2]
OUT_OF_MEMORY = RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.mark.usefixtures("plain_formats")
def test_a_batch_that_does_not_fit_is_halved_for_the_rest_of_the_run(tmp_path: Path, fakes: ModuleType) -> None:
    class Greedy(fakes.Detector):  # type: ignore[name-defined, misc]
        def detect(self, images: Any) -> Any:
            found = super().detect(images)
            if len(images) > 2:
                raise OUT_OF_MEMORY
            return found

    for i in range(20):
        fakes.draw(tmp_path / "photos" / f"{i:02}.png", (1, 1, 9, 9 + i, fakes.RED))
    detector = Greedy()
    summary = auto_annotate(
        tmp_path / "photos",
        output_dir=tmp_path / "out",
        detector=detector,
        device="cpu",
        segmenter=fakes.Segmenter(),
        job=JobOptions(batch=8),
    )
    assert (summary.annotated, summary.failed, summary.objects) == (20, 0, 20)
    assert [len(one) for one in detector.batches] == [8, 4, 2, 2, 4, 2, 2] + [2] * 6


@pytest.mark.usefixtures("plain_formats")
def test_a_mask_stage_without_memory_is_tried_once_more_and_then_fails_alone(
    photos: Path, tmp_path: Path, fakes: ModuleType
) -> None:
    class Tight(fakes.Segmenter):  # type: ignore[name-defined, misc]
        def encode(self, image: Any) -> Any:
            found = super().encode(image)
            if image.path == "a.png" or self.embedded.count(image.path) == 1:
                raise MemoryError
            return found

    summary = auto_annotate(
        photos, output_dir=tmp_path / "out", detector=fakes.Detector(), segmenter=Tight(), device="cpu"
    )
    assert [(one.path, one.stage) for one in summary.failures] == [("a.png", "segment")]
    assert summary.objects == 1 and summary.exit_code == 3


def test_points_are_decoded_fewer_at_once_when_memory_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    import sam
    from samlabel.protocols import Image
    from samlabel.segmenters.sam import SamSegmenter

    asked: list[int] = []

    class Generator:
        def __init__(self, model: Any, *, points_per_batch: int, **_: Any) -> None:
            self.most = points_per_batch

        def generate(self, *_: Any) -> list[Any]:
            asked.append(self.most)
            if self.most > 10:
                raise OUT_OF_MEMORY
            return []

    monkeypatch.setattr(sam, "SamAutomaticMaskGenerator", Generator)
    model: Any = SimpleNamespace(
        variant=SimpleNamespace(name="x", params=1, licence=None),
        dtype="float32",
        backend="torch",
        device=SimpleNamespace(type="cpu"),
    )
    segmenter = SamSegmenter(model, weights="", grid=Grid(points_per_batch=64))
    assert len(segmenter.generate(Image("a", np.zeros((4, 4, 3), np.uint8)))) == 0
    assert asked == [64, 32, 16, 8]


def limited(code: str, *words: object) -> str:
    """What a process prints that may take 300 MB more than it has after `start()`."""
    head = f"""
import resource, sys
sys.path[:0] = [{str(ROOT)!r}]
from tests.memory import peak
def start():
    pages = int(open("/proc/self/statm").read().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 300 * 2**20,) * 2)
    return peak()
def grown(before):
    return (peak() - before) / 2**20
"""
    done = subprocess.run([sys.executable, "-c", head + code, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="limits and sizes as Linux tells them")
def test_two_thousand_images_take_the_memory_of_a_few(tmp_path: Path) -> None:
    code = """
from pathlib import Path
from samlabel import auto_annotate
from tests.samlabel import fakes
home = Path(sys.argv[1])
def run(count):
    for i in range(count):
        fakes.draw(home / str(count) / f"{i:04}.png", (1, 1, 9, 5 + i % 9, fakes.RED), size=(16, 16))
    options = dict(detector=fakes.Detector(), segmenter=fakes.Segmenter(), device="cpu")
    return auto_annotate(home / str(count), output_dir=home / f"out{count}", **options).objects
run(20)
before = start()
print(run(2000), grown(before))
"""
    objects, grown = limited(code, tmp_path).split()
    assert int(objects) == 2000
    assert float(grown) < 60, f"{grown} MB more for 2,000 images"


@pytest.mark.skipif(sys.platform != "linux", reason="limits and sizes as Linux tells them")
def test_two_thousand_boxes_on_one_image_take_the_memory_of_a_few(tmp_path: Path) -> None:
    code = """
from types import SimpleNamespace as Some
import numpy as np, torch
from sam import Prediction
from samlabel import Objects
from samlabel.segmenters.sam import Grid, SamSegmenter
class Model:  # as large an answer as a real one's, without the arithmetic
    variant, dtype, backend, device = Some(name="x", params=1, licence=None), "float32", "torch", Some(type="cpu")
    def predict(self, embedding, *, boxes):
        logits = torch.full((len(boxes), 1, 256, 256), -9.0)
        logits[:, :, 5:9, 5:9] = 9.0
        return Prediction(logits, torch.ones(len(boxes), 1), (3000, 4000), (768, 1024), 1024)
segmenter = SamSegmenter(Model(), weights="", grid=Grid())
def run(count):
    boxes = np.tile([[5.0, 5, 9, 9]], (count, 1))
    found = segmenter.segment(Some(size=(3000, 4000)), Objects(boxes=boxes, category_ids=np.ones(count)))
    return sum(60 * 60 < mask.area < 66 * 66 for mask in found.masks)
run(32)
before = start()
print(run(2000), grown(before))  # their logits at full size would take 96 GB
"""
    count, grown = limited(code).split()
    assert int(count) == 2000
    assert float(grown) < 150, f"{grown} MB more for 2,000 boxes"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other systems are left as they are")
@pytest.mark.parametrize(("variable", "kept"), [("", True), ("MALLOC_TOP_PAD_", False)], ids=["plain", "tuned by hand"])
def test_freed_memory_is_used_again_unless_somebody_tunes_malloc(variable: str, kept: bool) -> None:
    code = f"""
import resource, sys
sys.path[:0] = [{str(ROOT)!r}]
from tests.memory import peak
from samlabel.hub.memory import kept_pages
def faults(rounds):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        b"x" * 2**26
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
with kept_pages():
    faults(1)
    inside = faults(4)
print(inside < 1000, faults(4) > 10000)
"""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MALLOC_", "GLIBC_"))}
    environment |= {variable: "131072"} if variable else {}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.split() == [str(kept), "True"]
