"""The stages of a run as generators: decode ahead, detect, embed once, segment, select.

Nothing here holds more than a few images: pictures are read a few ahead of the models, and results leave one by
one while the models go on.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import ImageError, SamlabelError, UsageError
from ..hub.memory import is_out_of_memory, release
from ..hub.threads import torch_threads, use_threads
from ..options import Thresholds
from ..protocols import Detector, Image, Model, ModelInfo, Segmenter
from ..sources.images import MAX_PIXELS, Decoded, Encoded, Failed, encoded
from ..sources.pixel_budget import PixelBudget
from ..types import Annotation, Category, Detections, ImageRecord
from .context import Labeled
from .select import select, usable
from .workers import in_order, may_share

SCORE_DIGITS = 6
GRID_CATEGORIES = (Category(1, "object"),)
# What one odd image can make a model raise; a TypeError or KeyError is a mistake in code and ends the run.
OF_ONE_IMAGE = (ImageError, ValueError, ArithmeticError, RuntimeError, MemoryError, OSError)


@dataclass(frozen=True, slots=True)
class Models:
    """The models of one run; without a detector the segmenter covers the image with a grid of points."""

    detector: Detector | None
    segmenter: Segmenter

    def __post_init__(self) -> None:
        for kind, model in (("detector", self.detector), ("segmenter", self.segmenter)):
            if model is not None and not (isinstance(model, Model) and isinstance(model.info, ModelInfo)):
                raise UsageError(
                    f"the {kind} is a {type(model).__name__} without `info`; expected a samlabel.ModelInfo there"
                )

    @property
    def categories(self) -> tuple[Category, ...]:
        return self.detector.info.categories if self.detector is not None else GRID_CATEGORIES

    @property
    def source(self) -> str:
        """What `Annotation.source` says of objects that these models made."""
        return f"{self.detector.info.name if self.detector is not None else 'grid'}+{self.segmenter.info.name}"


@dataclass(slots=True)
class Clock:
    """Seconds by stage, for the manifest; those of several threads add up."""

    seconds: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def of(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


@dataclass(frozen=True, slots=True)
class Windows:
    """Images of a run in fixed windows, so that an image is always detected beside the same others.

    Without them a resumed run would begin its first batch in the middle of one of the run that was stopped.
    """

    paths: tuple[str, ...] = ()  # every image of a window with something to do, in order
    starts: frozenset[str] = frozenset()  # the first of each window
    done: frozenset[str] = frozenset()  # detected for the sake of the others; nothing more is made of them


NO_WINDOWS = Windows()


def windows(every: Sequence[str], todo: Sequence[str], size: int) -> Windows:
    """The windows of `size` images, counted over `every` image of the run, that hold one of `todo`."""
    wanted = set(todo)
    if size <= 1:
        return Windows(tuple(todo), frozenset(), frozenset())
    found = [every[start : start + size] for start in range(0, len(every), size)]
    found = [window for window in found if not wanted.isdisjoint(window)]
    paths = tuple(path for window in found for path in window)
    return Windows(paths, frozenset(window[0] for window in found), frozenset(paths) - wanted)


def path_of(item: Decoded | Failed) -> str:
    """The path of an image, whether it was decoded or not."""
    return item.path if isinstance(item, Failed) else item.image.path


def pixels_of(image: Decoded) -> int:
    height, width = image.image.size
    return height * width


@dataclass(frozen=True, slots=True)
class Waits:
    """The next image needs `pixels` of `room`, which others have."""

    pixels: int
    room: int


def read_ahead(
    root: Path, paths: Iterable[str], *, ahead: int = 2, threads: int = 1, max_pixels: int = MAX_PIXELS
) -> Generator[Decoded | Failed | Waits, None, None]:
    """Decoded images in the order of `paths`, at most `threads + ahead` of them made while models work.

    Those that were not yet released have at most `max_pixels` together. `Waits` comes before an image that has to wait
    for the room of others: whoever holds so many that there will be none must let them go before asking for the next.
    """
    budget = PixelBudget(max_pixels)

    def finish(image: Encoded) -> Decoded | Failed:
        give_back = partial(budget.give_back, image.pixels)
        try:
            return image.decode(give_back)
        except ImageError as error:
            give_back()
            return failure(image.path, "decode", error)

    def read(item: tuple[int, str]) -> Decoded | Failed | Encoded:
        turn, path = item
        try:
            image = encoded(root, path, max_pixels=max_pixels)
        except ImageError as error:
            budget.admits(turn, 0)
            return failure(path, "decode", error)
        return finish(image) if budget.admits(turn, image.pixels) else image

    with closing(in_order(read, enumerate(paths), threads=threads, ahead=ahead)) as images:
        for image in images:
            if isinstance(image, Encoded):
                yield Waits(image.pixels, max_pixels)
                budget.wait_for(image.pixels)
                image = finish(image)
            yield image
            del image  # nothing of an image stays here once it was handed on


def label(
    pictures: Iterable[Decoded | Failed | Waits],
    models: Models,
    thresholds: Thresholds,
    *,
    batch: int = 1,
    at_once: int = 1,
    threads: int | None = None,
    windows: Windows = NO_WINDOWS,
    clock: Clock | None = None,
) -> Generator[Labeled | Failed, None, None]:
    """One result an image, in order: its labels, or where it failed and why.

    Detection takes up to `batch` images of one size at a time, and half of that each time memory runs out; it runs
    in the caller's thread and in order. Masks are made beside it on `at_once` images at a time where the models say
    `thread_safe = True`; else, and where `at_once` is 0, they too are made in the caller's thread. Each operation of an
    image runs on `threads` threads (None: as many as torch has), however many images there are at once, since the
    last digit of a sum depends on how it was divided. `windows` keeps batches the same in a run that is resumed.
    Raises SamlabelError when a plug-in breaks its contract, because then no label of the run could be trusted.
    """
    clock, step = clock or Clock(), _Step(batch, windows.starts)

    def work(found: tuple[Decoded | Failed, Detections | Failed | None]) -> Labeled | Failed:
        item, detections = found
        if isinstance(item, Failed):
            return item
        try:
            if isinstance(detections, Failed):
                return detections
            return _segment(item, detections, models, thresholds, clock)
        finally:
            item.release()

    detected = _detected(_batches(pictures, step), models, clock, step)
    found = (one for one in detected if path_of(one[0]) not in windows.done)
    if at_once == 0 or not may_share(models.segmenter):
        yield from map(work, found)
        return
    every = torch_threads()
    each = threads or every
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
    """The most images detected at once; shrinks for the rest of the run when memory runs out."""

    most: int
    starts: frozenset[str] = frozenset()  # images that begin a batch, whatever came before


def _batches(pictures: Iterable[Decoded | Failed | Waits], step: _Step) -> Iterator[list[Decoded | Failed]]:
    """Neighbors of one size together; failures end a batch, so that order is kept and nothing waits.

    What fits into memory together depends on the images alone: a batch never does on how fast others were done.
    """
    group: list[Any] = []
    for item in pictures:
        if isinstance(item, Waits):
            if item.pixels + sum(pixels_of(one) for one in group) > item.room:
                yield group
                group = []
            continue
        fits = group and isinstance(item, Decoded) and item.image.size == group[0].image.size
        fits = fits and len(group) < step.most and path_of(item) not in step.starts
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
    except OF_ONE_IMAGE as error:
        if len(images) == 1:
            return [failure(images[0].path, "detect", error)]
        if not is_out_of_memory(error):  # one bad image fails alone
            return [_detect([image], models, clock, step)[0] for image in images]
        half = len(images) // 2
        step.most = min(step.most, half)
    else:
        return _checked(found, images, models.detector.info.name)
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
) -> Labeled | Failed:
    image = item.image
    for last in (False, True):
        dropped = Counter[str]()
        try:
            candidates = _candidates(image, detections, models, dropped, clock)
            kept = select((_signed(one, models.source) for one in candidates), thresholds, dropped)
            break
        except UsageError:
            raise
        except OF_ONE_IMAGE as error:
            if last or not is_out_of_memory(error):
                return failure(image.path, "segment", error)
        release()  # once more with all the memory there is; the segmenter has halved its chunks already
    return Labeled(ImageRecord(image.path, image.size, tuple(kept)), item.sha256, item.stat, dict(dropped))


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
    _check_pairs(candidates, detections, segmenter.info.name)
    return candidates


def _signed(annotation: Annotation, source: str) -> Annotation:
    """The same object with what made it, scores to 6 digits: thresholds judge what is written, and more is noise."""
    score, iou, stability = (
        None if value is None else round(float(value), SCORE_DIGITS)
        for value in (annotation.score, annotation.predicted_iou, annotation.stability_score)
    )
    return replace(annotation, source=source, score=score, predicted_iou=iou, stability_score=stability)


def _check_pairs(candidates: list[Annotation], detections: Detections, segmenter: str) -> None:
    """Refuse a segmenter that lost, added or reordered objects: their labels would be swapped in silence."""
    wanted = [int(category) for category in detections.category_ids]
    if [int(candidate.category_id) for candidate in candidates] != wanted:
        raise SamlabelError(
            f"segmenter {segmenter!r} gave {len(candidates)} masks for {len(wanted)} boxes, or in another order; "
            f"labels would be swapped, so the run stops"
        )


def failure(path: str, stage: str, error: BaseException) -> Failed:
    """An image that failed at `stage`, with the error in one line."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return Failed(path, stage, reason.removeprefix(f"{path}: "))
