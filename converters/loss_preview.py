"""What passes by on the way to a format: counted, its losses foretold, its masks measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from samlabel.types import Category, Dataset, ImageRecord

from .parallel import Part
from .receipt import FEATURES, Losses, Tally
from .registry import get
from .round_trip import MaskIou, Measure


class Watch:
    """Goes by the records of a dataset that is to be written in the format `to`."""

    def __init__(
        self,
        to: str,
        options: Mapping[str, Any],
        categories: tuple[Category, ...],
        measure: str,
        images_before: int = 0,
        masks_before: int = 0,
    ) -> None:
        module = get(to)
        self._made_of = (to, options, categories, measure, images_before, masks_before)
        self.found = Tally()
        self._keeps = module.keeps(**options) if hasattr(module, "keeps") else module.KEEPS
        self._losses = Losses(self._keeps, getattr(module, "dropped", None))
        self._audit = module.Audit(categories) if hasattr(module, "Audit") else None
        self._measure = Measure(
            module, options, self._keeps, categories, measure, images_before=images_before, masks_before=masks_before
        )
        self._budget = "exact_masks" in module.KEEPS and "exact_masks" not in self._keeps
        self.loses_nothing = self._keeps >= FEATURES.keys() and self._audit is None and not hasattr(module, "dropped")

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
        return Watch, self._made_of  # modules cannot be pickled; what it saw is `seen()`

    @property
    def can_join(self) -> bool:
        return self._audit is None or hasattr(self._audit, "join")

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
    files: Sequence[int] = ()

    def __iter__(self) -> Iterator[ImageRecord]:
        for record in self.records:
            self.watch.add(record)
            yield record

    def divided(self, count: int) -> list[Passing]:
        parts = self.records.divided(count) if isinstance(self.records, Part) and self.watch.can_join else ()
        return [Passing(part, self.watch.beside(part), part.paths_before, part.files) for part in parts]

    def seen(self) -> Any:
        return self.watch.seen()

    def join(self, seen: Sequence[Any]) -> None:
        for one in seen:
            self.watch.join(one)
