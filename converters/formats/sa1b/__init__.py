"""SA-1B: one JSON file an image, with its masks as COCO RLE and their quality.

The record is the one that https://github.com/facebookresearch/segment-anything#dataset defines, key for key. SA-1B
has no classes: what it cannot say goes to `samlabel.jsonl` beside it, one line an image, which other readers never
see and samlabel reads back.
"""

from __future__ import annotations

from pathlib import Path

from converters.features import FEATURES
from converters.format import Capabilities, WriteReport
from converters.imagewise import ImagewiseFormat, Update
from converters.options import ReadOptions
from samlabel.types import Dataset

from .reader import read, recognize
from .writer import Sa1bOptions, existing, write

_IN_SIDECAR = frozenset(
    ["crowd", "scores", "source", "prompts", "category_names", "category_ids", "supercategories", "dataset_fields"]
)


class Sa1b(ImagewiseFormat[Sa1bOptions]):
    name = "sa1b"
    summary = "SA-1B: one JSON file an image, with its masks as COCO RLE and their quality"
    options = Sa1bOptions
    capabilities = Capabilities(frozenset(FEATURES) - {"boxes_without_mask", "extra_fields"})

    def recognize(self, path: Path) -> str | None:
        return recognize(path)

    def read(self, path: Path, options: ReadOptions = ReadOptions()) -> Dataset:
        return read(path, options)

    def update(self, dataset: Dataset, path: Path, options: Sa1bOptions, update: Update) -> WriteReport:
        return write(dataset, path, options, update)

    def existing(self, path: Path) -> Path | None:
        return existing(path)

    def keeps(self, options: Sa1bOptions) -> frozenset[str]:
        return self.capabilities.keeps if options.sidecar else self.capabilities.keeps - _IN_SIDECAR


FORMAT = Sa1b()
