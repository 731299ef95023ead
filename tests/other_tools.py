"""Labels written here, loaded by other tools: `python -m tests.other_tools`, in an environment that has some of them.

Draws two photos with a holed object, one of two parts and a plain one, writes every format, and compares what each
installed tool gets back with what went in. A line a tool: how many masks are the same, and their lowest IoU. Exit code
1 when an object or a class is lost or a mask is worse than the tool's own way of filling allows. No test collects this.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

import converters
from samlabel.types import Dataset, ImageRecord
from tests.converters.cases import HOLED, LETTERS, SIZE, TWO, drawn, rectangle, thing

Loaded = Iterable[
    tuple[str, np.ndarray]
]  # class name and pixels of each object, in the order of the images and objects


def dataset(folder: Path) -> Dataset:
    drawn("empty image", folder)
    records = [
        ImageRecord("a.png", SIZE, (thing(HOLED), thing(rectangle(22, 2, 30, 9), 3)), id=1),
        ImageRecord("b.png", SIZE, (thing(TWO, 90), thing(rectangle(8, 2, 16, 7))), id=2),
    ]
    return Dataset(LETTERS, records, folder)


def pycocotools(home: Path, labels: Path) -> Loaded:
    from pycocotools.coco import COCO

    converters.convert(labels, home / "coco.json", to="coco", segmentation="polygons")
    found = COCO(str(home / "coco.json"))
    for one in found.loadAnns(found.getAnnIds()):
        yield found.cats[one["category_id"]]["name"], found.annToMask(one).astype(bool)


def supervision(way: str) -> Callable[[Path, Path], Loaded]:
    def load(home: Path, labels: Path) -> Loaded:
        import supervision as sv

        out = home / way
        if way == "coco":
            converters.convert(labels, out, to="coco", segmentation="polygons", images="copy")
            found = sv.DetectionDataset.from_coco(str(out / "images"), str(out / "annotations.json"), force_masks=True)
        elif way == "yolo":
            converters.convert(labels, out, to="yolo", allow_lossy=True)
            places = (str(out / "images"), str(out / "labels"), str(out / "data.yaml"))
            found = sv.DetectionDataset.from_yolo(*places, force_masks=True)
        else:  # boxes: supervision reads no pictures of objects
            converters.convert(labels, out, to="voc", allow_lossy=True)
            found = sv.DetectionDataset.from_pascal_voc(str(out / "JPEGImages"), str(out / "Annotations"))
        for _, _, detections in sorted(found, key=lambda item: item[0]):
            for place in range(len(detections)):
                name = found.classes[int(detections.class_id[place])]
                if way == "voc":
                    x0, y0, x1, y1 = (round(v) for v in detections.xyxy[place])
                    yield name, rectangle(x0, y0, x1, y1).to_pixels()
                else:
                    yield name, detections.mask[place].astype(bool)

    return load


def datasets(home: Path, labels: Path) -> Loaded:
    from datasets import load_dataset
    from pycocotools import mask

    converters.convert(labels, home / "set", to="parquet", pictures="embed")
    found = load_dataset(str(home / "set"), split="train", cache_dir=str(home / "cache"))
    names = None
    for row in found:
        assert (row["image"].height, row["image"].width) == SIZE and row["file_name"] in ("a.png", "b.png")
        names = names or _class_names(found.features["objects"])
        for category, rle in zip(row["objects"]["category"], row["objects"]["segmentation"], strict=True):
            yield names[category], mask.decode({**rle, "counts": rle["counts"].encode()}).astype(bool)


def _class_names(objects: Any) -> list[str]:
    feature = objects["category"] if isinstance(objects, dict) else objects.feature["category"]
    return getattr(feature, "feature", feature[0] if isinstance(feature, list) else feature).names


def labelme(home: Path, labels: Path) -> Loaded:
    try:
        from labelme._label_file import LabelFile  # where version 5.11 has it
    except ModuleNotFoundError:
        from labelme.label_file import LabelFile
    from labelme.utils import shape_to_mask

    converters.convert(labels, home / "labelme", to="labelme", shapes="polygon", allow_lossy=True)
    for file in sorted((home / "labelme").glob("*.json")):
        groups: dict[Any, tuple[str, np.ndarray]] = {}
        for number, shape in enumerate(LabelFile(str(file)).shapes):
            pixels = shape_to_mask(SIZE, shape["points"], shape["shape_type"])
            key = number if shape["group_id"] is None else f"group {shape['group_id']}"
            before = groups.get(key, (shape["label"], np.zeros(SIZE, bool)))[1]
            groups[key] = (shape["label"], before | pixels)
        yield from groups.values()


def label_studio_sdk(home: Path, labels: Path) -> Loaded:
    from label_studio_sdk.converter.brush import decode_rle

    converters.convert(labels, home / "studio", to="labelstudio", shapes="mask")
    for task in json.loads((home / "studio" / "tasks.json").read_text(encoding="utf-8")):
        for region in task["annotations"][0]["result"]:
            flat = np.asarray(decode_rle(region["value"]["rle"]))
            yield region["value"]["brushlabels"][0], flat.reshape(*SIZE, 4)[..., 3] > 0


# what is loaded -> (package, how, lowest IoU that the tool's own way of filling leaves)
TOOLS: dict[str, tuple[str, Callable[[Path, Path], Loaded], float]] = {
    "COCO polygons in pycocotools": ("pycocotools", pycocotools, 1.0),
    "COCO polygons in supervision": ("supervision", supervision("coco"), 0.6),
    "YOLO rows in supervision": ("supervision", supervision("yolo"), 0.6),
    "VOC boxes in supervision": ("supervision", supervision("voc"), 0.0),
    "Parquet in datasets": ("datasets", datasets, 1.0),
    "labelme polygons in labelme": ("labelme", labelme, 1.0),
    "Label Studio brushes in label-studio-sdk": ("label_studio_sdk", label_studio_sdk, 1.0),
}


def compared(loaded: Loaded, truth: list[tuple[str, np.ndarray]], least: float) -> str:
    """What came back of what went in; AssertionError when it is too little."""
    found = list(loaded)
    assert [name for name, _ in found] == [name for name, _ in truth], f"classes {[name for name, _ in found]}"
    ious = [(one & other).sum() / (one | other).sum() for (_, one), (_, other) in zip(found, truth, strict=True)]
    assert min(ious) >= least, f"lowest IoU {min(ious):.3f}"
    same = sum(iou == 1 for iou in ious)
    return f"{len(found)} objects with their classes, {same} bit for bit, lowest IoU {min(ious):.3f}"


def main() -> int:
    failed = False
    for title, (package, load, least) in TOOLS.items():
        try:
            importlib.import_module(package)
        except ImportError as error:
            print(f"{title}: not here ({error})")
            continue
        version = importlib.metadata.version(package.replace("_", "-"))
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder)
            whole = dataset(home / "photos")
            converters.write(whole, home / "photos" / "in.json", "coco")
            names = {category.id: category.name for category in LETTERS}
            truth = [(names[a.category_id], a.mask.to_pixels()) for r in whole.records for a in r.annotations]
            try:
                print(f"{title} {version}: {compared(load(home, home / 'photos' / 'in.json'), truth, least)}")
            except Exception as error:
                failed = True
                print(f"{title} {version}: FAILED, {type(error).__name__}: {' '.join(str(error).split())[:300]}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
