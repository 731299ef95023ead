"""Digests of the label files that conversions give: `python -m tests.converters.digests` writes `digests.json` anew.

Every drawn case is written in every format and read back from it into COCO. With SAMLABEL_DATA set, every fixture of
other tools there is converted into every format as well. Only a change that is meant to change labels writes the file
anew, and its commit says which and why. A digest is of what a file says: pixels of a PNG, rows of a Parquet file.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import converters
from samlabel.errors import SamlabelError
from tests.converters.cases import CASES, drawn

FILE = Path(__file__).with_name("digests.json")
# format -> further ways to write it
WAYS: dict[str, tuple[dict[str, Any], ...]] = {
    "coco": ({"segmentation": "polygons"}, {"keep_ids": False}, {"segmentation": "polygons", "max_points": 9}),
    "cvat": ({"shapes": "polygon"}, {"shapes": "mask"}),
    "labelme": ({"shapes": "polygon"}, {"shapes": "mask"}),
    "labelstudio": ({"shapes": "polygon"}, {"shapes": "mask"}, {"into": "predictions", "prefix": "x/"}),
    "parquet": ({"pictures": "embed"},),
    "sa1b": ({"sidecar": False},),
    "yolo": ({"outline": "traced"}, {"crowds": "drop"}, {"tolerance": 1.5}),
}
IMAGES = ("images", "JPEGImages")  # folders of images, which are no labels


def said(file: Path) -> bytes:
    """What a label file says, whatever the library that packed it."""
    suffix = file.suffix.lower()
    if suffix == ".png":
        return _pixels(file.read_bytes())
    if suffix == ".parquet":
        import pyarrow.parquet as pq

        table = pq.read_table(file)
        rows = table.to_pylist()
        for row in rows:
            row["image"]["bytes"] = hashlib.sha256(row["image"]["bytes"] or b"").hexdigest()
        metadata = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
        return json.dumps([rows, metadata.get("huggingface"), metadata.get("samlabel")], sort_keys=True).encode()
    content = file.read_bytes()
    if suffix == ".json" and b'"shape_type":"mask"' in content:
        loaded = json.loads(content)
        for shape in loaded["shapes"]:
            if shape["mask"]:
                shape["mask"] = _pixels(base64.b64decode(shape["mask"])).hex()
        return json.dumps(loaded).encode()
    return content


def _pixels(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        pixels = np.asarray(image)
        palette = bytes(image.getpalette() or ()) if image.mode == "P" else b""
        return f"{image.mode} {pixels.shape} {pixels.dtype.str}".encode() + palette + pixels.tobytes()


def digest(labels: Path) -> str:
    """Of the names of all label files and what they say."""
    found = hashlib.sha256()
    for file in sorted([labels] if labels.is_file() else labels.rglob("*")):
        name = file.relative_to(labels).as_posix()
        if file.is_file() and not name.startswith(".samlabel") and name.split("/")[0] not in IMAGES:
            what = said(file)
            found.update(f"{name} {len(what)}\n".encode())
            found.update(what)
    return found.hexdigest()[:16]


def of_cases(to: str, home: Path) -> Iterator[tuple[str, str]]:
    """Of each drawn case in the format `to`: as it is written in each way, and as it comes back in COCO."""
    for number, case in enumerate(CASES):
        dataset = drawn(case, home / f"{number}")
        for way, options in enumerate(({}, *WAYS.get(to, ()))):
            out, back = home / f"{number}-{way}", home / f"{number}-{way}.json"
            images = "copy" if to == "yolo" else "none"  # without them nobody knows their sizes
            name = " ".join([f"{to}: {case}", *(f"{key}={value}" for key, value in options.items())])
            yield name, _or_error(out, converters.write, dataset, out, to, images=images, **options)
            if out.exists():
                yield (
                    f"{name}, back",
                    _or_error(
                        back, converters.convert, out, back, from_=to, to="coco", allow_lossy=True, measure="none"
                    ),
                )


def of_fixtures(root: Path, home: Path) -> Iterator[tuple[str, str]]:
    """Of every file and folder of other tools below `root` in each format; what is refused, by its message."""
    places = [p for p in sorted(root.rglob("*")) if p.is_dir() or p.suffix in (".json", ".xml", ".yaml")]
    for number, place in enumerate(places):
        for to in ("coco", "labelme", "labelstudio", "png", "sa1b", "voc", "yolo", "cvat", "parquet"):
            out = home / f"{number}" / to
            name = f"{place.relative_to(root).as_posix()} to {to}"
            made = _or_error(out, converters.convert, place, out, to=to, allow_lossy=True, images="none")
            if made.startswith("refused") and to == "coco":
                break  # not a dataset, in any format
            yield name, made


def _or_error(out: Path, make: Callable[..., object], *args: object, **options: object) -> str:
    """The digest of what `make` leaves at `out`, or which error it ends in."""
    try:
        make(*args, **options)
    except SamlabelError as error:
        return f"refused: {type(error).__name__}"
    return digest(out)


def main() -> None:
    kept = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        names = [info.name for info in converters.list_formats() if info.problem is None]
        kept["cases"] = {name: dict(of_cases(name, home / name)) for name in names}
        if data := os.environ.get("SAMLABEL_DATA"):
            kept["fixtures"] = dict(of_fixtures(Path(data) / "fixtures", home / "fixtures"))
    FILE.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
