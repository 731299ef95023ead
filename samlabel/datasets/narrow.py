"""A dataset narrowed to some of its objects."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from math import isnan

from ..errors import UnknownName, UsageError
from ..types import Annotation, Dataset, ImageRecord
from .records import Records


@dataclass(frozen=True)
class Limits:
    """What an object must be to stay. Areas are pixels of the mask, of the box where there is none.

    An object without a score stays whatever `min_score` is only when `unscored` says so.
    """

    classes: Collection[str] | None = None  # names; None for all
    without: Collection[str] = ()
    min_area: float = 0.0
    max_area: float | None = None
    min_score: float | None = None
    unscored: bool = True
    crowds: bool = True

    def __post_init__(self) -> None:
        for name in ("min_area", "max_area", "min_score"):
            value = getattr(self, name)
            if value is not None and (isnan(value) or value < 0):
                raise UsageError(f"{name.replace('_', '-')} is {value}; wanted a number from 0")
        if self.max_area is not None and self.max_area < self.min_area:
            raise UsageError(f"max-area {self.max_area:g} is below min-area {self.min_area:g}; nothing would stay")

    def admit(self, annotation: Annotation) -> bool:
        """Whether the object stays, its class aside."""
        if annotation.iscrowd and not self.crowds:
            return False
        if self.min_score is not None:
            if annotation.score is None:
                if not self.unscored:
                    return False
            elif annotation.score < self.min_score:
                return False
        if self.min_area <= 0 and self.max_area is None:
            return True
        area = area_of(annotation)
        return self.min_area <= area and (self.max_area is None or area <= self.max_area)


def area_of(annotation: Annotation) -> float:
    """Pixels of the mask, or of the box where there is no mask."""
    if annotation.mask is not None:
        return float(annotation.mask.area)
    x0, y0, x1, y1 = annotation.box
    return (x1 - x0) * (y1 - y0)


def narrow(dataset: Dataset, limits: Limits, *, drop_empty: bool = False) -> Dataset:
    """The dataset with those objects that `limits` admit, and the classes that these may have.

    Images stay, empty ones too, unless `drop_empty`. UnknownName for a class that is none of the dataset's.
    """
    known = {category.name for category in dataset.categories}
    for name in [*(limits.classes or ()), *limits.without]:
        if name not in known:
            raise UnknownName("class", name, sorted(known))
    wanted = known if limits.classes is None else set(limits.classes)
    wanted = wanted - set(limits.without)
    categories = tuple(c for c in dataset.categories if c.name in wanted)
    numbers = {category.id for category in categories}

    def records() -> Iterator[ImageRecord]:
        for record in dataset.records:
            objects = tuple(a for a in record.annotations if a.category_id in numbers and limits.admit(a))
            if objects or not drop_empty:
                yield replace(record, annotations=objects) if len(objects) < len(record.annotations) else record

    return replace(dataset, categories=categories, records=Records(records))
