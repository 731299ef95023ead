"""What the stages of a run share about one image, and what comes out of them."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from ..file_state import State
from ..protocols import Image, Segmenter
from ..sources.images import Encoded
from ..types import ImageRecord

E = TypeVar("E")


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


def _nothing() -> None:
    """What there is to do when nobody waits for the room of an image."""


@dataclass(slots=True, eq=False)
class ImageContext:
    """One image on its way through the stages: decoded when it is first looked at, encoded once by each segmenter.

    `on_release` is called once, when the image is done with.
    """

    encoded: Encoded
    on_release: Callable[[], None] = _nothing
    clock: Clock = field(default_factory=Clock)
    dropped: Counter[str] = field(default_factory=Counter)  # candidates that became no object, by reason
    _image: Image | None = None
    _embeddings: dict[int, object] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return self.encoded.path

    @property
    def image(self) -> Image:
        """The upright pixels; ImageError where they cannot be decoded."""
        self.decode()
        assert self._image is not None
        return self._image

    @property
    def is_decoded(self) -> bool:
        return self._image is not None

    def decode(self) -> None:
        """Decode it now; ImageError where it cannot be."""
        if self._image is None:
            self._image = self.encoded.decode().image

    @property
    def pixels(self) -> int:
        """Width times height."""
        return self.encoded.pixels

    def embedding(self, segmenter: Segmenter[E]) -> E:
        """The image embedding of a segmenter, made when it is first asked for."""
        if id(segmenter) not in self._embeddings:
            with self.clock.of("embed"):
                self._embeddings[id(segmenter)] = segmenter.embed([self.image])[0]
        found: E = self._embeddings[id(segmenter)]  # type: ignore[assignment]
        return found

    def forget(self) -> None:
        """Let the embeddings go."""
        self._embeddings.clear()

    def release(self) -> None:
        """Let go of all that was made of the image."""
        self._image = None
        self.forget()
        done, self.on_release = self.on_release, _nothing
        done()


@dataclass(frozen=True, slots=True)
class Labeled:
    """One finished image: its record, the file it was made from, and what was dropped on the way."""

    record: ImageRecord
    sha256: str
    stat: State  # of the file before it was read
    dropped: Mapping[str, int] = field(default_factory=dict)
