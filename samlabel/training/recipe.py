"""The numbers of the training run that the segmenter comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """One run."""

    steps: int
    decay: int  # steps at the end over which the learning rate falls to nothing
    batch: int  # photos a step
    draws: Mapping[str, float]  # of a photo, by its source, relative to the number of photos
    masks_per_image: int = 8
    masks: int = 24  # prompts a step, always as many: kernels are compiled anew for every new shape
    window: int | None = None  # pixels of a photo that a step sees; None for whole photos
    whole: int = 0  # steps at the very end on whole photos, in place of windows
    lr: float = 1e-3
    warmup: int = 200
    weight_decay: float = 0.02
    average: float = 0.998  # decay of the averaged weights
    paste: float = 0.4  # share of windows with objects of another photo
    shapes: float = 0.25  # share of windows with drawn shapes
    boxes: float = 0.7  # share of boxes among first prompts; the others are clicks
    seed: int = 0

    def lr_at(self, step: int) -> float:
        return self.lr * min(1.0, (step + 1) / self.warmup, max(self.steps - step, 0) / self.decay)

    def on_whole_photos(self, step: int) -> bool:
        return self.window is None or step >= self.steps - self.whole


# Ordinary scenes with everything labelled teach most, and a large source of one kind must not drown the others.
SEGMENTER = Recipe(
    steps=17000,
    decay=2800,
    batch=12,
    window=256,
    whole=250,
    draws={"coco2017": 3.5, "clothing": 1.2, "facade": 3.2, "cats": 1.4, "nuclei": 1.5, "mushrooms": 1.5},
)
