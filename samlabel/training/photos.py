"""Training samples of the segmenter from a COCO instances file: a window of a photo and some masks.

Large-scale jitter and copy-paste follow https://arxiv.org/abs/2012.07177.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from pycocotools import mask as coco
from torch.utils.data import Dataset

WHOLE_IN_CLOTHING, WHOLE_IN_FACADES = frozenset({"person"}), frozenset({"window", "shop", "car"})
PAD = (124, 116, 104)  # nearly zero once normalised, as the predictor's padding is
MOST_PASTED = 3
PASTE_FROM = frozenset({"coco2017", "animals", "cats", "clothing"})


def is_whole(name: str, source: str) -> bool:
    """Whether a category is an object of its own, and no part of one or area such as a street."""
    if source == "clothing":
        return name in WHOLE_IN_CLOTHING
    return source != "facade" or name in WHOLE_IN_FACADES


@dataclass(frozen=True, slots=True)
class Photo:
    path: Path
    source: str
    annotations: tuple[dict[str, Any], ...]  # segmentation, bbox, crowd, whole


def read_photos(data: Path, name: str) -> list[Photo]:
    """The photos of `data/name` (COCO instances JSON)."""
    table = json.loads((data / name).read_text())
    names = {c["id"]: c["name"] for c in table["categories"]}
    images = {i["id"]: i for i in table["images"]}
    found: dict[int, list[dict[str, Any]]] = {i: [] for i in images}
    for a in table["annotations"]:
        whole = is_whole(names[a["category_id"]], images[a["image_id"]]["source"])
        kept = {key: a[key] for key in ("segmentation", "bbox")}
        found[a["image_id"]].append({**kept, "crowd": bool(a["iscrowd"]), "whole": whole})
    return [Photo(data / i["file_name"], i["source"], tuple(found[k])) for k, i in images.items()]


@dataclass(slots=True)
class Sample:
    """A window of a photo, and some of its masks."""

    pixels: np.ndarray  # (S, S, 3) uint8
    masks: np.ndarray  # (K, S, S) uint8, 0 or 255, antialiased edges
    whole: np.ndarray  # (K,) bool, False for a part of an object
    source: str


def _chance(rng: np.random.Generator, p: float) -> bool:
    return bool(rng.random() < p)


def window_of(photo: Photo, *, side: int, canvas: int, most_masks: int, rng: np.random.Generator) -> Sample:
    """A `side`×`side` window of the photo drawn at a jittered scale of a `canvas`-pixel longest side."""
    image = Image.open(photo.path).convert("RGB")
    width, height = image.size
    scale = canvas / max(width, height)
    if side < canvas or _chance(rng, 0.6):
        scale *= math.exp(rng.uniform(math.log(0.6), math.log(1.7)))
    span = side / scale  # side of the window in photo pixels
    left, top = 0.0, 0.0
    if photo.annotations:  # a window around somebody, so that few windows are empty
        x, y, w, h = photo.annotations[rng.integers(len(photo.annotations))]["bbox"]
        left, top = x + w / 2 - span * rng.uniform(0.2, 0.8), y + h / 2 - span * rng.uniform(0.2, 0.8)
    left, top = min(max(left, 0.0), max(width - span, 0.0)), min(max(top, 0.0), max(height - span, 0.0))
    right, bottom = min(left + span, width), min(top + span, height)
    out_w, out_h = max(1, min(side, round((right - left) * scale))), max(1, min(side, round((bottom - top) * scale)))
    area = (left, top, right, bottom)
    pixels = np.full((side, side, 3), PAD, np.uint8)
    pixels[:out_h, :out_w] = np.asarray(image.resize((out_w, out_h), Image.Resampling.BILINEAR, box=area))

    candidates = []
    for a in photo.annotations:
        x, y, w, h = a["bbox"]
        x0, y0, x1, y1 = max(x, left), max(y, top), min(x + w, right), min(y + h, bottom)
        if x1 - x0 < 1 or y1 - y0 < 1:
            continue
        seen = (x1 - x0) * (y1 - y0) / (w * h)
        if not a["crowd"] and seen > 0.35 and (x1 - x0) * (y1 - y0) * scale**2 > 50:
            candidates.append(a)
    masks, whole = [], []
    for i in rng.permutation(len(candidates))[:most_masks]:
        whole.append(candidates[i]["whole"])
        decoded = coco.decode(candidates[i]["segmentation"])
        mask = Image.fromarray(decoded * 255).resize((out_w, out_h), Image.Resampling.BILINEAR, box=area)
        masks.append(np.zeros((side, side), np.uint8))
        masks[-1][:out_h, :out_w] = np.asarray(mask)
    sample = Sample(
        pixels,
        np.stack(masks) if masks else np.zeros((0, side, side), np.uint8),
        np.array(whole, bool),
        photo.source,
    )
    return _flipped(sample, rng)


def _flipped(sample: Sample, rng: np.random.Generator) -> Sample:
    if _chance(rng, 0.5):
        sample.pixels, sample.masks = sample.pixels[:, ::-1], sample.masks[:, :, ::-1]
    if sample.source in {"nuclei", "mushrooms"} and _chance(rng, 0.5):
        sample.pixels, sample.masks = sample.pixels[::-1], sample.masks[:, ::-1]
    return sample


def paste(sample: Sample, other: Sample, *, most: int, rng: np.random.Generator) -> Sample:
    """Up to `most` objects of `other` laid over `sample`; what they hide is cut from its masks."""
    pixels, masks, wholes = sample.pixels.copy(), list(sample.masks.copy()), list(sample.whole)
    pasted = 0
    for mask, whole in zip(other.masks, other.whole, strict=True):
        inside = mask > 127
        if pasted == most or not whole or not inside.any():
            continue
        pasted += 1
        pixels[inside] = other.pixels[inside]
        masks = [np.where(inside, 0, m) for m in masks] + [mask]
        wholes.append(True)
    keep = [k for k, m in enumerate(masks) if (m > 127).sum() > 50]
    side = len(pixels)
    return Sample(
        pixels,
        np.stack([masks[k] for k in keep]) if keep else np.zeros((0, side, side), np.uint8),
        np.array([wholes[k] for k in keep], bool),
        sample.source,
    )


def draw_shapes(sample: Sample, *, most: int, rng: np.random.Generator) -> Sample:
    """The sample with up to `most` drawn shapes over it: plain things that photos of so few kinds do not teach."""
    side = len(sample.pixels)
    sample.pixels = sample.pixels.copy()
    shapes: list[np.ndarray] = []
    for _ in range(int(rng.integers(1, most + 1))):
        stencil = Image.new("L", (2 * side, 2 * side))
        pen = ImageDraw.Draw(stencil)
        middle, reach = rng.uniform(0.1, 0.9, 2) * 2 * side, rng.uniform(0.05, 0.35, 2) * 2 * side
        kind = rng.integers(4)
        if kind == 0:
            pen.rectangle((*(middle - reach), *(middle + reach)), fill=255)
        elif kind < 3:
            pen.ellipse((*(middle - reach), *(middle + reach)), fill=255)
            if kind == 2:  # a ring
                pen.ellipse((*(middle - reach / 2), *(middle + reach / 2)), fill=0)
        else:
            turns = np.sort(rng.uniform(0, 2 * math.pi, int(rng.integers(3, 9))))
            spokes = reach * rng.uniform(0.5, 1.2, (len(turns), 1))
            corners = middle + spokes * np.stack([np.cos(turns), np.sin(turns)], 1)
            pen.polygon([tuple(c) for c in corners], fill=255)
        mask = np.asarray(stencil.resize((side, side), Image.Resampling.BILINEAR))
        box = tight_box(mask > 127)
        if box is None:
            continue
        x0, y0, x1, y1 = (int(v) for v in box)
        y, x = np.mgrid[y0:y1, x0:x1].astype(np.float32)
        slope = rng.uniform(-0.4, 0.4, (2, 3)).astype(np.float32) * _chance(rng, 0.5)
        paint = rng.uniform(0, 255, 3).astype(np.float32)
        paint = paint + (x[..., None] - x0) * slope[0] + (y[..., None] - y0) * slope[1]
        paint += rng.normal(0, rng.uniform(0, 12), (y1 - y0, x1 - x0, 1)).astype(np.float32)
        share = mask[y0:y1, x0:x1, None].astype(np.float32) / 255
        under = sample.pixels[y0:y1, x0:x1]
        sample.pixels[y0:y1, x0:x1] = (under * (1 - share) + paint.clip(0, 255) * share).astype(np.uint8)
        sample.masks = np.where(mask > 127, 0, sample.masks).astype(np.uint8)
        shapes = [np.where(mask > 127, 0, m).astype(np.uint8) for m in shapes] + [mask]
    shapes = [m for m in shapes if (m > 127).sum() > 60]
    return Sample(
        sample.pixels,
        np.concatenate([sample.masks, np.array(shapes, np.uint8).reshape(-1, side, side)]),
        np.concatenate([sample.whole, np.ones(len(shapes), bool)]),
        sample.source,
    )


def tight_box(inside: np.ndarray) -> tuple[float, float, float, float] | None:
    """XYXY around the True pixels of a boolean mask, or None when there are none."""
    ys, xs = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if not len(ys):
        return None
    return float(xs[0]), float(ys[0]), float(xs[-1] + 1), float(ys[-1] + 1)


class Windows(Dataset[dict[str, Any]]):
    """An endless, seeded supply: item `i` is the same window whoever asks for it."""

    def __init__(
        self,
        photos: list[Photo],
        *,
        side: int,
        canvas: int,
        most_masks: int,
        seed: int,
        paste: float = 0.0,
        shapes: float = 0.0,
        draws: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """`paste` and `shapes` are the shares of windows that get another photo's objects, or drawn ones.

        A photo is drawn in proportion to `draws` of its source.
        """
        self.photos, self.side, self.canvas, self.most_masks, self.seed = photos, side, canvas, most_masks, seed
        self.paste, self.shapes = paste, shapes
        weight = np.array([draws.get(p.source, 1.0) for p in photos])
        self.weight = weight / weight.sum()
        gives = weight * [p.source in PASTE_FROM for p in photos]
        self.gives = gives / gives.sum()

    def __len__(self) -> int:
        return 1 << 40

    def _window(self, weight: np.ndarray, most_masks: int, rng: np.random.Generator) -> Sample:
        photo = self.photos[int(rng.choice(len(self.photos), p=weight))]
        return window_of(photo, side=self.side, canvas=self.canvas, most_masks=most_masks, rng=rng)

    def __getitem__(self, item: int) -> dict[str, Any]:
        rng = np.random.default_rng([self.seed, item])
        sample = self._window(self.weight, self.most_masks, rng)
        if sample.source not in {"nuclei", "mushrooms", "facade"} and _chance(rng, self.paste):
            other = self._window(self.gives, max(self.most_masks, MOST_PASTED), rng)
            sample = paste(sample, other, most=int(rng.integers(1, MOST_PASTED + 1)), rng=rng)
        if _chance(rng, self.shapes):
            sample = draw_shapes(sample, most=3, rng=rng)
        masks = sample.masks[rng.permutation(len(sample.masks))[: self.most_masks]]
        tights = [tight_box(m > 127) for m in masks]
        masks = masks[[t is not None for t in tights]]
        return {
            "pixels": torch.from_numpy(np.ascontiguousarray(sample.pixels)).permute(2, 0, 1),
            "masks": torch.from_numpy(np.ascontiguousarray(masks)),
            "prompt_boxes": torch.tensor([t for t in tights if t is not None], dtype=torch.float32).reshape(-1, 4),
        }


def collate(items: list[dict[str, Any]]) -> dict[str, Any]:
    """Stacked pixels; masks concatenated, `owner` says which image each belongs to."""
    return {
        "pixels": torch.stack([i["pixels"] for i in items]),
        "masks": torch.cat([i["masks"] for i in items]),
        "prompt_boxes": torch.cat([i["prompt_boxes"] for i in items]),
        "owner": torch.cat([torch.full((len(i["masks"]),), k) for k, i in enumerate(items)]),
    }
