"""What passes by on the way to a format: counted, its losses foretold, its masks measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from samlabel.geometry import PolygonMask
from samlabel.types import Annotation, Category, Dataset, ImageRecord, Mask

from .features import FEATURES
from .fields.shapes import others_of
from .format import Format
from .options import FormatOptions
from .parallel import Part
from .receipt import Tally
from .round_trip import MaskIou, Measure


class Losses:
    """What `format` will lose of the records that are added, by code; it keeps what is in `keeps`."""

    def __init__(self, format: Format[Any], keeps: frozenset[str]) -> None:
        self._format, self._keeps = format, keeps
        self._shapes = not {"holes", "parts"} <= keeps
        self.found: Counter[str] = Counter()

    def add(self, record: ImageRecord) -> None:
        keeps, found = self._keeps, self.found
        if not record.annotations and "empty_images" not in keeps:
            found["empty-image-lost"] += 1
        if record.id is not None and "image_ids" not in keeps:
            found["image-ids-changed"] += 1
        if record.extra and "extra_fields" not in keeps:
            found["fields-lost"] += 1
        if record.left_out:
            found.update(record.left_out)
            found["shape-lost"] -= sum(map(self._format.puts_back, others_of(record.extra)))
        written = [a for a in record.annotations if not self._is_dropped(a)]
        if "annotation_ids" not in keeps:
            found["annotation-ids-changed"] += sum([a.id is not None for a in written])
        if "category_names" not in keeps:
            found["category-name-lost"] += len(written)
        if "boxes" not in keeps:
            found["box-tightened"] += sum([_is_tightened(a) for a in written])
        for annotation in written:
            if self._shapes and annotation.mask is not None:
                self._add_shape(annotation.mask)
            if annotation.iscrowd and "crowd" not in keeps:
                found["crowd-lost"] += 1
            if annotation.score is not None and "scores" not in keeps:
                found["score-lost"] += 1
            if annotation.predicted_iou is not None or annotation.stability_score is not None:
                found["mask-score-lost"] += "mask_scores" not in keeps
            if annotation.source is not None and "source" not in keeps:
                found["source-lost"] += 1
            if (annotation.point_coords or annotation.crop_box) and "prompts" not in keeps:
                found["prompt-lost"] += 1
            if annotation.extra and "extra_fields" not in keeps:
                found["keypoints-lost" if "keypoints" in annotation.extra else "fields-lost"] += 1

    def _is_dropped(self, annotation: Annotation) -> bool:
        code = self._format.dropped(annotation, self._keeps)
        if code is not None:
            self.found[code] += 1
        return code is not None

    def _add_shape(self, mask: Mask) -> None:
        from samlabel.geometry import count_parts_and_holes

        parts, holes = count_parts_and_holes(mask)
        self.found["holes-lost"] += holes > 0 and "holes" not in self._keeps
        self.found["parts-lost"] += parts > 1 and "parts" not in self._keeps


def _is_tightened(annotation: Annotation) -> bool:
    """Whether the object's box is another than its mask's; boxes of COCO files are rounded to hundredths."""
    mask = annotation.mask
    if mask is None or annotation.id is None:
        return False
    x0, y0, x1, y1 = annotation.box
    a0, b0, a1, b1 = mask.extent if isinstance(mask, PolygonMask) else mask.box
    return abs(x0 - a0) > 0.0101 or abs(y0 - b0) > 0.0101 or abs(x1 - a1) > 0.0101 or abs(y1 - b1) > 0.0101


class Watch:
    """Goes by the records of a dataset that is to be written in `format`."""

    def __init__(
        self,
        format: Format[Any],
        options: FormatOptions,
        categories: tuple[Category, ...],
        measure: str,
        images_before: int = 0,
        masks_before: int = 0,
    ) -> None:
        self._made_of = (format, options, categories, measure, images_before, masks_before)
        self.found = Tally()
        self._keeps = format.keeps(options)
        self._losses = Losses(format, self._keeps)
        self._audit = format.audit(categories)
        self._measure = Measure(
            format, options, self._keeps, categories, measure, images_before=images_before, masks_before=masks_before
        )
        self._budget = "exact_masks" in format.capabilities.keeps and "exact_masks" not in self._keeps
        self.loses_nothing = self._keeps >= FEATURES.keys() and self._audit is None

    def add(self, record: ImageRecord) -> None:
        self.found.add(record)
        self._losses.add(record)
        if self._audit is not None:
            self._audit.add(record)
        self._measure.add(record)

    def losses(self, dataset: Dataset) -> Counter[str]:
        """What writing `dataset` loses, whose records have passed by, known before anything is written."""
        lost = Counter(self._losses.found)
        if "supercategories" not in self._keeps:
            lost["supercategory-lost"] += sum(c.supercategory is not None for c in dataset.categories)
        if "dataset_fields" not in self._keeps:
            lost["dataset-fields-lost"] += len(dataset.extra) + sum([bool(c.extra) for c in dataset.categories])
        if self._audit is not None:
            lost.update(self._audit.losses())
        measured = self.mask_iou()
        if self._budget:  # the format could be exact, these options are not
            lost["mask-changed"] = measured.under_1
        elif "mask-changed" not in lost:
            lost["reader-differs"] = measured.under_1
        return +lost

    def mask_iou(self) -> MaskIou:
        return self._measure.result()

    def beside(self, part: Part) -> Watch:
        """Another such for a part of the records, which has seen nothing yet."""
        return Watch(*self._made_of[:4], len(part.paths_before), part.masks_before)

    def __reduce__(self) -> tuple[Any, ...]:
        return Watch, self._made_of  # what it saw is `seen()`

    def seen(self) -> tuple[Any, ...]:
        return self.found, self._losses.found, self._audit, self._measure.seen

    def join(self, seen: tuple[Any, ...]) -> None:
        """What another has seen of the records that come next."""
        found, losses, audit, measured = seen
        self.found.join(found)
        self._losses.found.update(losses)
        if self._audit is not None:
            self._audit.join(audit)
        self._measure.seen.join(measured)


@dataclass
class Passing(Part):
    """Records that a watch sees go by."""

    records: Iterable[ImageRecord]
    watch: Watch
    paths_before: Sequence[str] = ()
    descriptors: Sequence[int] = ()
    at_end: Callable[[], None] | None = None  # called when all have gone by

    def __iter__(self) -> Iterator[ImageRecord]:
        for record in self.records:
            self.watch.add(record)
            yield record
        if self.at_end is not None:
            self.at_end()

    def divided(self, count: int) -> list[Passing]:
        parts = self.records.divided(count) if isinstance(self.records, Part) else ()
        return [Passing(part, self.watch.beside(part), part.paths_before, part.descriptors) for part in parts]

    def seen(self) -> Any:
        return self.watch.seen()

    def join(self, seen: Sequence[Any]) -> None:
        for one in seen:
            self.watch.join(one)
        if self.at_end is not None:
            self.at_end()
