"""The stages of a run as generators: decode ahead, detect, embed once, segment, select.

Nothing here holds more than a few images: pictures are read a few ahead of the models, and results leave one by
one while the models go on.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .errors import ImageError, SamlabelError, UsageError
from .images import MAX_PIXELS, Decoded, Failed, decode
from .ledger import Labelled
from .memory import is_out_of_memory, release
from .protocols import Detector, Image, Segmenter
from .select import Thresholds, select, usable
from .types import Annotation, Category, Detections, ImageRecord
from .workers import cores, in_order, may_share, use_threads

GRID_CATEGORIES = (Category(1, "object"),)
# What one odd image can make a model raise; a TypeError or KeyError is a mistake in code and ends the run.
_OF_ONE_IMAGE = (ImageError, ValueError, ArithmeticError, RuntimeError, MemoryError, OSError)


@dataclass(frozen=True, slots=True)
class Models:
    """The models of one run; without a detector the segmenter covers the image with a grid of points."""

    detector: Detector | None
    segmenter: Segmenter

    @property
    def categories(self) -> tuple[Category, ...]:
        return self.detector.categories if self.detector is not None else GRID_CATEGORIES

    @property
    def source(self) -> str:
        """What `Annotation.source` says of objects that these models made."""
        return f"{self.detector.name if self.detector is not None else 'grid'}+{self.segmenter.name}"


@dataclass(slots=True)
class Clock:
    """Seconds by stage, for the manifest; those of several threads add up."""

    seconds: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def of(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.seconds[stage] += time.perf_counter() - start


def read_ahead(
    root: Path, paths: Iterable[str], *, ahead: int = 2, threads: int = 1, max_pixels: int = MAX_PIXELS
) -> Iterator[Decoded | Failed]:
    """Decoded pictures in the order of `paths`, at most `threads + ahead` of them made while models work."""

    def read(path: str) -> Decoded | Failed:
        try:
            return decode(root, path, max_pixels=max_pixels)
        except ImageError as error:
            return _failed(path, "decode", error)

    return in_order(read, paths, threads=threads, ahead=ahead)


def label(
    pictures: Iterable[Decoded | Failed],
    models: Models,
    thresholds: Thresholds,
    *,
    batch: int = 1,
    at_once: int = 1,
    clock: Clock | None = None,
) -> Iterator[Labelled | Failed]:
    """One result a picture, in order: its labels, or where it failed and why.

    Detection takes up to `batch` pictures of one size at a time, and half of that each time memory runs out; it runs
    in the caller's thread and in order. Masks are made beside it on `at_once` pictures at a time, each with its part
    of the cores, where the models say `thread_safe = True`; else, and where `at_once` is 0, they too are made in the
    caller's thread. Raises SamlabelError when a plug-in breaks its contract, because then no label of the run could
    be trusted.
    """
    clock, step = clock or Clock(), _Step(batch)

    def work(found: tuple[Decoded | Failed, Detections | Failed | None]) -> Labelled | Failed:
        item, detections = found
        if isinstance(item, Failed):
            return item
        return detections if isinstance(detections, Failed) else _segment(item, detections, models, thresholds, clock)

    found = _detected(_batches(pictures, step), models, clock, step)
    if at_once == 0 or not may_share(models.segmenter):
        yield from map(work, found)
        return
    every = cores()
    each = max(1, every // at_once)
    try:
        use_threads(each)
        yield from in_order(work, found, threads=at_once, begin=lambda: use_threads(each))
    finally:
        use_threads(every)


def _detected(
    groups: Iterable[list[Decoded | Failed]], models: Models, clock: Clock, step: _Step
) -> Iterator[tuple[Decoded | Failed, Detections | Failed | None]]:
    """Each picture with its boxes; None beside what failed before, and where there is no detector."""
    for group in groups:
        detected = iter(_detect([item.image for item in group if isinstance(item, Decoded)], models, clock, step))
        while group:  # nothing of a picture stays here once it was handed on
            item = group.pop(0)
            yield item, next(detected) if isinstance(item, Decoded) else None


@dataclass(slots=True)
class _Step:
    """The most pictures detected at once; shrinks for the rest of the run when memory runs out."""

    most: int


def _batches(pictures: Iterable[Decoded | Failed], step: _Step) -> Iterator[list[Decoded | Failed]]:
    """Neighbours of one size together; failures end a batch, so that order is kept and nothing waits."""
    group: list[Any] = []
    for item in pictures:
        fits = group and isinstance(item, Decoded) and item.image.size == group[0].image.size
        fits = fits and len(group) < step.most
        if group and not fits:
            yield group
            group = []
        if isinstance(item, Failed):
            yield [item]
        else:
            group.append(item)
            if step.most == 1:  # nothing to wait for
                yield group
                group = []
    if group:
        yield group


def _detect(images: list[Image], models: Models, clock: Clock, step: _Step) -> Sequence[Detections | Failed | None]:
    """Boxes of each image; None where there is no detector."""
    if models.detector is None or not images:
        return [None] * len(images)
    try:
        with clock.of("detect"):
            found = models.detector.detect(images)
    except UsageError:
        raise
    except _OF_ONE_IMAGE as error:
        if len(images) == 1:
            return [_failed(images[0].path, "detect", error)]
        if not is_out_of_memory(error):  # one bad image fails alone
            return [_detect([image], models, clock, step)[0] for image in images]
        half = len(images) // 2
        step.most = min(step.most, half)
    else:
        return _checked(found, images, models.detector.name)
    release()  # here, where the error and all that its traceback held on to are gone
    return [*_detect(images[:half], models, clock, step), *_detect(images[half:], models, clock, step)]


def _checked(found: list[Detections], images: list[Image], detector: str) -> list[Detections]:
    if len(found) != len(images):
        raise SamlabelError(
            f"detector {detector!r} gave {len(found)} results for {len(images)} images; wanted one each"
        )
    return found


def _segment(
    item: Decoded, detections: Detections | None, models: Models, thresholds: Thresholds, clock: Clock
) -> Labelled | Failed:
    image = item.image
    for last in (False, True):
        dropped = Counter[str]()
        try:
            candidates = _candidates(image, detections, models, dropped, clock)
            kept = select(candidates, thresholds, dropped)
            break
        except UsageError:
            raise
        except _OF_ONE_IMAGE as error:
            if last or not is_out_of_memory(error):
                return _failed(image.path, "segment", error)
        release()  # once more with all the memory there is; the segmenter has halved its chunks already
    annotations = tuple(replace(annotation, source=models.source) for annotation in kept)
    return Labelled(ImageRecord(image.path, image.size, annotations), item.sha256, item.stat, dict(dropped))


def _candidates(
    image: Image, detections: Detections | None, models: Models, dropped: Counter[str], clock: Clock
) -> list[Annotation]:
    segmenter = models.segmenter
    if models.detector is None:
        with clock.of("generate"):
            return list(segmenter.generate(image))
    assert detections is not None
    detections = usable(detections, image.size, dropped)
    if len(detections) == 0:  # a real negative; no need to encode it
        return []
    with clock.of("embed"):
        embedding = segmenter.embed(image)
    with clock.of("segment"):
        candidates = list(segmenter.segment(embedding, detections))
    _check_pairs(candidates, detections, segmenter.name)
    return candidates


def _check_pairs(candidates: list[Annotation], detections: Detections, segmenter: str) -> None:
    """Refuse a segmenter that lost, added or reordered objects: their labels would be swapped in silence."""
    wanted = [int(category) for category in detections.category_ids]
    if [int(candidate.category_id) for candidate in candidates] != wanted:
        raise SamlabelError(
            f"segmenter {segmenter!r} gave {len(candidates)} masks for {len(wanted)} boxes, or in another order; "
            f"labels would be swapped, so the run stops"
        )


def _failed(path: str, stage: str, error: BaseException) -> Failed:
    reason = " ".join(str(error).split()) or type(error).__name__
    return Failed(path, stage, reason.removeprefix(f"{path}: "))
