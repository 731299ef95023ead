"""Annotate with the installed wheel and look at the labels: wheel_check.py WHEEL TRACKED IMAGES OUT

TRACKED lists the repository's files of the packages: code, weights and marks of typing must be in the wheel.
"""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import NoReturn

import converters
import sam
import samlabel

SHIPPED = (".py", ".safetensors", "py.typed")


def complain(message: str) -> NoReturn:
    sys.exit(f"wheel: {message}")


def main(wheel: Path, tracked: Path, images: Path, out: Path) -> None:
    for package in (samlabel, sam, converters):
        if not Path(package.__file__ or "").is_relative_to(sys.prefix):
            complain(f"{package.__name__} comes from {package.__file__}, expected the environment {sys.prefix}")
    inside = set(zipfile.ZipFile(wheel).namelist())
    missing = [name for name in tracked.read_text().splitlines() if name.endswith(SHIPPED) and name not in inside]
    if missing:
        complain(f"{', '.join(missing)} missing in {wheel.name}")

    command = [str(Path(sys.executable).with_name("samlabel")), "annotate", str(images), "--out", str(out)]
    formats = ("coco", "yolo", "sa1b")
    subprocess.run([*command, *(word for name in formats for word in ("--format", name))], check=True)
    count = len(list(images.rglob("*.png")))
    coco = json.loads((out / "coco" / "annotations.json").read_text(encoding="utf-8"))
    for image in coco["images"]:
        own = [one for one in coco["annotations"] if one["image_id"] == image["id"]]
        if not own or not all(one["segmentation"] and one["area"] > 0 and one["score"] > 0 for one in own):
            complain(f"{image['file_name']}: {len(own)} objects, expected some, each with a mask and a score")
    if len(coco["images"]) != count:
        complain(f"{len(coco['images'])} images in COCO, expected {count}")
    objects = len(coco["annotations"])
    for name in ("yolo", "sa1b"):
        read = converters.read(out / name, name)
        found = sum(len(record.annotations) for record in read.records)
        if found != objects:
            complain(f"{found} objects in {name}, expected {objects} as in COCO")
    print(f"{wheel.name} annotated {count} drawn images with {objects} objects outside the repository")


if __name__ == "__main__":
    main(*(Path(word) for word in sys.argv[1:]))
