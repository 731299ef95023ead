"""The labels of two commits, compared byte by byte: python -m tests.benchmarks.same_labels BEFORE [--data DATA]

Each way to label runs with the code of either commit on the same images: drawn ones, and with `--data` photos of that
folder's val.json too. Prints one line a way; exit code 1 where a file differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FORMATS = [word for name in ("coco", "yolo", "voc", "labelme") for word in ("--format", name)]
# Each way: the command, and what follows the images and the output.
WAYS = {
    "detector": ("annotate", ["--detector", "nano", *FORMATS]),
    "grid": ("annotate", ["--detector", "none", "--points-per-side", "8", *FORMATS]),
    "labels": ("annotate", ["--detector", "labels:{home}/detector/coco/annotations.json", *FORMATS]),
    "generate png": ("generate", ["--points-per-side", "8"]),
    "generate coco_rle": ("generate", ["--points-per-side", "8", "--output-form", "coco_rle", "--crop-n-layers", "1"]),
    "generate boxes": ("generate", ["--output-form", "coco_rle", "--detector", "nano"]),
}


def main() -> int:
    """Exit code 0 where every label file is the same."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", help="a commit")
    parser.add_argument("--data", type=Path, help="folder with val.json and the photos that it names")
    parser.add_argument("--photos", type=int, default=20)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        base = Path(work)
        old = base / "code"
        subprocess.run(
            ["git", "-C", str(ROOT), "worktree", "add", "-q", "--detach", str(old), asked.before], check=True
        )
        try:
            images = _images(base / "images", asked.data, asked.photos)
            same = [_compare(name, old, images, base) for name in WAYS]
        finally:
            subprocess.run(["git", "-C", str(ROOT), "worktree", "remove", "--force", str(old)], check=True)
    return 0 if all(same) else 1


def _images(folder: Path, data: Path | None, photos: int) -> Path:
    drawing = [sys.executable, str(ROOT / "examples/draw_picture.py"), str(folder / "shapes.png")]
    subprocess.run(drawing, check=True, cwd=ROOT)
    if data is not None:
        named = sorted(one["file_name"] for one in json.loads((data / "val.json").read_text())["images"])
        for name in named[:: max(1, len(named) // photos)][:photos]:
            shutil.copy(data / name, folder / name.replace("/", "_"))
    return folder


def _compare(way: str, old: Path, images: Path, base: Path) -> bool:
    command, flags = WAYS[way]
    found = []
    for side, code in (("before", old), ("now", ROOT)):
        home = base / side
        out = home / way.replace(" ", "_")
        words = [sys.executable, "-m", "samlabel", command, str(images), "--out", str(out), "--device", "cpu", "-q"]
        words += [word.format(home=home) for word in flags]
        subprocess.run(
            words, check=True, cwd=code, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(code)}
        )
        found.append(_hashes(out))
    differ = sorted(name for name in {*found[0], *found[1]} if found[0].get(name) != found[1].get(name))
    print(
        f"{way}: {len(found[1])} files, {len(differ)} differ{': ' + ', '.join(differ[:3]) if differ else ''}",
        flush=True,
    )
    return not differ


def _hashes(out: Path) -> dict[str, str]:
    files = (file for file in out.rglob("*") if file.is_file() and ".samlabel" not in file.parts)
    return {
        file.relative_to(out).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(files)
        if file.name != "manifest.json"
    }


if __name__ == "__main__":
    sys.exit(main())
