"""COCO polygons to YOLO rows against other converters: `python tests/benchmarks/convert.py`.

Draws a set of 5,000 images with 100,000 polygons (`--images`, `--objects`), converts it with samlabel, ultralytics'
convert_coco and supervision (where installed), each in a process of its own, in turns, and prints the medians, the
peaks of resident memory, and the ratios. Only ratios mean something on a busy machine. `--large` converts one file
of 1,000,000 objects, about 1 GB, with samlabel alone. No test collects this.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

SAMLABEL = """
import converters
receipt = converters.convert(source, target, to="yolo", images="none", image_root=folder, {options})
"""
CODE = {
    "samlabel": SAMLABEL.format(options="allow_lossy=True"),
    "samlabel, unmeasured": SAMLABEL.format(options='allow_lossy=True, measure="none"'),
    "samlabel, checked first": SAMLABEL.format(options=""),
    "ultralytics": """
from ultralytics.data.converter import convert_coco
convert_coco(folder, target, use_segments=True, cls91to80=False)
""",
    "supervision": """
import supervision
found = supervision.DetectionDataset.from_coco(folder, source, force_masks=True)
found.as_yolo(annotations_directory_path=target)
""",
}
FRAME = """
import json, resource, sys, time
folder, source, target = sys.argv[1:4]
wall, cpu = time.perf_counter(), time.process_time()
{code}
print("RESULT " + json.dumps([
    time.perf_counter() - wall, time.process_time() - cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
]))
"""


def draw(file: Path, images: int, objects: int, points: int = 60, *, shapes: int = 20_000) -> None:
    """A COCO file of wobbly discs, the objects of an image one after another, about 1 kB each.

    After `shapes` of them the same shapes come again, under other ids and on other images.
    """
    rng = random.Random(1)
    turns = [(math.cos(2 * math.pi * n / points), math.sin(2 * math.pi * n / points)) for n in range(points)]
    drawn: list[str] = []
    for _ in range(min(shapes, objects)):
        radius = rng.uniform(8, 90)
        x, y = rng.uniform(radius + 1, 639 - radius), rng.uniform(radius + 1, 479 - radius)
        ring = []
        for cos, sin in turns:
            reach = radius * rng.uniform(0.85, 1)
            ring += [round(x + reach * cos, 2), round(y + reach * sin, 2)]
        low, high = (min(ring[::2]), min(ring[1::2])), (max(ring[::2]), max(ring[1::2]))
        box = [*low, round(high[0] - low[0], 2), round(high[1] - low[1], 2)]
        area = round(math.pi * (0.92 * radius) ** 2, 2)
        drawn.append(f'{{"segmentation": [{ring}], "area": {area}, "iscrowd": 0, "bbox": {box}')
    with open(file, "w", encoding="utf-8") as out:
        table = [{"id": n + 1, "file_name": f"{n:07d}.jpg", "width": 640, "height": 480} for n in range(images)]
        names = [{"id": n, "name": f"class {n}"} for n in range(1, 81)]
        out.write('{"images": ' + json.dumps(table) + ', "categories": ' + json.dumps(names) + ', "annotations": [')
        for number in range(objects):
            image, category = number * images // objects + 1, number % 80 + 1
            rest = f'"image_id": {image}, "category_id": {category}, "id": {number + 1}}}'
            out.write(f"{',' if number else ''}\n{drawn[number % len(drawn)]}, {rest}")
        out.write("]}\n")


def run(name: str, folder: Path, source: Path) -> tuple[float, float, float]:
    """Seconds, processor seconds and peak MB of one conversion in a process of its own."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as out:
        environment = {"YOLO_OFFLINE": "true", "YOLO_CONFIG_DIR": out, **os.environ, "PYTHONPATH": _path()}
        words = [sys.executable, "-c", FRAME.format(code=CODE[name]), str(folder), str(source), str(Path(out) / "out")]
        done = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=out)
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            wall, cpu, memory = json.loads(line[7:])
            return wall, cpu, memory
    raise SystemExit(f"{name} failed (exit code {done.returncode}):\n{done.stderr[-2000:]}")


def _path() -> str:
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=list(CODE), default=list(CODE))
    parser.add_argument("--large", action="store_true", help="one file of 1,000,000 objects, with samlabel alone")
    parser.add_argument("--folder", type=Path, help="where to draw the set; it is kept and found again there")
    chosen = parser.parse_args()
    images, objects = (50_000, 1_000_000) if chosen.large else (chosen.images, chosen.objects)
    names = ["samlabel"] if chosen.large else chosen.only
    names = [name for name in names if name != "supervision" or importlib.util.find_spec("supervision")]
    with tempfile.TemporaryDirectory() as scratch:
        folder = (chosen.folder or Path(scratch)) / f"set-{images}-{objects}"
        folder.mkdir(parents=True, exist_ok=True)
        source = folder / "instances_drawn.json"
        if not source.exists():
            draw(folder / "part", images, objects)
            (folder / "part").rename(source)
        print(f"{images} images, {objects} polygons, {source.stat().st_size / 1e6:.0f} MB")
        found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in names}
        for _ in range(1 if chosen.large else chosen.rounds):
            for name in names:
                found[name].append(run(name, folder, source))
    for name in names:
        wall, cpu, memory = (statistics.median(values) for values in zip(*found[name]))
        print(f"{name:24} {wall:7.1f} s {cpu:7.1f} s of processor {memory:7.0f} MB at most")
    for name in names:
        if name.startswith("samlabel") and "ultralytics" in found:
            pairs = list(zip(found[name], found["ultralytics"]))
            ratios = [statistics.median([theirs[k] / ours[k] for ours, theirs in pairs]) for k in range(3)]
            print(f"ultralytics takes {ratios[0]:.2f} times the time of {name}, {ratios[1]:.2f} times the processor, "
                  f"{ratios[2]:.1f} times the memory")


if __name__ == "__main__":
    main()
