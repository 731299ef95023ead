"""COCO polygons to YOLO rows and to COCO, against other converters: `python tests/benchmarks/convert.py`.

Draws a set of 5,000 images with 100,000 polygons (`--images`, `--objects`) and converts it with samlabel, ultralytics'
convert_coco, supervision and Datumaro: each run in a process of its own that has converted a small set before, so that
imports do not count, under a limit of memory (`--limit`) and of time (`--seconds`), in turns. Prints medians, spread,
peaks of resident memory (of all its processes together), objects that came out, and ratios; only the ratios mean
something on a busy machine. A converter that meets a limit, or fails, is a row that says so. A peer that is not
installed here is named by the interpreter of its own environment: `--datumaro PYTHON`, `--supervision PYTHON`.

`--large` converts one file of 1,000,000 objects, about 1 GB, with samlabel alone. Exit code 1 when samlabel takes more
than 300 MB (1.5 GB for the large file), a third of ultralytics' memory, or more than 1 / 2.5 of its time (`--memory`:
memory alone decides, for a busy machine). No test collects this.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MOST_MB, MOST_MB_LARGE = 300, 1536
FASTER, LEANER = 2.5, 3.0  # than ultralytics

OURS = """
import converters
def convert(folder, source, target):
    converters.convert(source, target, from_="coco", images="none", image_root=folder, {options})
"""
SUPERVISION = """
import os
import supervision
def convert(folder, source, target):
    os.makedirs(target, exist_ok=True)
    found = supervision.DetectionDataset.from_coco(folder + "/images", source, force_masks=True)
    found.{call}
"""
DATUMARO = """
import datumaro
def convert(folder, source, target):
    datumaro.Dataset.import_from(folder, "coco_instances").export(target, "{format}", save_media=False)
"""
YOLO = {
    "samlabel": OURS.format(options='to="yolo", allow_lossy=True'),
    "samlabel, unmeasured": OURS.format(options='to="yolo", allow_lossy=True, measure="none"'),
    "samlabel, traced": OURS.format(options='to="yolo", allow_lossy=True, outline="traced"'),
    "ultralytics": """
from ultralytics.data.converter import convert_coco
def convert(folder, source, target):
    convert_coco(folder + "/annotations", target, use_segments=True, cls91to80=False)
""",
    "supervision": SUPERVISION.format(call="as_yolo(annotations_directory_path=target)"),
    "datumaro": DATUMARO.format(format="yolo"),
}
COCO = {
    "samlabel": OURS.format(options='to="coco", segmentation="polygons"'),
    "samlabel, RLE": OURS.format(options='to="coco"'),
    "supervision": SUPERVISION.format(call='as_coco(annotations_path=target + "/out.json")'),
    "datumaro": DATUMARO.format(format="coco_instances"),
}
TASKS = {"yolo": YOLO, "coco": COCO}
FRAME = """
import json, os, resource, sys, threading, time
{code}
def watch():  # memory of processes that this one starts
    while True:
        for child in open(f"/proc/self/task/{{os.getpid()}}/children").read().split():
            try:
                children[child] = peak_of(child)
            except (OSError, IndexError):  # it has ended
                pass
        time.sleep(0.05)
def peak_of(process):
    return int(open(f"/proc/{{process}}/status").read().partition("VmHWM:")[2].split()[0]) / 1024
def processor():
    all_of = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in all_of)
children = {{}}
if os.path.exists(f"/proc/self/task/{{os.getpid()}}/children"):
    threading.Thread(target=watch, daemon=True).start()
limit, folder, small, target = int(sys.argv[1]), *sys.argv[2:]
try:
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    name = "/annotations/instances_drawn.json"
    convert(small, small + name, target + "/small")
    wall, cpu = time.perf_counter(), processor()
    convert(folder, folder + name, target + "/out")
    taken = time.perf_counter() - wall, processor() - cpu
except MemoryError:
    print("RESULT null")
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1 << 20)
    if os.path.exists("/proc/self/status"):  # of this process alone; the other figure is at least its parent's size
        peak = peak_of("self")
    peak += sum(children.values())
    print("RESULT " + json.dumps([*taken, peak]))
"""


@dataclass(frozen=True)
class Run:
    seconds: float
    processor: float
    peak: float  # MB
    objects: int
    outlines: int  # objects whose outline came out too, not their box alone


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


def prepare(folder: Path, images: int, objects: int) -> Path:
    """A set as COCO unpacks it, drawn once; the pictures are one grey picture under many names."""
    from PIL import Image

    source = folder / "annotations" / "instances_drawn.json"
    if not source.exists():
        for part in ("annotations", "images"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        first = folder / "images" / f"{0:07d}.jpg"
        Image.new("RGB", (640, 480), "grey").save(first)
        for number in range(1, images):
            name = first.with_name(f"{number:07d}.jpg")
            if not name.exists():
                os.link(first, name)
        draw(folder / "part", images, objects)
        (folder / "part").rename(source)
    return source


def run(code: str, python: str, folder: Path, small: Path, limits: tuple[float, float], out: Path) -> Run | str:
    """One conversion into `out` in a process of its own, or why it came to nothing; limits are GB and seconds."""
    environment = {"YOLO_OFFLINE": "true", "YOLO_CONFIG_DIR": str(out), **os.environ, "PYTHONPATH": _path()}
    words = [python, "-c", FRAME.format(code=code), str(int(limits[0] * 1e9)), str(folder), str(small), str(out)]
    os.sync()  # what the run before left to be written is not this one's work
    try:
        done = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=out, timeout=limits[1])
    except subprocess.TimeoutExpired:
        return f"not done after {limits[1]:g} s, and stopped"
    for line in done.stdout.splitlines():
        if line.startswith("RESULT ["):
            return Run(*json.loads(line[7:]), *_counted(out / "out"))
    text = (done.stdout + done.stderr).lower()
    out_of_memory = ("result null", "memoryerror", "bad_alloc", "cannot allocate", "insufficient memory")
    if done.returncode in (-9, -6) or any(words in text for words in out_of_memory):
        return f"ran out of {limits[0]:g} GB"
    print(done.stderr[-2000:], file=sys.stderr)
    return f"failed with exit code {done.returncode}"


def _path() -> str:
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))


def _counted(out: Path) -> tuple[int, int]:
    """Objects below `out`, and how many of them have an outline."""
    rows = [len(line.split(b" ", 6)) > 5 for line in _lines(out) if line[:1].isdigit()]
    text = [file.read_bytes() for file in out.rglob("*.json")]
    objects = len(rows) + sum(data.count(b'"image_id"') for data in text)
    empty = sum(data.count(b'"segmentation":[],') + data.count(b'"segmentation": [],') for data in text)
    return objects, objects - len(rows) + sum(rows) - empty


def _lines(out: Path) -> Iterator[bytes]:
    for file in sorted(out.rglob("*.txt")):
        yield from file.read_bytes().splitlines()


def compare(task: str, chosen: argparse.Namespace, folder: Path, small: Path, outs: Path) -> dict[str, list[Run]]:
    """The runs of every converter at hand, in turns, each into a new folder in `outs`; what each took is printed.

    Nothing is deleted meanwhile: a file system looks long for a place among those that were just given free.
    """
    pythons = {"supervision": chosen.supervision, "datumaro": chosen.datumaro}
    found: dict[str, list[Run]] = {}
    for turn in range(1 if chosen.large else chosen.rounds):
        for name, code in TASKS[task].items():
            python = pythons.get(name) or sys.executable
            if name not in chosen.only or (turn and name not in found) or (chosen.large and name != "samlabel"):
                continue
            if not turn and not name.startswith("samlabel"):
                known = subprocess.run([python, "-c", f"import {name}"], capture_output=True)
                if known.returncode:
                    print(f"{name:22} not installed for {python}")
                    continue
            out = Path(tempfile.mkdtemp(dir=outs))
            done = run(code, python, folder, small, (chosen.limit, chosen.seconds), out)
            if isinstance(done, str):
                print(f"{name:22} {done}")
                found.pop(name, None)
            else:
                found.setdefault(name, []).append(done)
    for name, runs in found.items():
        walls = [one.seconds for one in runs]
        lost = f"{runs[0].objects} objects out" + (
            f", {runs[0].outlines} with their outline" if runs[0].outlines != runs[0].objects else ""
        )
        print(
            f"{name:22} {statistics.median(walls):6.1f} s ({min(walls):.1f} to {max(walls):.1f}) "
            f"{statistics.median([one.processor for one in runs]):6.1f} s of processor "
            f"{max(one.peak for one in runs):6.0f} MB at most; {lost}"
        )
    return found


def ratios(found: dict[str, list[Run]]) -> Iterator[tuple[str, str, float, float]]:
    """Peer, one of ours, and how many times our time and memory the peer took: medians of the rounds."""
    for peer in found:
        for ours in found:
            if ours.startswith("samlabel") and not peer.startswith("samlabel"):
                pairs = list(zip(found[ours], found[peer], strict=True))
                time = statistics.median([theirs.seconds / mine.seconds for mine, theirs in pairs])
                work = statistics.median([theirs.processor / mine.processor for mine, theirs in pairs])
                memory = statistics.median([theirs.peak / mine.peak for mine, theirs in pairs])
                print(
                    f"{peer} takes {time:.2f} times the time of {ours}, {work:.2f} times the processor, "
                    f"{memory:.1f} times the memory"
                )
                yield peer, ours, time, memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tasks", nargs="*", choices=list(TASKS), default=list(TASKS))
    names = list(dict.fromkeys([*YOLO, *COCO]))
    parser.add_argument("--only", nargs="*", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--large", action="store_true", help="one file of 1,000,000 objects, with samlabel alone")
    parser.add_argument("--limit", type=float, default=8.0, metavar="GB", help="memory that a process may ask for")
    parser.add_argument("--seconds", type=float, default=600.0, metavar="S", help="time that one run may take")
    parser.add_argument("--supervision", metavar="PYTHON", help="the interpreter of an environment that has it")
    parser.add_argument("--datumaro", metavar="PYTHON", help="the interpreter of an environment that has it")
    parser.add_argument("--memory", action="store_true", help="memory alone decides on the exit code")
    parser.add_argument("--folder", type=Path, help="where to draw the sets; they are kept and found again there")
    chosen = parser.parse_args()
    images, objects = (50_000, 1_000_000) if chosen.large else (chosen.images, chosen.objects)
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as scratch:
        home = chosen.folder or Path(scratch)
        small, folder = home / "set-20-400", home / f"set-{images}-{objects}"
        prepare(small, 20, 400)
        source = prepare(folder, images, objects)
        print(f"{images} images, {objects} polygons, {source.stat().st_size / 1e6:.0f} MB")
        for task in chosen.tasks:
            print(f"\nCOCO to {task}")
            with tempfile.TemporaryDirectory(dir=home) as outs:
                found = compare(task, chosen, folder, small, Path(outs))
            most = MOST_MB_LARGE if chosen.large else MOST_MB
            for name in TASKS[task]:
                if not name.startswith("samlabel") or name not in chosen.only or (chosen.large and name != "samlabel"):
                    continue
                if name not in found:
                    faults.append(f"{name} came to nothing")
                    continue
                peak, kept = max(one.peak for one in found[name]), found[name][0].objects
                faults += [f"{name} took {peak:.0f} MB; wanted at most {most}"] * (peak > most)
                faults += [f"{name} wrote {kept} of {objects} objects"] * (kept != objects)
            for peer, ours, time, memory in ratios(found):
                if (peer, ours) == ("ultralytics", "samlabel"):
                    faults += [f"{time:.2f} times as fast as {peer}; wanted {FASTER}"] * (
                        time < FASTER and not chosen.memory
                    )
                    faults += [f"{peer} takes {memory:.1f} times our memory; wanted {LEANER:g}"] * (memory < LEANER)
    if faults:
        raise SystemExit("\n" + "\n".join(faults))


if __name__ == "__main__":
    main()
