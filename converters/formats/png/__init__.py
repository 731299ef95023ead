"""Instance masks as 16-bit PNG: a picture of object numbers for each image, and one table of what they are.

`masks/sub/a.png` holds 0 for background and n for the n-th object of `sub/a.jpg`; `objects.json` holds the classes and,
for each picture, its objects. A pixel has one number: where objects overlap the smaller is in front, and the table
holds the whole mask of the one behind as COCO RLE, so nothing is lost. Folders of such pictures without a table are
read too.
"""

from __future__ import annotations

from pathlib import Path

from converters.features import FEATURES
from converters.format import Capabilities, WriteReport
from converters.imagewise import ImagewiseFormat, Update
from converters.options import FormatOptions, ReadOptions
from samlabel.types import Dataset

from .reader import read, recognize
from .writer import existing, write


class Png(ImagewiseFormat[FormatOptions]):
    name = "png"
    summary = "Instance masks as 16-bit PNG: a picture of object numbers for each image, and one table of what they are"
    options = FormatOptions
    capabilities = Capabilities(frozenset(FEATURES))

    def recognize(self, path: Path) -> str | None:
        return recognize(path)

    def read(self, path: Path, options: ReadOptions = ReadOptions()) -> Dataset:
        return read(path, options)

    def update(self, dataset: Dataset, path: Path, options: FormatOptions, update: Update) -> WriteReport:
        return write(dataset, path, options, update)

    def existing(self, path: Path) -> Path | None:
        return existing(path)


FORMAT = Png()
