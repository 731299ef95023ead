"""Images through the stages of a run: those in batches first and in order, the others side by side.

Nothing here holds more than a few images: they are read a few ahead of the models, and results leave one by one
while the models go on.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import ImageError, UsageError
from ..hub.memory import is_out_of_memory, release
from ..objects import Objects
from ..protocols import ImageRef
from ..sources.images import Failed
from ..types import ImageRecord
from .context import ImageContext, Labeled
from .executors import INLINE, Executor
from .reading import Waits, failure
from .stages import Stage

# What one odd image can make a model raise; a TypeError or KeyError is a mistake in code and ends the run.
OF_ONE_IMAGE = (ImageError, ValueError, ArithmeticError, RuntimeError, MemoryError, OSError)

Found = tuple["ImageContext | Failed", "Objects | Failed"]


@dataclass(frozen=True, slots=True)
class Windows:
    """Images of a run in fixed windows, so that an image is always detected beside the same others.

    Without them a resumed run would begin its first batch in the middle of one of the run that was stopped.
    """

    refs: tuple[ImageRef, ...] = ()  # every image of a window with something to do, in order
    starts: frozenset[str] = frozenset()  # the first of each window
    done: frozenset[str] = frozenset()  # detected for the sake of the others; nothing more is made of them


NO_WINDOWS = Windows()


def windows(every: Sequence[ImageRef], todo: Sequence[ImageRef], size: int) -> Windows:
    """The windows of `size` images, counted over `every` image of the run, that hold one of `todo`."""
    if size <= 1:
        return Windows(tuple(todo))
    wanted = {ref.name for ref in todo}
    found = [every[start : start + size] for start in range(0, len(every), size)]
    found = [window for window in found if any(ref.name in wanted for ref in window)]
    refs = tuple(ref for window in found for ref in window)
    starts = frozenset(window[0].name for window in found)
    return Windows(refs, starts, frozenset(ref.name for ref in refs) - wanted)


def label(
    images: Iterable[ImageContext | Failed | Waits],
    stages: Sequence[Stage],
    *,
    batch: int = 1,
    executor: Executor = INLINE,
    windows: Windows = NO_WINDOWS,
) -> Generator[Labeled | Failed, None, None]:
    """One result an image, in order: its labels, or where it failed and why.

    Stages up to the last one that is `batched` or not `thread_safe` run in the caller's thread and in order, those
    that are batched on up to `batch` images of one size at a time, and half of that each time memory runs out. The
    rest is run by `executor`, an image at a time. `windows` keeps batches the same in a run that is resumed.
    Raises SamlabelError when a model breaks its contract, because then no label of the run could be trusted.
    """
    together = max(
        (place for place, stage in enumerate(stages, 1) if stage.batched or not stage.thread_safe), default=0
    )
    step = _Step(batch, windows.starts)
    first, rest = stages[:together], stages[together:]

    def work(found: Found) -> Labeled | Failed:
        image, objects = found
        if isinstance(image, Failed):
            return image
        try:
            for stage in rest:
                if isinstance(objects, Objects):
                    objects = _alone(stage, image, objects)
            if isinstance(objects, Failed):
                return objects
            record = ImageRecord(image.path, image.image.size, objects.annotations())
            return Labeled(record, image.encoded.sha256, image.encoded.stat, dict(image.dropped))
        finally:
            image.release()

    found = _in_batches(_batches(images, step), first, step)
    wanted = (one for one in found if one[0].path not in windows.done or _let_go(one[0]))
    yield from executor.map(work, wanted)


def _let_go(image: ImageContext | Failed) -> bool:
    """False, with the room of an image given back of which nothing more is made."""
    if isinstance(image, ImageContext):
        image.release()
    return False


def _in_batches(groups: Iterable[list[Any]], stages: Sequence[Stage], step: _Step) -> Iterator[Found]:
    """Each image with its objects after the first stages."""
    for group in groups:
        images = [one for one in group if isinstance(one, ImageContext)]
        found: list[Objects | Failed] = [Objects.empty()] * len(images)
        for stage in stages:
            todo = [place for place, one in enumerate(found) if isinstance(one, Objects)]
            made = _together(stage, [images[place] for place in todo], [found[place] for place in todo], step)
            for place, one in zip(todo, made, strict=True):
                found[place] = one
        del images
        results = iter(found)
        while group:  # nothing of an image stays here once it was handed on
            item = group.pop(0)
            yield item, next(results) if isinstance(item, ImageContext) else item


@dataclass(slots=True)
class _Step:
    """The most images in a batch; shrinks for the rest of the run when memory runs out."""

    most: int
    starts: frozenset[str] = frozenset()  # images that begin a batch, whatever came before


def _batches(images: Iterable[ImageContext | Failed | Waits], step: _Step) -> Iterator[list[ImageContext | Failed]]:
    """Neighbors of one size together; failures end a batch, so that order is kept and nothing waits.

    What fits into memory together depends on the images alone: a batch never does on how fast others were done.
    """
    group: list[Any] = []
    for item in images:
        if isinstance(item, Waits):
            if item.pixels + sum(one.pixels for one in group) > item.room:
                yield group
                group = []
            continue
        fits = group and isinstance(item, ImageContext) and item.image.size == group[0].image.size
        fits = fits and len(group) < step.most and item.path not in step.starts
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


def _together(
    stage: Stage, images: Sequence[ImageContext], objects: Sequence[Any], step: _Step
) -> list[Objects | Failed]:
    """A stage on a batch: an image that it cannot take fails alone, and where memory runs out a half is tried."""
    if not stage.batched or len(images) <= 1:
        return [_alone(stage, image, one) for image, one in zip(images, objects, strict=True)]
    try:
        return list(stage.run(images, objects))
    except UsageError:
        raise
    except OF_ONE_IMAGE as error:
        if not is_out_of_memory(error):
            return [_alone(stage, image, one) for image, one in zip(images, objects, strict=True)]
        half = len(images) // 2
        step.most = min(step.most, half)
    release()  # here, where the error and all that its traceback held on to are gone
    parts = (slice(None, half), slice(half, None))
    return [one for part in parts for one in _together(stage, images[part], objects[part], step)]


def _alone(stage: Stage, image: ImageContext, objects: Objects) -> Objects | Failed:
    """A stage on one image, once more with all the memory there is where there was too little."""
    for last in (False, True):
        dropped = image.dropped.copy()
        try:
            return stage.run([image], [objects])[0]
        except UsageError:
            raise
        except OF_ONE_IMAGE as error:
            if last or not is_out_of_memory(error):
                return failure(image.path, stage.name, error)
        image.dropped = dropped
        image.forget()
        release()  # the segmenter has halved its chunks already
    raise AssertionError("the second attempt returns")
