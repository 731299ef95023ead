"""Every error that `sam` raises on purpose, each a message of one line."""

from __future__ import annotations


class SamError(Exception):
    """What went wrong, where, what was wanted and what to do next."""


class UnknownVariant(SamError):
    """No variant has this name."""


class WeightsError(SamError):
    """A checkpoint that is missing, damaged, not safe to open, or made for another model."""


class ImageError(SamError):
    """An image that cannot be embedded: wrong shape, type or size."""


class PromptError(SamError):
    """A prompt that cannot be meant: no prompt at all, wrong shape, NaN, or a box turned inside out."""


class ExportError(SamError):
    """A model that could not be written as ONNX, or whose ONNX files do not do what the model does."""


class BackendError(SamError):
    """A number type or backend that is not known, or that this machine or installation does not have."""


class PlantedLibrary(SamError):
    """The current folder holds shared libraries that importing torch could load."""


class NoImageSet(SamError, RuntimeError):
    """`SamPredictor` was asked for masks before it was given an image."""
