"""How good the nano detector is, measured on labeled photos that it never saw."""

from __future__ import annotations

import contextlib
import io
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...detectors import nano
from ...detectors._nano_classes import COCO_CLASSES
from ...objects import Objects
from .classes import ANIMALS, CLASS_NAMES, GROUPS, group_of

if TYPE_CHECKING:
    from ...protocols import Detector

COMPLETE = "coco2017"  # the source that labels every object of every COCO class
LARGE = 0.04  # share of the photo: what is smaller, nobody would point at first
LOWEST = 0.02  # score of the boxes that average precision is measured on


@dataclass(frozen=True, slots=True)
class Truth:
    """A labeled object of a photo."""

    name: str
    box: tuple[float, float, float, float]  # XYXY, pixels
    crowd: bool  # an area of many, where more or fewer boxes are neither right nor wrong


@dataclass(frozen=True, slots=True)
class Box:
    """A box that the detector found."""

    name: str
    box: tuple[float, float, float, float]  # XYXY, pixels
    score: float


@dataclass(frozen=True, slots=True)
class Photo:
    """What a photo shows, and what was found there, best first."""

    path: str
    size: tuple[int, int]  # (height, width)
    truths: tuple[Truth, ...]
    found: tuple[Box, ...] = ()


def photos(data: Path, source: str, *, file: str = "val.json") -> list[Photo]:
    """The photos of `source` in `data/val.json` (COCO instances), nothing found in them yet."""
    table = json.loads((data / file).read_text(encoding="utf-8"))
    names = {one["id"]: one["name"] for one in table["categories"]}
    truths: dict[int, list[Truth]] = defaultdict(list)
    for one in table["annotations"]:
        x, y, w, h = one["bbox"]
        truths[one["image_id"]].append(Truth(names[one["category_id"]], (x, y, x + w, y + h), bool(one["iscrowd"])))
    return [
        Photo(image["file_name"], (image["height"], image["width"]), tuple(truths[image["id"]]))
        for image in table["images"]
        if image["source"] == source
    ]


def searched(detector: Detector, data: Path, shown: Iterable[Photo]) -> list[Photo]:
    """The photos with what `detector` finds in them."""
    from PIL import Image

    from ...protocols import Image as Input

    names = {category.id: category.name for category in detector.info.categories}
    done = []
    for photo in shown:
        pixels = np.array(Image.open(data / photo.path).convert("RGB"))
        (found,) = detector.detect([Input(photo.path, pixels)])
        done.append(Photo(photo.path, photo.size, photo.truths, tuple(_boxes(found, names))))
    return done


def _boxes(found: Objects, names: Mapping[int, str]) -> Iterable[Box]:
    for one in found.annotations():
        assert one.score is not None
        yield Box(names[one.category_id], one.box, one.score)


def average_precision(shown: Sequence[Photo], names: Mapping[str, str]) -> tuple[dict[str, float], dict[str, float]]:
    """AP at IoU 0.5, and at 0.5 to 0.95, of each class that occurs, by COCO's own evaluation, 100 boxes a photo.

    `names` maps the classes that count to what they are judged as: themselves, or their group.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    judged = list(dict.fromkeys(names.values()))
    truths: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    for index, photo in enumerate(shown):
        both: tuple[Truth | Box, ...] = (*photo.truths, *photo.found)
        for one in both:
            if one.name not in names:
                continue
            x0, y0, x1, y1 = one.box
            row = {"image_id": index, "category_id": judged.index(names[one.name]), "bbox": [x0, y0, x1 - x0, y1 - y0]}
            if isinstance(one, Truth):
                truths.append({**row, "id": len(truths) + 1, "area": area(one.box), "iscrowd": int(one.crowd)})
            else:
                boxes.append({**row, "score": one.score})
    with contextlib.redirect_stdout(io.StringIO()):
        table = COCO()
        table.dataset = {
            "images": [{"id": index} for index in range(len(shown))],
            "annotations": truths,
            "categories": [{"id": index, "name": name} for index, name in enumerate(judged)],
        }
        table.createIndex()
        evaluation = COCOeval(table, table.loadRes(boxes) if boxes else COCO(), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, 2]  # (IoU, recall, class); -1 where a class does not occur
    there = [index for index in range(len(judged)) if (precision[:, :, index] > -1).any()]
    at50 = {judged[index]: float(precision[0, :, index].mean()) for index in there}
    return at50, {judged[index]: float(precision[:, :, index].mean()) for index in there}


@dataclass(frozen=True, slots=True)
class Counts:
    """How many boxes of at least some score are right: same class, IoU of 0.5 or more, each object once."""

    right: int
    wrong: int
    missed: int

    @property
    def precision(self) -> float:
        return self.right / max(self.right + self.wrong, 1)

    @property
    def recall(self) -> float:
        return self.right / max(self.right + self.missed, 1)


def counts(shown: Iterable[Photo], score: float) -> Counts:
    """Right, wrong and missed boxes at `score`; a box in a crowd of its class is neither."""
    right = wrong = missed = 0
    for photo in shown:
        open_ = [one for one in photo.truths if not one.crowd]
        crowds = [one for one in photo.truths if one.crowd]
        for one in photo.found:
            if one.score < score:
                continue
            ious = [overlap(one.box, truth.box) if truth.name == one.name else 0.0 for truth in open_]
            best = max(range(len(ious)), key=ious.__getitem__, default=-1)
            if best >= 0 and ious[best] >= 0.5:
                right += 1
                del open_[best]
            elif not any(crowd.name == one.name and share(one.box, crowd.box) > 0.5 for crowd in crowds):
                wrong += 1
        missed += len(open_)
    return Counts(right, wrong, missed)


def large_found(shown: Iterable[Photo], score: float) -> dict[str, tuple[int, int]]:
    """By group: how many objects fill LARGE of their photo or more, and how many of them are found in that group."""
    there, hit = Counter[str](), Counter[str]()
    for photo in shown:
        boxes = [one for one in photo.found if one.score >= score]
        for truth in photo.truths:
            if truth.crowd or area(truth.box) < LARGE * photo.size[0] * photo.size[1]:
                continue
            group = group_of(truth.name)
            there[group] += 1
            hit[group] += any(group_of(one.name) == group and overlap(one.box, truth.box) >= 0.5 for one in boxes)
    return {group: (there[group], hit[group]) for group in GROUPS if there[group]}


def area(box: Sequence[float]) -> float:
    """Pixels of a box XYXY; 0 of an empty one."""
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)


def share(inner: Sequence[float], outer: Sequence[float]) -> float:
    """The part of `inner` that lies in `outer`."""
    common = area((*np.maximum(inner[:2], outer[:2]), *np.minimum(inner[2:], outer[2:])))
    return common / max(area(inner), 1e-9)


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes."""
    common = share(a, b) * area(a)
    return common / max(area(a) + area(b) - common, 1e-9)


def report(data: Path, *, weights: Path | None = None) -> str:
    """The figures of the bundled detector, or of other weights of it, on `data/val.json`, as text."""
    detector = nano.load(None if weights is None else str(weights), conf=LOWEST, max_det=100)
    score = nano.CONF
    ordinary = searched(detector, data, photos(data, COMPLETE))
    groups, _ = average_precision(ordinary, {name: group_of(name) for name in CLASS_NAMES})
    own50, own = average_precision(ordinary, {name: name for name in COCO_CLASSES})
    sure = counts(ordinary, score)
    large = large_found(ordinary, score)
    of, found = (sum(column) for column in zip(*large.values(), strict=True))
    lines = [
        f"Detector on {len(ordinary)} photos of {COMPLETE}:",
        "AP50 by group: " + ", ".join(f"{group} {groups[group]:.3f}" for group in GROUPS if group in groups),
        f"COCO mAP over the {len(own)} classes that occur: {np.mean(list(own.values())):.3f}"
        f" (AP50 {np.mean(list(own50.values())):.3f})",
        f"at score {score}: precision {sure.precision:.3f}, recall {sure.recall:.3f} (class and IoU 0.5)",
        f"objects of {LARGE:.0%} of the photo or more, found in their group: {found} of {of} ({found / of:.3f}): "
        + ", ".join(f"{group} {hit} of {there}" for group, (there, hit) in large.items()),
    ]
    for source, kinds in (("animals", ANIMALS), ("cats", ANIMALS), ("clothing", frozenset({"person"}))):
        shown = searched(detector, data, photos(data, source))
        together, _ = average_precision(shown, {name: group_of(name) for name in kinds})
        each, _ = average_precision(shown, {name: name for name in kinds.intersection(COCO_CLASSES)})
        rows = ", ".join(f"{name} {value:.3f}" for name, value in sorted(each.items()))
        grouped = ", ".join(f"{name} {value:.3f}" for name, value in together.items())
        lines.append(f"Detector on {len(shown)} photos of {source}: AP50 as a group {grouped}; by class {rows}")
    return "\n".join(lines)
