"""Nano end to end, and how time and memory grow: `python -m tests.benchmarks.nano`.

Photos of 640x480 are drawn as JPEG files; each is decoded, its objects detected (the best ten boxes, whatever their
score), embedded, prompted, and written in three formats, by `samlabel.auto_annotate` with `--threads` threads. It is
run once for a few photos first, so that imports do not count; loading the models does. Printed are photos a second and
where the time goes: seconds of each stage over the seconds of the run, which add up to more than 100 % where stages
run beside each other.

`--plot FILE` runs larger and larger folders, and more and more boxes on one photo, each in a process of its own, and
draws processor seconds and peak memory as SVG. No test collects this.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.benchmarks import material, plot
from tests.benchmarks.child import ROOT
from tests.memory import peak

BOXES, TARGET = 10, 5.0  # boxes a photo; photos a second on two idle cores
FORMATS = ("coco", "yolo", "sa1b")
IMAGES, PROMPTS = (8, 16, 32, 64), (10, 40, 160, 640)


def annotate(photos: Path, out: Path, boxes: int, threads: int) -> dict[str, Any]:
    """Seconds, processor seconds and stages of one run in this process, and its peak memory in MB."""
    import time

    import torch

    torch.set_num_threads(threads)
    from samlabel import auto_annotate

    wall, cpu = time.perf_counter(), time.process_time()
    summary = auto_annotate(photos, output_dir=out, formats=FORMATS, conf=0.0, max_det=boxes, device="cpu")
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    run = json.loads((out / ".samlabel" / "last_run.json").read_text(encoding="utf-8"))
    return {
        "images": summary.images,
        "objects": summary.objects,
        "seconds": wall,
        "cpu": cpu,
        "stages": run["stages"],
        "peak": peak() / 2**20,
    }


def end_to_end(photos: Path, folder: Path, threads: int, rounds: int) -> bool:
    """Print photos a second over some runs and where the time went; True when the target was reached."""
    few = material.photos(folder / "few", 2)
    annotate(few, folder / "warm", BOXES, threads)
    found = [annotate(photos, folder / f"out-{n}", BOXES, threads) for n in range(rounds)]
    rates = sorted(one["images"] / one["seconds"] for one in found)
    last = found[-1]
    print(f"{last['images']} photos of 640x480, {last['objects']} objects, {len(FORMATS)} formats, {threads} threads")
    print(
        f"{statistics.median(rates):.1f} photos a second ({rates[0]:.1f} to {rates[-1]:.1f} in {rounds} runs), "
        f"wanted {TARGET}"
    )
    print(f"{1000 * last['cpu'] / last['images']:.0f} ms of processor a photo, peak {last['peak']:.0f} MB")
    for stage, seconds in sorted(last["stages"].items(), key=lambda pair: -pair[1]):
        each = 1000 * seconds / last["images"]
        print(f"  {stage:10} {each:7.1f} ms a photo, {seconds / last['seconds']:4.0%} of the run")
    return statistics.median(rates) >= TARGET


def growth(folder: Path, threads: int) -> list[plot.Chart]:
    """Processor seconds and peak memory over the number of photos, and over the number of boxes on one photo."""
    charts = []
    for says, counts in (("photos", IMAGES), ("boxes on one photo", PROMPTS)):
        rows = []
        for count in counts:
            images, boxes = (count, BOXES) if says == "photos" else (1, count)
            photos = material.photos(folder / f"grow-{images}", images)
            rows.append(_alone(photos, folder / f"grown-{images}-{boxes}", boxes, threads))
            print(f"{count} {says}: {rows[-1]['cpu']:.1f} s of processor, peak {rows[-1]['peak']:.0f} MB", flush=True)
        for key, unit in (("cpu", "processor seconds"), ("peak", "peak memory, MB")):
            charts.append(plot.Chart(says, unit, list(counts), [row[key] for row in rows]))
    return charts


def _alone(photos: Path, out: Path, boxes: int, threads: int) -> dict[str, Any]:
    code = (
        "import json, sys; from pathlib import Path; from tests.benchmarks.nano import annotate; "
        "photos, out, boxes, threads = sys.argv[1:]; "
        "print('RESULT ' + json.dumps(annotate(Path(photos), Path(out), int(boxes), int(threads))))"
    )
    words = [sys.executable, "-c", code, str(photos), str(out), str(boxes), str(threads)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            return json.loads(line[7:])
    raise SystemExit(f"the run failed (exit code {done.returncode}):\n{done.stderr[-2000:]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--photos", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="measure growth instead, and draw it as SVG")
    parser.add_argument("--check", action="store_true", help="exit code 1 when the target is missed")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if chosen.plot:
            chosen.plot.write_text(plot.svg(growth(folder, chosen.threads)), encoding="utf-8")
            print(chosen.plot)
            return
        photos = material.photos(folder / "photos", chosen.photos)
        reached = end_to_end(photos, folder, chosen.threads, chosen.rounds)
    if chosen.check and not reached:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
