"""Pascal VOC: an XML file an image, and pictures whose indices say which pixel belongs to which object and class.

http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html. The n-th object of an XML file has the index n
in SegmentationObject/. A pixel belongs to one object, so masks that overlap come back cut: the smaller one is in front.
`labelmap.txt` lists the classes as CVAT and Datumaro do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from converters.format import Capabilities, WriteReport
from converters.imagewise import ImagewiseFormat, Update
from converters.options import ReadOptions
from samlabel.types import Annotation, Category, Dataset, Size

from .reader import read, recognize
from .writer import VocAudit, VocOptions, existing, rendered_ious, write


class Voc(ImagewiseFormat[VocOptions]):
    name = "voc"
    summary = (
        "Pascal VOC: an XML file an image, and pictures whose indices say which pixel belongs to which object and class"
    )
    options = VocOptions
    capabilities = Capabilities(
        frozenset(["holes", "parts", "boxes", "boxes_without_mask", "empty_images", "category_names"]),
        reader="a reader of SegmentationObject",
        redraws=True,
    )

    def recognize(self, path: Path) -> str | None:
        return recognize(path)

    def read(self, path: Path, options: ReadOptions = ReadOptions()) -> Dataset:
        return read(path, options)

    def update(self, dataset: Dataset, path: Path, options: VocOptions, update: Update) -> WriteReport:
        return write(dataset, path, options, update)

    def existing(self, path: Path) -> Path | None:
        return existing(path)

    def audit(self, categories: Iterable[Category]) -> VocAudit:
        return VocAudit(categories)

    def rendered_ious(self, annotations: Sequence[Annotation], size: Size, options: VocOptions) -> list[float]:
        return rendered_ious(annotations, size)


FORMAT = Voc()
