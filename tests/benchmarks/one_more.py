"""Seconds for a folder of tiny images, and for one image more: `python -m tests.benchmarks.one_more`.

Labels `--images` drawn images with fake models in each format, then adds one image and runs again, so that what is
measured is the journal and the label files. The second run should cost about itself. No test collects this.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from samlabel import auto_annotate
from tests.samlabel import fakes

FORMATS = ("yolo", "voc", "sa1b", "labelme", "png", "coco")


def draw(folder: Path, number: int) -> None:
    fakes.draw(folder / f"{number // 1000:03}/{number:06}.png", (2, 3, 20, 30, fakes.RED), (30, 5, 50, 20, fakes.BLUE))


def seconds(folder: Path, out: Path, name: str) -> tuple[float, float]:
    """Of a run in one format, all of it and the writing of label files alone."""
    from samlabel.files import OutputFolder
    from samlabel.runs.hidden import read_json

    started = time.perf_counter()
    auto_annotate(
        folder, output_dir=out, detector=fakes.Detector(), segmenter=fakes.Segmenter(), device="cpu", formats=(name,)
    )
    took = time.perf_counter() - started
    return took, read_json(OutputFolder(out), ".samlabel/last_run.json")["stages"][f"write {name}"]


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--images", type=int, default=5000)
    asked.add_argument("--formats", nargs="+", default=FORMATS)
    args = asked.parse_args()
    print(f"{'format':10} {'all':>8} {'writing':>8} {'one more':>9} {'writing':>8}   ({args.images} images, seconds)")
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home) / "images"
        for number in range(args.images):
            draw(folder, number)
        for place, name in enumerate(args.formats):
            out = Path(home) / name
            first = seconds(folder, out, name)
            draw(folder, args.images + place)
            again = seconds(folder, out, name)
            print(f"{name:10} {first[0]:8.2f} {first[1]:8.2f} {again[0]:9.2f} {again[1]:8.2f}", flush=True)


if __name__ == "__main__":
    main()
