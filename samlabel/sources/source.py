"""The contract of a source: where the images of a run come from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from ..file_state import State
from ..protocols import ImageRef
from .images import Encoded, Failed


@runtime_checkable
class Source(Protocol):
    """Images by reference, opened one by one; `Folder` is the one for files."""

    @property
    def root(self) -> Path:
        """The folder that paths are relative to."""
        ...

    @property
    def paths(self) -> Sequence[str]:
        """The path of every image, sorted."""
        ...

    @property
    def failed(self) -> Sequence[Failed]:
        """What looked like an image and cannot be opened."""
        ...

    @property
    def unread(self) -> Mapping[str, int]:
        """How many files of each suffix were passed by, as they are no images."""
        ...

    @property
    def outputs(self) -> Sequence[str]:
        """Folders of earlier runs that were passed by."""
        ...

    def refs(self) -> Iterator[ImageRef]:
        """Every image, in the order of the paths."""
        ...

    def open(self, ref: ImageRef, *, max_pixels: int) -> Encoded:
        """The image before it is decoded; ImageError where it is none, or has more than `max_pixels`."""
        ...

    def state(self, path: str) -> State:
        """By which a change of an image is noticed without reading it; OSError where it is gone."""
        ...

    def sha256(self, path: str) -> str:
        """The hash of an image's bytes; OSError where it cannot be read."""
        ...

    def size(self, path: str) -> tuple[int, int]:
        """(height, width) of the upright image, without decoding it; FileNotFoundError or ImageError."""
        ...
