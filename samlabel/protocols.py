"""The contracts of models: what a detector and a segmenter do, and what they say of themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from .errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from .objects import FloatArray, Objects
    from .types import Box, Category

PROMPTS = ("box", "point", "mask", "text", "everything")


@dataclass(frozen=True, slots=True)
class ImageRef:
    """What gets labeled: an image file, a frame of a video, or a window of either."""

    path: str  # POSIX, relative to the source
    frame: int | None = None
    window: Box | None = None  # XYXY, pixels of the upright image

    @property
    def name(self) -> str:
        """The path of its record: `path`, and what of it is meant where that is not the whole."""
        part = "" if self.frame is None else f"#frame={self.frame}"
        if self.window is not None:
            part += f"#window={','.join(f'{value:g}' for value in self.window)}"
        return self.path + part


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

    `weights_sha256` tells one set of weights from another: the SHA-256 of its file where there is one. `dtype`,
    `backend` and `device` are what it computes in, runs on and lies on; None is not known. One that is `thread_safe`
    may be called by several threads at once, by `max_concurrency` of them at most. `categories` are the classes of a
    detector. `prompts` are the kinds of prompts that a segmenter takes, of box, point, mask, text and everything; one
    that takes "everything" is a `MaskGenerator`.
    """

    name: str
    categories: tuple[Category, ...] = ()
    weights_sha256: str | None = None
    version: str | None = None
    license: str | None = None
    dtype: str | None = None
    backend: str | None = None
    device: str | None = None
    thread_safe: bool = False
    max_concurrency: int | None = None
    prompts: frozenset[str] = frozenset({"box"})

    def __post_init__(self) -> None:
        object.__setattr__(self, "prompts", frozenset(self.prompts))
        if unknown := sorted(self.prompts - set(PROMPTS)):
            raise UsageError(f"the model {self.name!r} takes prompts {unknown}; expected some of {', '.join(PROMPTS)}")


@runtime_checkable
class Detector(Protocol):
    """Finds the objects of whole images; `info.categories` are their classes."""

    info: ModelInfo

    def detect(self, images: Sequence[Image]) -> list[Objects]:
        """One `Objects` an image, in the same order, boxes inside the image; masks where the detector makes them."""
        ...


@runtime_checkable
class PairsWithImages(Protocol):
    """A detector whose objects were made for certain images, such as labels that exist already."""

    def expect(self, paths: Sequence[str]) -> None:
        """Conflicted where none of these images is one that it has objects for."""
        ...

    def remarks(self) -> list[str]:
        """What a person should know after the run: images without objects, objects without an image."""
        ...


E = TypeVar("E")


@runtime_checkable
class Segmenter(Protocol[E]):
    """Masks for prompts. An embedding is a value: made once an image, passed to every call.

    Where `info.thread_safe` is set, images are worked on side by side.
    """

    info: ModelInfo

    def embed(self, images: Sequence[Image]) -> list[E]:
        """One image embedding an image, in the same order."""
        ...

    def segment(self, embedding: E, objects: Objects) -> Objects:
        """The same objects, by their `row_ids`, with masks and scores set; `objects.boxes` are the prompts."""
        ...


@runtime_checkable
class MaskGenerator(Segmenter[E], Protocol[E]):
    """A segmenter that takes the prompt "everything"."""

    def generate(self, image: Image, embedding: E, *, boxes: FloatArray | None = None) -> Objects:
        """Objects of category 1 for all that a grid of points finds, or for `boxes` (N, 4) XYXY in its place."""
        ...


def check_model(model: Any, kind: str, contract: Any) -> None:
    """UsageError where an object is not what `contract` says: a detector or a segmenter."""
    found = dir(model)
    if "info" not in found or not isinstance(model.info, ModelInfo):
        raise UsageError(f"the {kind} is a {type(model).__name__} without `info`; expected a samlabel.ModelInfo there")
    contract = MaskGenerator if contract is Segmenter and "everything" in model.info.prompts else contract
    if not isinstance(model, contract):
        missing = [name for name in ("detect", "embed", "segment", "generate") if name in dir(contract)]
        missing = [name for name in missing if name not in found]
        raise UsageError(
            f"the {kind} {model.info.name!r} has no {' and no '.join(missing)}; see samlabel.{contract.__name__}"
        )
