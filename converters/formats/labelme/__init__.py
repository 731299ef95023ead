"""labelme JSON: one file an image beside it, with polygons, mask bitmaps, rectangles and circles.

https://github.com/wkentaro/labelme. A part of an object is a polygon, parts share a `group_id`; an object with a hole
is a shape of type `mask`. Fields that labelme does not know stay in its files when it saves them, so scores, crowd
flags and ids travel as further keys of a shape. `labels.txt` lists the classes, as `labelme --labels` takes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from converters.features import FEATURES
from converters.fields.categories import RenumberedAudit
from converters.format import Audit, Capabilities, WriteReport
from converters.imagewise import ImagewiseFormat, Update
from converters.options import ReadOptions
from samlabel.types import Category, Dataset

from .reader import read, recognize
from .writer import LabelmeOptions, existing, is_shape, write


class Labelme(ImagewiseFormat[LabelmeOptions]):
    name = "labelme"
    summary = "labelme JSON: one file an image beside it, with polygons, mask bitmaps, rectangles and circles"
    options = LabelmeOptions
    capabilities = Capabilities(
        frozenset(FEATURES) - {"category_ids", "supercategories", "dataset_fields"}, reader="labelme"
    )

    def recognize(self, path: Path) -> str | None:
        return recognize(path)

    def read(self, path: Path, options: ReadOptions = ReadOptions()) -> Dataset:
        return read(path, options)

    def update(self, dataset: Dataset, path: Path, options: LabelmeOptions, update: Update) -> WriteReport:
        return write(dataset, path, options, update)

    def existing(self, path: Path) -> Path | None:
        return existing(path)

    def puts_back(self, shape: Mapping[str, Any]) -> bool:
        return is_shape(shape)

    def audit(self, categories: Iterable[Category]) -> Audit:
        return RenumberedAudit(categories)


FORMAT = Labelme()
