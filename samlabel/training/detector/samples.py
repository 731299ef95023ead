"""Training samples of the detector: a photo at a random scale and place, flipped, its colors changed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...detectors._nanodet import normalized
from .labels import Labels

SHOWN = 0.3  # share of an object that must lie inside the sample for it to be found there
SMALLEST = 3.0  # pixels of a box's shorter side


@dataclass(frozen=True, slots=True)
class Sample:
    """An input of the network, and what it shows; boxes are XYXY in its pixels."""

    pixels: Tensor  # (3, H, W) float32, normalized
    boxes: Tensor  # (M, 4)
    classes: Tensor  # (M,)
    ignored_boxes: Tensor  # (K, 4)
    ignored_classes: Tensor  # (K,)


class Supply:
    """An endless, seeded supply: sample `index` is the same whoever asks for it."""

    def __init__(self, data: Path, labels: Sequence[Labels], *, shares: Mapping[str, float], seed: int) -> None:
        """`shares` says how often each source is drawn; every photo of a source equally often."""
        self._data, self._seed = data, seed
        self._by_source = {source: [one for one in labels if one.source == source] for source in shares}
        missing = [source for source, photos in self._by_source.items() if not photos]
        if missing:
            raise ValueError(
                f"{data}: no photo of the source {missing[0]}; expected some of each of {', '.join(shares)}"
            )
        self._sources = list(shares)
        weights = np.array([shares[source] for source in self._sources])
        self._weights = weights / weights.sum()

    def sample(self, index: int, size: tuple[int, int]) -> Sample:
        """Sample `index` at `size`, (height, width)."""
        rng = np.random.default_rng([self._seed, index])
        photos = self._by_source[self._sources[int(rng.choice(len(self._sources), p=self._weights))]]
        labels = photos[int(rng.integers(len(photos)))]
        return augmented(Image.open(self._data / labels.path).convert("RGB"), labels, size, rng)


def augmented(photo: Image.Image, labels: Labels, size: tuple[int, int], rng: np.random.Generator) -> Sample:
    """`photo` scaled to 0.6 to 1.3 times what fits `size`, up to 10 % wider or narrower, at a random place of it."""
    height, width = size
    scale = min(width / photo.width, height / photo.height) * math.exp(rng.uniform(math.log(0.6), math.log(1.3)))
    stretch = np.array([scale * rng.uniform(0.9, 1.1), scale])  # x, y
    drawn = np.maximum(np.rint(np.array(photo.size) * stretch), 1)  # size of the photo in pixels of the sample
    room = np.array([width, height]) - drawn
    corner = np.rint(rng.uniform(np.minimum(room, 0), np.maximum(room, 0)))  # where its top left comes to lie
    low, high = np.maximum(corner, 0).astype(int), np.minimum(corner + drawn, [width, height]).astype(int)
    # The part of the photo, in its own pixels, that lies in the sample.
    x0, y0, x1, y1 = (np.concatenate([low - corner, high - corner]) / np.tile(drawn / photo.size, 2)).tolist()
    w, h = (high - low).tolist()
    shown = photo.resize((w, h), Image.Resampling.BILINEAR, box=(x0, y0, x1, y1))
    canvas = torch.zeros(3, height, width)
    pixels = torch.from_numpy(recolored(np.asarray(shown, np.float32), rng)).permute(2, 0, 1)
    canvas[:, low[1] : high[1], low[0] : high[0]] = normalized(pixels)
    mirrored = bool(rng.random() < 0.5)

    def moved(boxes: list[list[float]]) -> tuple[np.ndarray, np.ndarray]:
        """Boxes in the sample, and whether enough of each lies inside."""
        whole = np.array(boxes, np.float64).reshape(-1, 4) * np.tile(drawn / photo.size, 2) + np.tile(corner, 2)
        if mirrored:
            whole[:, [0, 2]] = width - whole[:, [2, 0]]
        cut = whole.clip(0, [width, height, width, height])
        sides = cut[:, 2:] - cut[:, :2]
        share = sides.prod(1) / np.maximum((whole[:, 2:] - whole[:, :2]).prod(1), 1e-6)
        return cut, (share > SHOWN) & (sides.min(1, initial=1e9) > SMALLEST)

    boxes, enough = moved(labels.boxes)
    ignored, _ = moved(labels.ignored_boxes)
    classes = np.array(labels.classes, np.int64)
    # What is cut off at the edge is neither there nor absent.
    ignored = np.concatenate([ignored, boxes[~enough]])
    ignored_classes = np.concatenate([np.array(labels.ignored_classes, np.int64), classes[~enough]])
    return Sample(
        canvas.flip(-1) if mirrored else canvas,
        torch.from_numpy(boxes[enough]).float(),
        torch.from_numpy(classes[enough]),
        torch.from_numpy(ignored).float(),
        torch.from_numpy(ignored_classes),
    )


def recolored(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """RGB (H, W, 3) of 0 to 255 with other brightness, contrast and saturation; one in twenty gray, some with noise."""
    gray = pixels.mean(-1, keepdims=True)
    saturation = 0.0 if rng.random() < 0.05 else rng.uniform(0.5, 1.4)
    pixels = gray + (pixels - gray) * np.float32(saturation)
    middle = pixels.mean()
    pixels = middle + (pixels - middle) * np.float32(rng.uniform(0.7, 1.3)) + np.float32(rng.uniform(-25, 25))
    if rng.random() < 0.1:
        pixels = pixels + rng.normal(0, rng.uniform(2, 12), pixels.shape).astype(np.float32)
    return pixels.clip(0, 255)
