"""COCO instances: one JSON file with images, annotations and categories.

https://cocodataset.org/#format-data; masks as compressed RLE with text counts, uncompressed RLE or polygons.
Fields that samlabel does not read pass through in `extra`.
"""

from __future__ import annotations

from pathlib import Path

from converters.features import FEATURES
from converters.format import Capabilities, Format, WriteReport
from converters.options import ReadOptions
from samlabel.types import Annotation, Dataset, Mask

from .reader import read, recognize
from .writer import CocoOptions, existing, rendered_mask, write


class Coco(Format[CocoOptions]):
    name = "coco"
    summary = "COCO instances: one JSON file with images, annotations and categories"
    options = CocoOptions
    capabilities = Capabilities(frozenset(FEATURES), one_file=True, reader="pycocotools", redraws=True)

    def recognize(self, path: Path) -> str | None:
        return recognize(path)

    def read(self, path: Path, options: ReadOptions = ReadOptions()) -> Dataset:
        return read(path, options)

    def write(self, dataset: Dataset, path: Path, options: CocoOptions) -> WriteReport:
        return write(dataset, path, options)

    def existing(self, path: Path) -> Path | None:
        return existing(path)

    def keeps(self, options: CocoOptions) -> frozenset[str]:
        keeps = self.capabilities.keeps
        return keeps - {"exact_masks"} if options.budget.is_set else keeps

    def rendered_mask(self, annotation: Annotation, options: CocoOptions) -> Mask | None:
        return rendered_mask(annotation, options)


FORMAT = Coco()
