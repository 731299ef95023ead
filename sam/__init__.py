"""Segment Anything as a library: masks for boxes, points and masks, or for everything in an image.

    import sam

    model = sam.load("nano")
    embedding = model.embed(image)                         # (H, W, 3) uint8 RGB, encoded once
    prediction = model.predict(embedding, boxes=[[10, 20, 200, 180]])
    masks = prediction.masks()                             # (N, C, H, W) bool

It imports nothing outside itself but torch, numpy, Pillow and, where used, safetensors, torchvision,
pycocotools and OpenCV.
"""

# ruff: noqa: E402  the check comes before everything that imports torch

from __future__ import annotations

from .libraries import refuse_planted

refuse_planted()

from .automatic.generator import SamAutomaticMaskGenerator
from .checkpoint import load, save
from .cpu.optimize import optimize
from .errors import (
    BackendError,
    ExportError,
    ImageError,
    NoImageSet,
    PlantedLibrary,
    PromptError,
    SamError,
    UnknownVariant,
    WeightsError,
)
from .export.onnx import Exported, export
from .masks.rle import RleMask
from .model import Embedding, Prediction, Sam
from .model_registry import sam_model_registry
from .predictor import ResizeLongestSide, SamPredictor
from .registry import Variant, register
from .registry import variants as list_variants

__all__ = [
    "BackendError",
    "Embedding",
    "ExportError",
    "Exported",
    "ImageError",
    "NoImageSet",
    "PlantedLibrary",
    "Prediction",
    "PromptError",
    "ResizeLongestSide",
    "RleMask",
    "Sam",
    "SamAutomaticMaskGenerator",
    "SamError",
    "SamPredictor",
    "UnknownVariant",
    "Variant",
    "WeightsError",
    "export",
    "list_variants",
    "load",
    "optimize",
    "register",
    "sam_model_registry",
    "save",
]
