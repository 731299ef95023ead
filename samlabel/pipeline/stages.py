"""The stages that a way to label is made of; each takes the objects of a few images and gives them back changed.

With a detector: detect, segment, select. Without: generate, select.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

import numpy as np

from ..errors import SamlabelError, UsageError
from ..objects import FloatArray, Objects
from ..options import Duplicates, Thresholds
from ..protocols import Detector, MaskGenerator, Segmenter, check_model
from ..types import Category
from .context import ImageContext
from .nms import survivors
from .select import usable, why_dropped

SCORE_DIGITS = 6
GRID_CATEGORIES = (Category(1, "object"),)


class Stage(Protocol):
    """One step of the way from an image to its objects.

    `batched` says that images of one size are worked on together, `thread_safe` that several threads may call `run`
    at once. `name` is the stage at which an image is said to have failed.
    """

    @property
    def name(self) -> str: ...
    @property
    def batched(self) -> bool: ...
    @property
    def thread_safe(self) -> bool: ...

    def run(self, batch: Sequence[ImageContext], objects: Sequence[Objects]) -> list[Objects]:
        """The objects of each image after this stage, in the same order; row ids stay with an object.

        Raises SamlabelError where a model breaks its contract: then no label of the run could be trusted.
        """
        ...


class OfOneImage(ABC):
    """A stage that works on each image alone."""

    batched: ClassVar[bool] = False

    def run(self, batch: Sequence[ImageContext], objects: Sequence[Objects]) -> list[Objects]:
        return [self.of_one(context, one) for context, one in zip(batch, objects, strict=True)]

    @abstractmethod
    def of_one(self, context: ImageContext, objects: Objects) -> Objects:
        """`run` for one image."""


@dataclass(frozen=True, slots=True)
class Detect:
    """The objects that a detector finds, boxes clipped to the image."""

    detector: Detector
    name: ClassVar[str] = "detect"
    batched: ClassVar[bool] = True
    thread_safe: ClassVar[bool] = False

    def run(self, batch: Sequence[ImageContext], objects: Sequence[Objects]) -> list[Objects]:
        with batch[0].clock.of("detect"):
            found = self.detector.detect([context.image for context in batch])
        name = self.detector.info.name
        if len(found) != len(batch):
            raise SamlabelError(f"detector {name!r} gave {len(found)} results for {len(batch)} images; wanted one each")
        clipped = [usable(one, context.image.size, context.dropped) for one, context in zip(found, batch, strict=True)]
        return [replace(one, sources=(name,) * len(one)) for one in clipped]


@dataclass(frozen=True, slots=True)
class Segment(OfOneImage):
    """A mask for each object that has none, prompted by its box."""

    segmenter: Segmenter[Any]
    name: ClassVar[str] = "segment"

    @property
    def thread_safe(self) -> bool:
        return self.segmenter.info.thread_safe

    def of_one(self, context: ImageContext, objects: Objects) -> Objects:
        masks = objects.masks or (None,) * len(objects)
        todo = np.array([mask is None for mask in masks], dtype=bool)
        if not todo.any():  # a real negative, or a detector's own masks; no need to encode the image
            return objects
        wanted = objects.take(todo)
        embedding = context.embedding(self.segmenter)
        with context.clock.of("segment"):
            found = self.segmenter.segment(embedding, wanted)
        name = self.segmenter.info.name
        ordered = found.in_order_of(wanted.row_ids)
        if ordered is None or not np.array_equal(ordered.category_ids, wanted.category_ids):
            raise SamlabelError(
                f"segmenter {name!r} gave {len(found)} masks for {len(wanted)} boxes, or for others; "
                f"labels would be swapped, so the run stops"
            )
        sources = tuple(f"{source}+{name}" if source else name for source in wanted.sources or (None,) * len(wanted))
        made = replace(ordered, sources=sources)
        if todo.all():
            return made
        rows = list(objects.annotations())
        for place, one in zip(np.flatnonzero(todo).tolist(), made.annotations(), strict=True):
            rows[place] = one
        return replace(Objects.of(rows), row_ids=objects.row_ids)


@dataclass(frozen=True, slots=True)
class Generate(OfOneImage):
    """Objects of one class from a grid of points, or with `prompted` from the boxes of the objects found before."""

    segmenter: MaskGenerator[Any]
    prompted: bool = False
    name: ClassVar[str] = "segment"

    @property
    def thread_safe(self) -> bool:
        return self.segmenter.info.thread_safe

    def of_one(self, context: ImageContext, objects: Objects) -> Objects:
        embedding = context.embedding(self.segmenter)
        with context.clock.of("generate"):
            found = self.segmenter.generate(context.image, embedding, boxes=objects.boxes if self.prompted else None)
        return replace(found, sources=(f"grid+{self.segmenter.info.name}",) * len(found))


@dataclass(frozen=True, slots=True)
class Select(OfOneImage):
    """The objects whose masks reach the thresholds, scores to 6 digits; the others are counted."""

    thresholds: Thresholds
    name: ClassVar[str] = "select"
    thread_safe: ClassVar[bool] = True

    def of_one(self, context: ImageContext, objects: Objects) -> Objects:
        objects = _rounded(objects)
        why = [why_dropped(one, self.thresholds) for one in objects.annotations()]
        context.dropped.update(reason for reason in why if reason is not None)
        return objects.take(np.array([reason is None for reason in why], dtype=bool))


@dataclass(frozen=True, slots=True)
class Deduplicate(OfOneImage):
    """One of several masks of the same thing: the one of the best score; the others are counted."""

    duplicates: Duplicates
    name: ClassVar[str] = "deduplicate"
    thread_safe: ClassVar[bool] = True

    def of_one(self, context: ImageContext, objects: Objects) -> Objects:
        keep = survivors(objects, self.duplicates)
        if not keep.all():
            context.dropped["duplicate"] += int((~keep).sum())
        return objects.take(keep)


@dataclass(frozen=True, slots=True)
class Models:
    """The models of one run; without a detector the segmenter covers the image with a grid of points."""

    detector: Detector | None
    segmenter: Segmenter[Any]

    def __post_init__(self) -> None:
        if self.detector is not None:
            check_model(self.detector, "detector", Detector)
        check_model(self.segmenter, "segmenter", Segmenter)

    @property
    def categories(self) -> tuple[Category, ...]:
        return self.detector.info.categories if self.detector is not None else GRID_CATEGORIES

    def stages(self, thresholds: Thresholds, duplicates: Duplicates = Duplicates()) -> list[Stage]:
        """How these models label an image. Raises UsageError where the segmenter does not take what is needed."""
        info = self.segmenter.info
        first: list[Stage]
        if self.detector is not None:
            if "box" not in info.prompts:
                raise UsageError(f"the segmenter {info.name!r} takes no boxes, which is what a detector gives")
            first = [Detect(self.detector), Segment(self.segmenter)]
        elif isinstance(self.segmenter, MaskGenerator) and "everything" in info.prompts:
            first = [Generate(self.segmenter)]
        else:
            raise UsageError(f"the segmenter {info.name!r} needs boxes; name a detector")
        return [*first, Select(thresholds), *([Deduplicate(duplicates)] if duplicates.any else [])]


def _rounded(objects: Objects) -> Objects:
    """Scores to 6 digits: thresholds judge what is written, and more is noise. An estimate that is NaN counts as 0."""

    def column(values: FloatArray | None, missing: float) -> FloatArray | None:
        if values is None:
            return None
        return np.array([missing if value != value else round(value, SCORE_DIGITS) for value in values.tolist()])

    return replace(
        objects,
        scores=column(objects.scores, np.nan),
        predicted_ious=column(objects.predicted_ious, 0.0),
        stability_scores=column(objects.stability_scores, 0.0),
    )
