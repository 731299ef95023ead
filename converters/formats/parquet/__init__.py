"""Parquet in the layout that Hugging Face datasets load: a row an image, its objects as lists with COCO RLE.

https://huggingface.co/docs/datasets/object_detection. Columns: `image` (a path, or the file's bytes), `image_id`,
`width`, `height`, `file_name`, and `objects` with `bbox` (XYWH), `category` (the place of its class among the names),
`category_id`, `area`, `iscrowd`, `segmentation`, scores. Needs pyarrow: pip install "samlabel[parquet]".
"""

from __future__ import annotations

from pathlib import Path

from converters.features import FEATURES
from converters.format import Capabilities, Format, WriteReport
from converters.options import ReadOptions
from samlabel.types import Dataset

from .reader import read, recognize
from .writer import ParquetOptions, existing, write


class Parquet(Format[ParquetOptions]):
    name = "parquet"
    summary = (
        "Parquet in the layout that Hugging Face datasets load: a row an image, its objects as lists with COCO RLE"
    )
    options = ParquetOptions
    capabilities = Capabilities(frozenset(FEATURES), one_file=True, reader="pycocotools")

    def recognize(self, path: Path) -> str | None:
        return recognize(path)

    def read(self, path: Path, options: ReadOptions = ReadOptions()) -> Dataset:
        return read(path, options)

    def write(self, dataset: Dataset, path: Path, options: ParquetOptions) -> WriteReport:
        return write(dataset, path, options)

    def existing(self, path: Path) -> Path | None:
        return existing(path)

    def needs_images(self, options: ParquetOptions) -> bool:
        return options.images != "none" or options.pictures == "embed"


FORMAT = Parquet()
