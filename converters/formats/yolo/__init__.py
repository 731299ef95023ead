"""YOLO segmentation and boxes: `images/`, `labels/` with one text file an image, and `data.yaml`.

https://docs.ultralytics.com/datasets/segment/. A row is a class index and either `cx cy w h` or the points of one
closed polygon, all divided by the image's width and height. Holes and parts of an object share its row, joined by
zero-width seams; samlabel reads its own rows back bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from converters.format import Capabilities, WriteReport
from converters.imagewise import ImagewiseFormat, Update
from converters.options import ReadOptions
from samlabel.reach import Reach
from samlabel.types import Annotation, Category, Dataset, ImageRecord, Mask, Size

from .encoder import is_one_polygon, is_outside, rendered_ious, rendered_mask
from .options import YoloOptions
from .reader import read, recognize
from .unsized import Labels, read_unsized
from .writer import YoloAudit, existing, write


class Yolo(ImagewiseFormat[YoloOptions]):
    name = "yolo"
    summary = "YOLO segmentation and boxes: `images/`, `labels/` with one text file an image, and `data.yaml`"
    options = YoloOptions
    capabilities = Capabilities(
        frozenset(["exact_masks", "holes", "parts", "boxes_without_mask", "empty_images", "category_names"]),
        reader="ultralytics",
        redraws=True,
    )

    def recognize(self, path: Path) -> str | None:
        return recognize(path)

    def read(self, path: Path, options: ReadOptions = ReadOptions()) -> Dataset:
        return read(path, options)

    def write(self, dataset: Dataset, path: Path, options: YoloOptions) -> WriteReport:
        return write(dataset, path, options)

    def update(self, dataset: Dataset, path: Path, options: YoloOptions, update: Update) -> WriteReport:
        return write(dataset, path, options, update)

    def read_unsized(self, path: Path, reach: Reach) -> Labels | None:
        return read_unsized(path, reach=reach)

    def existing(self, path: Path) -> Path | None:
        return existing(path)

    def keeps(self, options: YoloOptions) -> frozenset[str]:
        keeps = self.capabilities.keeps
        return keeps - {"exact_masks"} if options.budget.is_set else keeps

    def dropped(self, annotation: Annotation, keeps: frozenset[str]) -> str | None:
        mask = annotation.mask
        if mask is None:
            return None
        if is_one_polygon(mask):  # its points are written, however thin it is
            return "empty-mask-lost" if is_outside(mask) else None
        return None if mask.area else "empty-mask-lost"

    def refused(self, record: ImageRecord) -> str | None:
        has_mask = [one.mask is not None for one in record.annotations]
        mixed = any(has_mask) and not all(has_mask)
        return "boxes and polygons in one label file, which ultralytics passes over with its image" if mixed else None

    def audit(self, categories: Iterable[Category]) -> YoloAudit:
        return YoloAudit(categories)

    def rendered_mask(self, annotation: Annotation, options: YoloOptions) -> Mask | None:
        return rendered_mask(annotation, options)

    def rendered_ious(self, annotations: Sequence[Annotation], size: Size, options: YoloOptions) -> list[float | None]:
        return rendered_ious(annotations, size, options)


FORMAT = Yolo()
