"""Images read and decoded a few ahead of the models, within a budget of pixels."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from ..errors import ImageError
from ..protocols import ImageRef
from ..sources.images import MAX_PIXELS, Failed
from ..sources.pixel_budget import PixelBudget
from ..sources.source import Source
from .context import Clock, ImageContext
from .executors import in_order


@dataclass(frozen=True, slots=True)
class Waits:
    """The next image needs `pixels` of `room`, which others have."""

    pixels: int
    room: int


def failure(path: str, stage: str, error: BaseException) -> Failed:
    """An image that failed at `stage`, with the error in one line."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return Failed(path, stage, reason.removeprefix(f"{path}: "))


def read_ahead(
    source: Source,
    refs: Iterable[ImageRef],
    *,
    ahead: int = 2,
    threads: int = 1,
    max_pixels: int = MAX_PIXELS,
    clock: Clock | None = None,
) -> Generator[ImageContext | Failed | Waits, None, None]:
    """Decoded images in the order of `refs`, at most `threads + ahead` of them made while models work.

    Those that were not yet released have at most `max_pixels` together. `Waits` comes before an image that has to wait
    for the room of others: whoever holds so many that there will be none must let them go before asking for the next.
    """
    budget, clock = PixelBudget(max_pixels), clock or Clock()

    def finish(image: ImageContext) -> ImageContext | Failed:
        image.on_release = partial(budget.give_back, image.pixels)
        try:
            image.decode()
        except ImageError as error:
            image.release()
            return failure(image.path, "decode", error)
        return image

    def read(item: tuple[int, ImageRef]) -> ImageContext | Failed | Waits:
        turn, ref = item
        try:
            image = ImageContext(source.open(ref, max_pixels=max_pixels), clock=clock)
        except ImageError as error:
            budget.admits(turn, 0)
            return failure(ref.path, "decode", error)
        return finish(image) if budget.admits(turn, image.pixels) else image

    with closing(in_order(read, enumerate(refs), threads=threads, ahead=ahead)) as images:
        for image in images:
            if isinstance(image, ImageContext) and not image.is_decoded:
                yield Waits(image.pixels, max_pixels)
                budget.wait_for(image.pixels)
                image = finish(image)
            yield image
            del image  # nothing of an image stays here once it was handed on
