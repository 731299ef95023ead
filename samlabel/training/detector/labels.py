"""What the detector is taught about each photo: the photo's own labels, and what a teacher sees beside them.

A source that labels cats says nothing about the people in the same photo. Taught as background, they would be
unlearnt, so what a source leaves unlabeled is labeled by the initial network at several sizes, one of them mirrored,
averaged. Where it is sure, its box is a label; where it is not, the place teaches nothing about the class.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.ops import box_iou

from ...detectors._nano_inference import Found, candidates, pooled
from ...detectors._nanodet import NanoDet
from .classes import ANIMALS, CLASS_NAMES

ALSO_CALLED = {"bag": "handbag", "purse": "handbag"}
COMPLETE = frozenset({"coco2017", "nuclei", "mushrooms"})  # sources that leave nothing of ours unlabeled
ALL_ANIMALS = frozenset({"animals", "cats"})  # sources that label every animal, so that another one is a mistake
VIEWS = ((416, False), (512, True), (640, False))  # size, mirrored
SURE, UNSURE = 0.4, 0.1  # averaged scores from which a teacher's box is a label, or is left out of the loss
SAME = 0.5  # IoU from which two boxes show one object


@dataclass(frozen=True, slots=True)
class Labels:
    """One photo's boxes, XYXY in pixels. A class is an index into CLASS_NAMES."""

    path: str  # relative to the data
    source: str
    boxes: list[list[float]]
    classes: list[int]
    ignored_boxes: list[list[float]]  # places that teach nothing about the class
    ignored_classes: list[int]


def labels(data: Path, teacher: NanoDet) -> Iterator[Labels]:
    """The labels of each photo of `data/train.json` (COCO instances whose images have a `source`)."""
    table = json.loads((data / "train.json").read_text(encoding="utf-8"))
    names = {one["id"]: one["name"] for one in table["categories"]}
    annotations: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in table["images"]}
    for one in table["annotations"]:
        annotations[one["image_id"]].append(one)
    for image in table["images"]:
        boxes: list[list[float]] = []
        classes: list[int] = []
        ignored_boxes: list[list[float]] = []
        ignored_classes: list[int] = []
        for one in annotations[image["id"]]:
            name = ALSO_CALLED.get(names[one["category_id"]], names[one["category_id"]])
            if name not in CLASS_NAMES:
                continue
            x, y, w, h = one["bbox"]
            (ignored_boxes if one["iscrowd"] else boxes).append([x, y, x + w, y + h])
            (ignored_classes if one["iscrowd"] else classes).append(CLASS_NAMES.index(name))
        if image["source"] not in COMPLETE:
            seen = taught(teacher, _pixels(data / image["file_name"]))
            own = torch.tensor(boxes).view(-1, 4)
            new = box_iou(seen.boxes, own).amax(1) < SAME if len(own) else torch.ones(len(seen.boxes), dtype=torch.bool)
            for box, score, kind in zip(*(column[new].tolist() for column in seen), strict=True):
                wrong = image["source"] in ALL_ANIMALS and CLASS_NAMES[kind] in ANIMALS
                sure = score >= SURE and not wrong
                (boxes if sure else ignored_boxes).append(box)
                (classes if sure else ignored_classes).append(kind)
        yield Labels(image["file_name"], image["source"], boxes, classes, ignored_boxes, ignored_classes)


@torch.inference_mode()
def taught(teacher: NanoDet, pixels: NDArray[np.uint8]) -> Found:
    """Boxes that `teacher` sees in several views, each with the mean of its best score in every view."""
    views = []
    for size, mirrored in VIEWS:
        one = candidates(teacher, pixels[:, ::-1].copy() if mirrored else pixels, size, conf=0.05)
        if mirrored:
            x0, y0, x1, y1 = one.boxes.unbind(1)
            width = pixels.shape[1]
            one = one._replace(boxes=torch.stack([width - x1, y0, width - x0, y1], 1))
        views.append(one)
    found = pooled(views, iou=SAME, most=300)
    means = torch.zeros(len(found.boxes))
    for one in views:
        if len(one.boxes) and len(found.boxes):
            same = (box_iou(found.boxes, one.boxes) > SAME) & (found.classes[:, None] == one.classes)
            means += (one.scores * same).amax(1) / len(views)
    keep = means >= UNSURE
    return Found(found.boxes[keep], means[keep], found.classes[keep])


def write(found: Iterator[Labels], file: Path) -> Iterator[Labels]:
    """Hands `found` on and writes it to `file`, one photo a line, complete or not at all."""
    part = file.with_suffix(".part")
    with part.open("w", encoding="utf-8") as lines:
        for one in found:
            lines.write(json.dumps(asdict(one)) + "\n")
            yield one
    part.replace(file)


def read(file: Path) -> list[Labels]:
    """The labels that `write` left in `file`."""
    return [Labels(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]


def _pixels(path: Path) -> NDArray[np.uint8]:
    from PIL import Image

    return np.array(Image.open(path).convert("RGB"))
