"""What is in a dataset: counts, sizes, balance of classes, repetitions."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..types import Annotation, Dataset, ImageRecord
from .likeness import groups_of_like, picture_hash
from .narrow import area_of

SMALL, LARGE = 32**2, 96**2  # pixels: COCO's small, medium and large objects, https://cocodataset.org/#detection-eval
EXAMPLES = 10
_MARKS = ("min", "lower quartile", "median", "upper quartile", "max")


@dataclass
class ClassCount:
    """One class: objects, images that show it, and the median area of its objects in pixels."""

    name: str
    objects: int = 0
    images: int = 0
    median_area: float | None = None


@dataclass
class Stats:
    """Counts over a whole dataset. Areas are pixels of masks, of boxes where there is no mask."""

    images: int = 0
    empty_images: int = 0
    objects: int = 0
    masks: int = 0
    crowds: int = 0
    scores: int = 0
    empty_masks: int = 0
    classes: list[ClassCount] = field(default_factory=list)
    unused_classes: list[str] = field(default_factory=list)
    imbalance: float | None = None  # objects of the most frequent class to those of the least frequent that has any
    evenness: float | None = None  # entropy of the classes over its largest value: 1 when all are equally frequent
    small: int = 0
    medium: int = 0
    large: int = 0
    areas: dict[str, float] = field(default_factory=dict)  # min, quartiles, max
    area_bins: dict[str, int] = field(default_factory=dict)  # side of a square of that area, from 2^k -> objects
    objects_per_image: dict[str, float] = field(default_factory=dict)
    image_sizes: dict[str, int] = field(default_factory=dict)  # "width x height" -> images, the ten most frequent
    repeated_objects: int = 0  # of the same class, box and mask as an earlier one of the image
    repeated_examples: list[str] = field(default_factory=list)
    pictures_compared: int = 0
    like_pictures: list[list[str]] = field(default_factory=list)  # groups of photos that look alike

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> list[str]:
        """For people: one fact a line."""
        lines = [
            f"images  {self.images}, {self.empty_images} without objects",
            f"objects {self.objects}, {self.masks} with a mask ({self.empty_masks} of no pixel), {self.crowds} crowds, "
            f"{self.scores} with a score",
        ]
        if self.objects:
            lines.append(f"size    {self.small} small (below 32x32 pixels), {self.medium} medium, {self.large} large")
            lines.append("area    " + ", ".join(f"{name} {value:.0f}" for name, value in self.areas.items()))
            lines.append("objects an image: " + ", ".join(f"{k} {v:g}" for k, v in self.objects_per_image.items()))
        if self.imbalance is not None:
            lines.append(
                f"balance {self.imbalance:.1f} to 1 between the most and the least frequent class, evenness "
                f"{self.evenness:.2f}"
            )
        if self.unused_classes:
            lines.append(f"classes without objects: {', '.join(self.unused_classes)}")
        if self.repeated_objects:
            lines.append(f"repeated objects: {self.repeated_objects}, such as {self.repeated_examples[0]}")
        if self.pictures_compared:
            count = sum(map(len, self.like_pictures))
            groups = f"{count} in {len(self.like_pictures)} groups that look alike"
            lines.append(f"photos  {self.pictures_compared} compared, {groups}")
            lines += ["        " + ", ".join(group) for group in self.like_pictures[:EXAMPLES]]
        return lines


def collect(dataset: Dataset, *, image_root: Path | None = None, pictures: bool = True) -> Stats:
    """Count a dataset by one pass over its records; `pictures` also looks for photos that look alike.

    Memory grows by some numbers an object. Pictures are looked for in `image_root`, or the dataset's own folder.
    """
    stats = Stats()
    categories = sorted(dataset.categories, key=lambda c: c.id)
    counts = {c.id: ClassCount(c.name) for c in categories}
    areas = {c.id: array("d") for c in categories}
    per_image = array("l")
    sizes: Counter[str] = Counter()
    hashes: dict[str, int | None] = {}
    files = dataset.images_in(image_root)
    for record in dataset.records:
        stats.images += 1
        stats.empty_images += not record.annotations
        per_image.append(len(record.annotations))
        sizes[f"{record.size[1]} x {record.size[0]}"] += 1
        for annotation in record.annotations:
            _count(stats, annotation)
            counts[annotation.category_id].objects += 1
            areas[annotation.category_id].append(area_of(annotation))
        for number in {a.category_id for a in record.annotations}:
            counts[number].images += 1
        _find_repeated(stats, record)
        if pictures and files.root is not None:
            hashes[record.path] = picture_hash(files.find(record.path))
    _summarise(stats, counts, areas, per_image)
    stats.image_sizes = dict(sizes.most_common(10))
    stats.pictures_compared = sum(value is not None for value in hashes.values())
    stats.like_pictures = [group for group in groups_of_like(hashes) if len(group) > 1]
    return stats


def _count(stats: Stats, annotation: Annotation) -> None:
    stats.objects += 1
    stats.masks += annotation.mask is not None
    stats.empty_masks += annotation.mask is not None and not annotation.mask.area
    stats.crowds += annotation.iscrowd
    stats.scores += annotation.score is not None


def _find_repeated(stats: Stats, record: ImageRecord) -> None:
    seen: set[object] = set()
    for place, a in enumerate(record.annotations, start=1):
        key = (a.category_id, a.mask.counts if a.mask is not None else tuple(round(v, 2) for v in a.box))
        if key in seen:
            stats.repeated_objects += 1
            if len(stats.repeated_examples) < EXAMPLES:
                stats.repeated_examples.append(f"{record.path}, object {place}")
        seen.add(key)


def _summarise(
    stats: Stats, counts: dict[int, ClassCount], areas: dict[int, array[float]], per_image: array[int]
) -> None:
    for number, values in areas.items():
        counts[number].median_area = float(np.median(values)) if len(values) else None
    stats.classes = sorted(counts.values(), key=lambda c: (-c.objects, c.name))
    stats.unused_classes = [c.name for c in counts.values() if not c.objects]
    used = [c.objects for c in counts.values() if c.objects]
    if used:
        stats.imbalance = max(used) / min(used)
        shares = np.array(used) / sum(used)
        stats.evenness = float(-(shares * np.log(shares)).sum() / math.log(len(used))) if len(used) > 1 else 1.0
        every = np.concatenate([np.frombuffer(values) for values in areas.values() if len(values)])
        stats.small, stats.large = int((every < SMALL).sum()), int((every >= LARGE).sum())
        stats.medium = stats.objects - stats.small - stats.large
        marks = np.quantile(every, (0, 0.25, 0.5, 0.75, 1)).tolist()
        stats.areas = dict(zip(_MARKS, marks, strict=True))
        sides = np.floor(np.log2(np.maximum(np.sqrt(every), 1))).astype(int)
        bins = np.bincount(sides)
        first = int(np.flatnonzero(bins)[0])
        stats.area_bins = {str(2**k): int(bins[k]) for k in range(first, len(bins))}
    if len(per_image):
        numbers = np.array(per_image)
        stats.objects_per_image = {
            "min": float(numbers.min()),
            "mean": round(float(numbers.mean()), 2),
            "median": float(np.median(numbers)),
            "max": float(numbers.max()),
        }
