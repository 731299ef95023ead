"""CVAT for images 1.1: one XML file with polygons, masks as row-wise runs, and boxes.

https://docs.cvat.ai/docs/manual/advanced/xml_format/. A mask's runs go row by row through its own rectangle, background
first. Scores and crowd flags are attributes of a shape; CVAT takes over those that the task's labels declare.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from converters.features import FEATURES
from converters.fields.categories import RenumberedAudit
from converters.format import Audit, Capabilities, Format, WriteReport
from converters.options import ReadOptions
from samlabel.types import Category, Dataset

from .reader import read, recognize
from .writer import CvatOptions, existing, is_element, write

_LOST = ("category_ids", "supercategories", "annotation_ids", "boxes", "prompts", "extra_fields", "dataset_fields")


class Cvat(Format[CvatOptions]):
    name = "cvat"
    summary = "CVAT for images 1.1: one XML file with polygons, masks as row-wise runs, and boxes"
    options = CvatOptions
    capabilities = Capabilities(frozenset(FEATURES) - frozenset(_LOST), reader="pycocotools")

    def recognize(self, path: Path) -> str | None:
        return recognize(path)

    def read(self, path: Path, options: ReadOptions = ReadOptions()) -> Dataset:
        return read(path, options)

    def write(self, dataset: Dataset, path: Path, options: CvatOptions) -> WriteReport:
        return write(dataset, path, options)

    def existing(self, path: Path) -> Path | None:
        return existing(path)

    def puts_back(self, shape: Mapping[str, Any]) -> bool:
        return is_element(shape)

    def audit(self, categories: Iterable[Category]) -> Audit:
        return RenumberedAudit(categories)


FORMAT = Cvat()
