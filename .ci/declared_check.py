"""Run every command that only reads and writes labels, without some packages: declared_check.py FOLDER MISSING...

Each format is written from a drawn COCO dataset and read back; no object may be lost.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image

SAMLABEL = str(Path(sys.executable).with_name("samlabel"))
NEEDS = {"parquet": "pyarrow"}  # formats that an extra brings, and what it installs
WIDTH, HEIGHT = 64, 48


def run(*words: object, code: int = 0) -> str:
    """What a command prints; the program ends where it does not exit with `code`."""
    command = [SAMLABEL, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    if done.returncode != code:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}, expected {code}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def draw(folder: Path) -> Path:
    """The COCO file of two drawn images with three polygons and a mask with a hole."""
    folder.mkdir(parents=True)
    images, annotations = [], []
    for number, name in enumerate(("a.png", "b.png"), start=1):
        Image.new("RGB", (WIDTH, HEIGHT), (90 * number, 120, 60)).save(folder / name)
        images.append({"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT})
    holed = [30 * HEIGHT + 5, 9, HEIGHT - 9, 3, 3, 3, HEIGHT - 9, 9]  # runs down the columns, outside first
    shapes: list[tuple[int, Any]] = [
        (1, [[4, 4, 20, 4, 20, 30, 4, 30]]),
        (1, [[30.5, 10.25, 50, 12, 40, 40]]),
        (2, [[8, 8, 24, 8, 24, 24]]),
        (2, {"size": [HEIGHT, WIDTH], "counts": [*holed, WIDTH * HEIGHT - sum(holed)]}),
    ]
    for number, (image, segmentation) in enumerate(shapes, start=1):
        one = {"id": number, "image_id": image, "category_id": 1 + number % 2, "segmentation": segmentation}
        annotations.append({**one, "bbox": [4, 4, 16, 26], "iscrowd": 0})
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    file = folder / "instances.json"
    file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return file


def main(folder: Path, missing: list[str]) -> None:
    found = [name for name in missing if find_spec(name)]
    if found:
        sys.exit(f"{', '.join(found)} can be imported; expected an environment without them")
    coco = draw(folder / "coco")
    count = len(json.loads(coco.read_text())["annotations"])
    names = [entry["name"] for entry in json.loads(run("formats", "--json"))]
    for name in names:
        if name in NEEDS and not find_spec(NEEDS[name]):
            words = run("convert", coco, folder / name, "--to", name, code=1)
            if f"samlabel[{name}]" not in words:
                sys.exit(f"{name} without {NEEDS[name]}: {words!r}, expected the command that installs it")
            continue
        written, back = folder / "written" / name, folder / "back" / f"{name}.json"
        target = written / "instances.json" if name == "coco" else written
        run("convert", coco, target, "--to", name, "--allow-lossy")
        run("convert", target, back, "--to", "coco", "--from", name, "--allow-lossy")
        objects = len(json.loads(back.read_text())["annotations"])
        if objects != count:
            sys.exit(f"{name}: {objects} objects came back, expected {count}")
    run("check", coco)
    run("stats", coco)
    run("filter", coco, folder / "filtered.json", "--to", "coco", "--classes", "cat")
    run("merge", coco, folder / "filtered.json", "--out", folder / "merged.json", "--to", "coco")
    run("split", coco, folder / "parts", "--to", "coco")
    run("view", coco, "--out", folder / "view")
    print(f"{len(names)} formats, and every command that only reads and writes labels, work without", *missing)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
