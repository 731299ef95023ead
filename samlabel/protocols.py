"""The contracts of models: what a detector and a segmenter do, and what they say of themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np

    from .types import Annotation, Category, Detections


@dataclass(frozen=True, slots=True)
class Image:
    """One decoded image: upright RGB pixels and where they came from."""

    path: str  # POSIX, relative to the folder that was scanned
    pixels: np.ndarray  # (H, W, 3) uint8 RGB

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.pixels.shape[0], self.pixels.shape[1]


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a model says of itself. Name, weights, dtype and backend are among the settings that a run notes.

    `weights` tells one set of weights from another: the SHA-256 of its file where there is one. `dtype`, `backend` and
    `device` are what it computes in, runs on and lies on; None is not known. One that is `thread_safe` may be called by
    several threads at once, by `max_concurrency` of them at most. `categories` are the classes of a detector.
    """

    name: str
    categories: tuple[Category, ...] = ()
    weights: str | None = None
    dtype: str | None = None
    backend: str | None = None
    device: str | None = None
    thread_safe: bool = False
    max_concurrency: int | None = None


@runtime_checkable
class Model(Protocol):
    """What every model says of itself."""

    info: ModelInfo


@runtime_checkable
class Detector(Protocol):
    """Boxes with classes for whole images; `info.categories` are the classes."""

    info: ModelInfo

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """One `Detections` an image, in the same order, boxes inside the image."""
        ...


@runtime_checkable
class Segmenter(Protocol):
    """Masks for prompts. An embedding is a value: made once an image, passed to every call.

    Where `info.thread_safe` is set, images are worked on side by side.
    """

    info: ModelInfo

    def embed(self, image: Image) -> Any:
        """The image embedding that `segment` takes."""
        ...

    def segment(self, embedding: Any, detections: Detections) -> Iterator[Annotation]:
        """One annotation for each detection, in order and none left out, mask and scores set."""
        ...

    def generate(self, image: Image, embedding: Any | None = None) -> Iterator[Annotation]:
        """Class-agnostic annotations (category id 1) from a grid of points."""
        ...
