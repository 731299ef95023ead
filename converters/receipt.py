"""What a conversion did: counted, each loss under a code that never changes its meaning."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from samlabel.geometry import PolygonMask, any_sewn
from samlabel.types import ImageRecord

from .features import CODES
from .lenient import skipped_lines
from .round_trip import MaskIou


@dataclass
class Tally:
    """What passes by in a stream of records."""

    images: int = 0
    empty_images: int = 0
    objects: int = 0
    masks: int = 0
    holes: int = 0  # objects with at least one
    parts: int = 0  # objects of two or more
    crowds: int = 0
    scores: int = 0
    mask_scores: int = 0

    def add(self, record: ImageRecord) -> None:
        """Count a record. Masks that are still polygons are counted as these are, others by walking their outline."""
        from samlabel.geometry import count_parts_and_holes

        annotations = record.annotations
        self.images += 1
        self.empty_images += not annotations
        self.objects += len(annotations)
        self.crowds += sum([a.iscrowd for a in annotations])
        self.scores += sum([a.score is not None for a in annotations])
        self.mask_scores += sum([a.predicted_iou is not None or a.stability_score is not None for a in annotations])
        masks = [a.mask for a in annotations if a.mask is not None]
        self.masks += len(masks)
        polygons = [mask for mask in masks if type(mask) is PolygonMask]
        walked = [mask for mask in masks if type(mask) is not PolygonMask]
        for polygon, sewn in zip(polygons, any_sewn(polygons), strict=True):
            if sewn:
                walked.append(polygon)
            elif len(polygon.packed) > 1:
                self.parts += 1
        for mask in walked:
            parts, holes = count_parts_and_holes(mask)
            self.parts += parts > 1
            self.holes += holes > 0

    def join(self, other: Tally) -> None:
        """Add what passed by elsewhere."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))


@dataclass
class Receipt:
    """What went in, what came out, and what was lost on the way, by code."""

    source: str
    target: str
    source_format: str
    source_format_why: str
    target_format: str
    images_in: int = 0
    images_out: int = 0
    objects_in: int = 0
    objects_out: int = 0
    found: Tally = field(default_factory=Tally)
    losses: dict[str, int] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)
    mask_iou: MaskIou = field(default_factory=MaskIou)
    skipped: dict[str, int] = field(default_factory=dict)  # broken in the source, left out by a lenient reader
    skipped_examples: dict[str, list[str]] = field(default_factory=dict)
    dry_run: bool = False

    @property
    def is_lossy(self) -> bool:
        return bool(self.losses)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> list[str]:
        """The receipt for people: one fact a line."""
        seen = self.found
        lines = [
            f"{self.source_format} -> {self.target_format} ({self.source_format_why})",
            f"images  {self.images_in} in, {self.images_out} out, {seen.empty_images} without objects",
            f"objects {self.objects_in} in, {self.objects_out} out; {seen.holes} with holes, {seen.parts} of several "
            f"parts, {seen.crowds} crowds, {seen.scores} with a score",
        ]
        lines += self.mask_iou.lines()
        lines += skipped_lines(self.skipped, self.skipped_examples)
        lines += [f"lost    {count} {code}: {CODES.get(code, '')}" for code, count in self.losses.items()]
        lines += [f"note    {count} {code}: {CODES.get(code, '')}" for code, count in self.notes.items()]
        if self.dry_run:
            lines.append("dry run: nothing was written")
        return lines
