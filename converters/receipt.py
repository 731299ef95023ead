"""What a conversion did: counted, each loss under a code that never changes its meaning."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from samlabel.geometry import PolygonMask, any_sewn
from samlabel.types import Annotation, ImageRecord, Mask

from .lenient import skipped_lines
from .round_trip import MaskIou

# Words of KEEPS: what a round trip through a format gives back.
FEATURES: dict[str, str] = {
    "exact_masks": "every mask comes back bit for bit",
    "holes": "holes stay holes",
    "parts": "an object of several parts stays one object",
    "empty_masks": "objects whose mask has no pixel",
    "crowd": "iscrowd",
    "scores": "the detector's score",
    "mask_scores": "predicted_iou and stability_score",
    "source": "which model or person made an object",
    "prompts": "the points and the crop that a mask was predicted from",
    "boxes": "boxes of their own, not only the tight box of the mask",
    "boxes_without_mask": "objects that are a box and nothing more",
    "empty_images": "images without objects",
    "category_names": "names of classes",
    "category_ids": "numbers of classes, gaps included",
    "supercategories": "the group that a class belongs to",
    "image_ids": "numbers of images",
    "annotation_ids": "numbers of objects",
    "extra_fields": "fields that samlabel does not read",
    "dataset_fields": "such fields of the whole file and of classes: info, licences, skeletons",
}

# Code -> what it says. REFUSED codes stop a conversion unless losses are allowed; NOTED ones are only reported.
REFUSED: dict[str, str] = {
    "object-lost": "objects that the format cannot write",
    "empty-mask-lost": "objects whose mask has no pixel",
    "no-mask-lost": "boxes without a mask",
    "holes-lost": "objects whose holes are filled",
    "parts-lost": "objects whose parts are split or dropped",
    "mask-changed": "masks that do not come back bit for bit",
    "box-became-mask": "boxes without a mask, written as a filled rectangle",
    "crowd-lost": "crowd flags",
    "score-lost": "detector scores",
    "mask-score-lost": "predicted IoU and stability scores",
    "empty-image-lost": "images without objects",
    "category-name-lost": "objects whose class name is gone",
    "keypoints-lost": "objects whose keypoints are gone",
}
NOTED: dict[str, str] = {
    "over-budget": "polygons that need more points than asked for, to keep their holes and parts",
    "reader-differs": "masks that the usual reader of the format fills differently, of those that were measured",
    "category-ids-changed": "classes with another number",
    "image-ids-changed": "images whose number is not kept",
    "annotation-ids-changed": "objects whose number is not kept",
    "supercategory-lost": "classes whose group is gone",
    "source-lost": "objects whose maker is not kept",
    "prompt-lost": "objects whose prompt points or crop are not kept",
    "box-tightened": "boxes replaced by the tight box of their mask",
    "fields-lost": "images and objects with further fields that are not kept",
    "dataset-fields-lost": "further fields of the whole file, and classes with some, that are not kept",
    "parts-bridged": "objects whose parts the format's usual reader joins by lines one pixel wide",
    "image-renamed": "images renamed, since another of the same stem came before",
    "score-filled": "masks that nothing predicted, given the scores 1.0 that the format insists on",
    "left-over-label": "label files of an earlier run that are still there",
    "sidecar-only": "objects with class, scores or flags that only samlabel reads back, from a file beside the labels",
}
CODES: dict[str, str] = {**REFUSED, **NOTED}


@dataclass
class WriteReport:
    """What a writer wrote."""

    format: str
    path: str
    images: int = 0
    objects: int = 0
    losses: Counter[str] = field(default_factory=Counter)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "losses": dict(sorted(self.losses.items()))}


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


class Losses:
    """What a format with these KEEPS will lose of the records that are added, by code.

    `dropped` is the format's own answer to which objects it leaves out, and under which code.
    """

    def __init__(self, keeps: frozenset[str], dropped: Callable[[Annotation], str | None] | None = None) -> None:
        self._keeps = keeps
        self._shapes = not {"holes", "parts"} <= keeps
        self._dropped = dropped or self._left_out
        self.found: Counter[str] = Counter()

    def add(self, record: ImageRecord) -> None:
        keeps, found = self._keeps, self.found
        if not record.annotations and "empty_images" not in keeps:
            found["empty-image-lost"] += 1
        if record.id is not None and "image_ids" not in keeps:
            found["image-ids-changed"] += 1
        if record.extra and "extra_fields" not in keeps:
            found["fields-lost"] += 1
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
        code = self._dropped(annotation)
        if code is not None:
            self.found[code] += 1
        return code is not None

    def _left_out(self, annotation: Annotation) -> str | None:
        if annotation.mask is None:
            return None if "boxes_without_mask" in self._keeps else "no-mask-lost"
        return None if "empty_masks" in self._keeps or annotation.mask.area else "empty-mask-lost"

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
