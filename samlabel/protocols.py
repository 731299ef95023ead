"""The shapes that a plug-in fills in: a detector, a segmenter, a label format."""

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


@runtime_checkable
class Detector(Protocol):
    """Boxes with classes for whole images."""

    name: str
    categories: tuple[Category, ...]

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """One `Detections` an image, in the same order, boxes inside the image."""
        ...


@runtime_checkable
class Segmenter(Protocol):
    """Masks for prompts. An embedding is a value: made once an image, passed to every call.

    One that has `thread_safe = True` may be called by several threads at once, and then pictures are worked on side
    by side.
    """

    name: str

    def embed(self, image: Image) -> Any:
        """The image embedding that `segment` takes."""
        ...

    def segment(self, embedding: Any, detections: Detections) -> Iterator[Annotation]:
        """One annotation for each detection, in order and none left out, mask and scores set."""
        ...

    def generate(self, image: Image, embedding: Any | None = None) -> Iterator[Annotation]:
        """Class-agnostic annotations (category id 1) from a grid of points."""
        ...
