"""Drawn datasets that are hard to convert, and how to compare what comes back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from samlabel.types import Annotation, Category, Dataset, ImageRecord, Mask

SIZE = (24, 32)


def pixels(draw: Callable[[np.ndarray], None], size: tuple[int, int] = SIZE) -> Mask:
    canvas = np.zeros(size, bool)
    draw(canvas)
    return Mask.from_pixels(canvas)


def rectangle(x0: int, y0: int, x1: int, y1: int, size: tuple[int, int] = SIZE) -> Mask:
    return pixels(lambda a: a.__setitem__((slice(y0, y1), slice(x0, x1)), True), size)


def minus(mask: Mask, *others: Mask) -> Mask:
    left = mask.to_pixels()
    for other in others:
        left &= ~other.to_pixels()
    return Mask.from_pixels(left)


def plus(*masks: Mask) -> Mask:
    return Mask.from_pixels(np.logical_or.reduce([mask.to_pixels() for mask in masks]))


def thing(mask: Mask, category_id: int = 1, **fields) -> Annotation:
    return Annotation(category_id, mask.box, mask, **fields)


HOLED = minus(rectangle(4, 4, 20, 20), rectangle(8, 8, 14, 12))
NESTED = plus(HOLED, rectangle(10, 9, 12, 11))
TWO = plus(rectangle(1, 1, 6, 6), rectangle(20, 12, 30, 20))
TALL = (32, 24)
# The 80 classes of COCO are numbered from 1 to 90; these numbers are left out.
COCO_80 = tuple(
    Category(number, f"class {number}")
    for number in range(1, 91)
    if number not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
)
LETTERS = (Category(1, "cat"), Category(3, "traffic light"), Category(90, "Brücke \"鳥\": 'x'"))


def one(*annotations: Annotation, path: str = "a.png", size: tuple[int, int] = SIZE) -> list[ImageRecord]:
    return [ImageRecord(path, size, annotations)]


# name -> (categories, records)
CASES: dict[str, tuple[tuple[Category, ...], list[ImageRecord]]] = {
    "hole": (LETTERS, one(thing(HOLED))),
    "two parts": (LETTERS, one(thing(TWO))),
    "nested parts": (LETTERS, one(thing(NESTED))),
    "diagonal pixels": (LETTERS, one(thing(plus(rectangle(3, 3, 4, 4), rectangle(4, 4, 5, 5))))),
    "one pixel": (LETTERS, one(thing(rectangle(7, 9, 8, 10)))),
    "one pixel in the last corner": (LETTERS, one(thing(rectangle(31, 23, 32, 24)))),
    "line of one pixel's width": (LETTERS, one(thing(rectangle(2, 9, 30, 10)), thing(rectangle(5, 1, 6, 22), 3))),
    "every border": (LETTERS, one(thing(minus(rectangle(0, 0, 32, 24), rectangle(6, 6, 26, 18))))),
    "full image": (LETTERS, one(thing(rectangle(0, 0, 32, 24)))),
    "crowd": (LETTERS, one(thing(TWO, iscrowd=True), thing(HOLED))),
    "empty mask": (LETTERS, one(thing(pixels(lambda a: None)), thing(HOLED))),
    "empty image": (LETTERS, one() + one(thing(HOLED), path="b.png")),
    "no images": (LETTERS, []),
    "ids with gaps": (
        LETTERS,
        [
            ImageRecord("a.png", SIZE, (thing(TWO, 90, id=70), thing(HOLED, 3, id=4)), id=12),
            ImageRecord("b.png", SIZE, (thing(HOLED, 1, id=9),), id=5),
        ],
    ),
    "supercategory": ((Category(0, "cat", "animal"),), one(thing(HOLED, 0))),
    "scores": (
        LETTERS,
        one(
            thing(
                HOLED,
                score=0.123456789,
                predicted_iou=0.9,
                stability_score=0.75,
                source="nano+nano",
                point_coords=((6.5, 6.5),),
                crop_box=(0, 0, 30, 20),
                id=1,
            ),
            thing(TWO, score=1.0, id=2),
        ),
    ),
    "boxes alone": (LETTERS, one(Annotation(1, (1.25, 2.5, 10, 20)), Annotation(90, (0, 0, 32, 24)))),
    "boxes among masks": (LETTERS, one(thing(HOLED), Annotation(3, (2, 3, 9, 12)))),
    "box wider than its mask": (LETTERS, one(Annotation(1, (1.5, 2, 30, 22.25), HOLED, id=1))),
    "further fields": (
        LETTERS,
        [ImageRecord("a.png", SIZE, (thing(HOLED, id=1, extra={"note": "ä"}),), id=1, extra={"licence": 3})],
    ),
    "names": (
        LETTERS,
        one(thing(HOLED), path="a b.png")
        + one(thing(TWO), path='it\'s "here", ok.png')
        + one(thing(HOLED, 90), path="sub dir/Ünïcödé 鳥.png"),
    ),
    "same stem in two folders": (LETTERS, one(thing(HOLED), path="x/a.png") + one(thing(TWO, 3), path="y/a.png")),
    "a folder called images": (LETTERS, one(thing(HOLED), path="images/a.png") + one(thing(TWO), path="b.png")),
    "same stem, two extensions": (LETTERS, one(thing(HOLED), path="a.jpg") + one(thing(TWO, 3), path="a.png")),
    "ids 1 to 90 with gaps": (
        COCO_80,
        [
            ImageRecord("a.png", SIZE, (thing(HOLED, 90, id=1), thing(rectangle(22, 1, 30, 5), 1, id=900)), id=139),
            ImageRecord("b.png", SIZE, (thing(TWO, 13, id=7),), id=581781),
        ],
    ),
    "string ids": (
        LETTERS,
        [ImageRecord("a.png", SIZE, (thing(HOLED, extra={"id": "f0c1-a"}),), extra={"id": "photo 鳥"})],
    ),
    "photo turned by EXIF": (LETTERS, one(thing(rectangle(2, 20, 9, 30, TALL)), path="turned.jpg", size=TALL)),
    "several sizes": (
        LETTERS,
        one(thing(HOLED)) + one(thing(rectangle(90, 3, 97, 61, (61, 97))), path="b.png", size=(61, 97)),
    ),
}

# What each case is about, in the words of KEEPS; a case without words must survive every format.
NEEDS: dict[str, frozenset[str]] = {
    "hole": frozenset({"holes"}),
    "two parts": frozenset({"parts"}),
    "nested parts": frozenset({"holes", "parts"}),
    "every border": frozenset({"holes"}),
    "crowd": frozenset({"crowd"}),
    "empty mask": frozenset({"empty_masks"}),
    "empty image": frozenset({"empty_images"}),
    "ids with gaps": frozenset({"category_ids", "image_ids", "annotation_ids"}),
    "ids 1 to 90 with gaps": frozenset({"category_ids", "image_ids", "annotation_ids"}),
    "string ids": frozenset({"extra_fields"}),
    "supercategory": frozenset({"supercategories"}),
    "scores": frozenset({"scores", "mask_scores", "source", "prompts"}),
    "boxes alone": frozenset({"boxes_without_mask"}),
    "boxes among masks": frozenset({"boxes_without_mask"}),
    "box wider than its mask": frozenset({"boxes"}),
    "further fields": frozenset({"extra_fields"}),
}


def _overlap(record: ImageRecord) -> bool:
    painted = [a.mask.to_pixels() for a in record.annotations if a.mask is not None]
    return bool(painted) and bool((np.sum(painted, axis=0) > 1).any())


# One pixel, one object: a format that says so cuts masks that lie over others.
for _case, (_, _records) in CASES.items():
    if any(_overlap(record) for record in _records):
        NEEDS[_case] = NEEDS.get(_case, frozenset()) | {"exact_masks"}


def drawn(case: str, folder: Path) -> Dataset:
    """The dataset of a case with its images drawn below `folder`."""
    categories, records = CASES[case]
    folder.mkdir(parents=True, exist_ok=True)
    for record in records:
        file = folder / record.path
        file.parent.mkdir(parents=True, exist_ok=True)
        if record.path == "turned.jpg":  # stored lying on its side; 6 says "turn me by 90 degrees"
            exif = Image.Exif()
            exif[0x0112] = 6
            Image.new("RGB", record.size, (90, 120, 150)).save(file, exif=exif)
        else:
            Image.new("RGB", record.size[::-1], (90, 120, 150)).save(file)
    return Dataset(categories, records, folder)


def seen(dataset: Dataset, keeps: frozenset[str]) -> list[object]:
    """Everything in a dataset that a format with these KEEPS must give back, in a form that compares."""
    names = {category.id: category.name for category in dataset.categories}

    def number(category_id: int) -> object:
        return (names[category_id], category_id) if "category_ids" in keeps else names[category_id]

    def one_object(annotation: Annotation) -> object:
        mask = annotation.mask
        facts: list[object] = [number(annotation.category_id)]
        facts += [mask and (mask.size, mask.counts)]
        facts += [tuple(round(v, 3) for v in annotation.box)] if mask is None or "boxes" in keeps else []
        facts += [annotation.iscrowd] if "crowd" in keeps else []
        facts += [annotation.score] if "scores" in keeps else []
        facts += [annotation.predicted_iou, annotation.stability_score] if "mask_scores" in keeps else []
        facts += [annotation.source] if "source" in keeps else []
        facts += [annotation.point_coords, annotation.crop_box] if "prompts" in keeps else []
        facts += [dict(annotation.extra)] if "extra_fields" in keeps else []
        return tuple(facts)

    records = [
        (record.path, record.size, [one_object(a) for a in record.annotations])
        + ((dict(record.extra),) if "extra_fields" in keeps else ())
        for record in dataset.records
    ]
    table = [number(c.id) for c in dataset.categories]
    table += [c.supercategory for c in dataset.categories] if "supercategories" in keeps else []
    return [table, sorted(records, key=lambda record: record[0])]


def files_of(folder: Path) -> dict[str, bytes]:
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}
