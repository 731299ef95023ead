"""How much of each mask the usual reader of a format gets back."""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from samlabel.errors import SamlabelError
from samlabel.files import Scratch
from samlabel.types import Annotation, Category, Dataset, ImageRecord, Mask

from .format import Format, agreement
from .options import FormatOptions, ReadOptions

ALL_OF_THE_FIRST = 1000  # objects, all measured; of what comes after them, those of each
EVERY = 100  # th image, since rasterising takes longer than converting
WORST = 5
CHOICES = ("auto", "all", "none")


@dataclass
class MaskIou:
    """IoU between masks that go in and what the usual reader makes of what comes out."""

    reader: str = ""
    masks: int = 0
    measured: int = 0
    mean: float | None = None
    min: float | None = None
    under_1: int = 0
    worst: list[dict[str, Any]] = field(default_factory=list)  # iou, image, place in it from 1, id in the source

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> list[str]:
        if not self.masks:
            return []
        if not self.measured or self.mean is None or self.min is None:
            return [f"masks   {self.masks}, none measured"]
        share = "all" if self.measured == self.masks else str(self.measured)
        lines = [
            f"masks   {self.masks}, {share} measured as {self.reader} reads them: mean IoU {down(self.mean)}, "
            f"lowest {down(self.min)}, {self.under_1} under 1"
        ]
        for one in self.worst:
            name = f"object {one['place']}" + (f" (id {one['id']})" if one["id"] is not None else "")
            lines.append(f"        {down(one['iou'])} {one['image']}: {name}")
        return lines


def down(iou: float) -> str:
    """Four decimals that never round up to 1."""
    return f"{int(iou * 10000) / 10000:.4f}"


class Measured:
    """What was measured so far."""

    def __init__(self, reader: str) -> None:
        self._found = MaskIou(reader)
        self._exact = 0  # masks that are known to come back as they are
        self._ious = array("d")  # of the others, in their order, since a sum of floats depends on it
        self._worst: list[tuple[float, int, dict[str, Any]]] = []

    @property
    def masks(self) -> int:
        return self._found.masks

    def go_by(self, masks: int, *, exact: bool) -> None:
        """So many masks more; `exact` ones need not be put here."""
        self._found.masks += masks
        self._exact += masks if exact else 0

    def put(self, iou: float, record: ImageRecord, place: int, annotation: Annotation) -> None:
        self._ious.append(iou)
        if iou < 1:
            self._found.under_1 += 1
            key = annotation.id if annotation.id is not None else annotation.extra.get("id")
            self._keep((-iou, -len(self._ious), {"iou": iou, "image": record.path, "place": place, "id": key}))

    def _keep(self, one: tuple[float, int, dict[str, Any]]) -> None:
        heapq.heappush(self._worst, one)
        if len(self._worst) > WORST:
            heapq.heappop(self._worst)

    def join(self, later: Measured) -> None:
        """Add what was measured of the masks that come next."""
        for low, number, one in later._worst:
            self._keep((low, number - len(self._ious), one))
        self._ious.extend(later._ious)
        self._exact += later._exact
        self._found.masks += later._found.masks
        self._found.under_1 += later._found.under_1

    def result(self) -> MaskIou:
        found = replace(self._found, measured=self._exact + len(self._ious))
        if found.measured:
            total = float(self._exact)
            for iou in self._ious:  # `sum` rounds in another way since Python 3.12
                total += iou
            found.mean, found.min = total / found.measured, min(self._ious, default=1.0)
        found.worst = [one for _, _, one in sorted(self._worst, key=lambda item: (-item[0], -item[1]))]
        return found


class Measure:
    """Goes by a stream of records and measures what `format` will write of them.

    The stream may be a part of one: then so many images and masks came before it.
    """

    def __init__(
        self,
        format: Format[Any],
        options: FormatOptions,
        keeps: frozenset[str],
        categories: tuple[Category, ...],
        how: str,
        *,
        images_before: int = 0,
        masks_before: int = 0,
    ) -> None:
        self._format, self._options, self._categories, self._how = format, options, categories, how
        self._images, self._masks_before = images_before, masks_before
        self._exact = not format.capabilities.redraws and "exact_masks" in keeps
        self.seen = Measured(format.capabilities.reader or f"samlabel's {format.name} reader")

    def add(self, record: ImageRecord) -> None:
        masks = [(place, a) for place, a in enumerate(record.annotations, start=1) if a.mask is not None]
        self.seen.go_by(len(masks), exact=self._exact)
        self._images += 1
        if not self._exact:
            masks = masks[: self._wanted(len(masks))]
        if masks and not self._exact:
            ious = self._ious(record, [a for _, a in masks])  # none where the format cannot be measured
            for (place, annotation), iou in zip(masks, ious, strict=False):
                if iou is not None:
                    self.seen.put(iou, record, place, annotation)

    def _wanted(self, masks: int) -> int:
        """How many of the last so many masks, an image's, are measured."""
        if self._how == "auto" and self._images % EVERY:
            before = self._masks_before + self.seen.masks - masks
            return min(masks, max(ALL_OF_THE_FIRST - before, 0))
        return 0 if self._how == "none" else masks

    def result(self) -> MaskIou:
        return self.seen.result()

    def _ious(self, record: ImageRecord, annotations: list[Annotation]) -> Sequence[float | None]:
        if self._format.capabilities.redraws:
            return self._format.rendered_ious(annotations, record.size, self._options)
        back = self._read_back(record)
        return [max(agreement(a.mask, mask) for mask in back) for a in annotations] if back else []

    def _read_back(self, record: ImageRecord) -> list[Mask]:
        """The masks of this image after a write and a read of it alone, for a format that does not say what it does."""
        with Scratch() as scratch:
            dataset = Dataset(self._categories, [record])
            try:
                self._format.write(dataset, scratch.path / "out", replace(self._options, images="none"))
                read = self._format.read(scratch.path / "out", ReadOptions()).records
                return [a.mask for r in read for a in r.annotations if a.mask is not None and r.size == record.size]
            except SamlabelError:  # it needs the pictures: not measured
                return []
