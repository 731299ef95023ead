"""Between an image's own pixels and the padded square that a model reads.

An image is resized so that its longest side is S, normalised, and padded right and below with zeros;
prompts follow by the same factors, and masks come back the other way, all as in Segment Anything
(https://github.com/facebookresearch/segment-anything, `utils/transforms.py` and `modeling/sam.py`).
Sizes are (height, width).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Sequence


def check_image(image: Any) -> np.ndarray:
    """`image` as an (H, W, 3) uint8 RGB array; PIL images of mode RGB are taken too."""
    mode = getattr(image, "mode", None)
    if isinstance(mode, str) and hasattr(image, "getbands"):  # a PIL image
        if mode != "RGB":
            raise ImageError(f"PIL image of mode {mode!r}; wanted RGB: call image.convert('RGB')")
        image = np.asarray(image)
    if not isinstance(image, np.ndarray):
        raise ImageError(f"image is a {type(image).__name__}; wanted an (H, W, 3) uint8 RGB array or a PIL image")
    if image.ndim == 2:
        raise ImageError(f"grayscale image of shape {image.shape}; wanted (H, W, 3) RGB: stack it three times")
    if image.ndim != 3 or image.shape[2] != 3:
        raise ImageError(f"image of shape {image.shape}; wanted (H, W, 3) RGB")
    if image.dtype != np.uint8:
        raise ImageError(f"image of {image.dtype} pixels; wanted uint8, 0 to 255")
    if image.size == 0:
        raise ImageError(f"image of shape {image.shape} has no pixels")
    return image


def size_of(pixels: Tensor) -> tuple[int, int]:
    """(h, w) of (..., h, w)."""
    return pixels.shape[-2], pixels.shape[-1]


def resized(size: tuple[int, int], side: int) -> tuple[int, int]:
    """The size that an image of `size` has once its longest side is `side`; never below one pixel."""
    height, width = size
    scale = side / max(height, width)
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def resize(image: np.ndarray, side: int) -> np.ndarray:
    """`image` (H, W, 3) with its longest side at `side`, uint8, antialiased bilinear as Pillow does it."""
    from PIL import Image

    height, width = resized(image.shape[:2], side)
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def to_tensor(image: np.ndarray, device: torch.device) -> Tensor:
    """(3, h, w) uint8 on `device` from (h, w, 3)."""
    return torch.tensor(image, device=device).permute(2, 0, 1)  # copies: PIL's arrays are read-only


def normalise_and_pad(pixels: Tensor, *, mean: Tensor, std: Tensor, side: int) -> Tensor:
    """(..., 3, side, side) float32 from RGB values 0 to 255 of shape (..., 3, h, w)."""
    height, width = pixels.shape[-2:]
    if height > side or width > side:
        raise ImageError(f"input of {height} x {width} pixels; this model reads at most {side} x {side}")
    # Channels last, as decoded pixels and the convolutions on a CPU are; whole rows at once, three values are too few.
    rows = pixels.movedim(-3, -1).flatten(-2).float()
    mean, std = (value.flatten().repeat(width) for value in (mean, std))
    padded = rows.new_zeros(*pixels.shape[:-3], side, side, 3)
    padded[..., :height, :width, :] = torch.unflatten((rows - mean).div_(std), -1, (width, 3))
    return padded.movedim(-1, -3)


def scale_coords(coords: Tensor, size: tuple[int, int], input_size: tuple[int, int]) -> Tensor:
    """x, y in the last axis of `coords` from pixels of the image to pixels of the padded square, float64."""
    factors = [input_size[1] / size[1], input_size[0] / size[0]]
    return coords.double() * torch.tensor(factors, dtype=torch.float64, device=coords.device)


def to_original(logits: Tensor, *, side: int, input_size: Sequence[int], size: Sequence[int]) -> Tensor:
    """Logits (N, C, H, W) at the image's own size from low-res logits (N, C, h, w)."""
    if logits.shape[0] == 0:
        return logits.new_zeros(0, logits.shape[1], *size)
    square = F.interpolate(logits, (side, side), mode="bilinear", align_corners=False)
    inside = square[..., : input_size[0], : input_size[1]]
    return F.interpolate(inside, tuple(size), mode="bilinear", align_corners=False)
