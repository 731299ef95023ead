"""Label Studio JSON: tasks with polygon and brush regions, and the labelling configuration beside them.

https://labelstud.io/guide/task_format and https://labelstud.io/tags/brushlabels. Coordinates are per cent of the image;
a brush is the bit stream of `brush`. What Label Studio has no field for travels in a region's `meta`, which it keeps;
class numbers are the `category` of a Label, as its own COCO export reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from converters.features import FEATURES
from converters.format import Capabilities, Format, WriteReport
from converters.options import ReadOptions
from samlabel.types import Dataset

from .reader import read, recognize
from .writer import LabelStudioOptions, existing, is_region, write


class LabelStudio(Format[LabelStudioOptions]):
    name = "labelstudio"
    summary = "Label Studio JSON: tasks with polygon and brush regions, and the labelling configuration beside them"
    options = LabelStudioOptions
    capabilities = Capabilities(frozenset(FEATURES) - {"supercategories", "dataset_fields"})

    def recognize(self, path: Path) -> str | None:
        return recognize(path)

    def read(self, path: Path, options: ReadOptions = ReadOptions()) -> Dataset:
        return read(path, options)

    def write(self, dataset: Dataset, path: Path, options: LabelStudioOptions) -> WriteReport:
        return write(dataset, path, options)

    def puts_back(self, shape: Mapping[str, Any]) -> bool:
        return is_region(shape)

    def existing(self, path: Path) -> Path | None:
        return existing(path)


FORMAT = LabelStudio()
