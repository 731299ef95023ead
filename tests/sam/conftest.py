"""Seeded models and one drawn picture, shared by the tests of `sam`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn


def scrambled(module: nn.Module, seed: int = 0) -> nn.Module:
    """Every parameter and statistic of `module` set to seeded values that keep activations near 1.

    Built models start with many zeros and ones (positions, biases, norms), where mistakes hide.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(shape: torch.Size) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    with torch.no_grad():
        for name, value in sorted(module.state_dict().items()):
            if name.endswith("num_batches_tracked"):
                continue
            if name.endswith("running_var"):
                value.copy_(0.5 + torch.rand(value.shape, generator=generator))
            elif name.endswith("gaussian_matrix"):
                value.copy_(normal(value.shape))
            elif value.ndim == 1:  # norms, biases
                value.copy_(0.1 * normal(value.shape) + name.endswith("weight"))
            elif "pos_embed" in name or "rel_pos" in name or "attention_biases" in name:
                value.copy_(0.3 * normal(value.shape))
            elif name.endswith(("tokens.weight", "token.weight", "embed.weight")) or "point_embeddings" in name:
                value.copy_(normal(value.shape))
            else:
                value.copy_(normal(value.shape) / value[0].numel() ** 0.5)
    return module


@pytest.fixture(scope="session")
def scramble():
    """The function `scrambled`."""
    return scrambled


@pytest.fixture(scope="session")
def picture() -> np.ndarray:
    """What `drawn_picture` draws."""
    return drawn_picture()


def drawn_masks(features: Tensor, unit: Tensor) -> tuple[Tensor, Tensor]:
    """Low-res logits (N, 3, 64, 64) and predicted IoU (N, 3): three ellipses around each point.

    A stand-in for a trained decoder. `features` (1, D, h, w) and `unit` (N, 2), x and y in [0, 1] of
    the padded square, set their sizes, slopes and scores, so neighbours give near-duplicates.
    """
    features = features[0]
    column = (unit[:, 0] * features.shape[2]).long().clamp(0, features.shape[2] - 1)
    row = (unit[:, 1] * features.shape[1]).long().clamp(0, features.shape[1] - 1)
    colour = features[:3, row, column].T.double()  # (N, 3)
    step = (torch.arange(64, dtype=torch.float64) + 0.5) / 64
    dx = step[None, None, None, :] - unit[:, 0, None, None, None]
    dy = step[None, None, :, None] - unit[:, 1, None, None, None]
    size = torch.tensor([0.03, 0.09, 0.25], dtype=torch.float64) * (1 + 0.3 * torch.sin(5 * colour))
    stretch = 1 + 0.5 * torch.cos(3 * colour.sum(1))[:, None, None, None]
    distance = torch.sqrt((dx * stretch) ** 2 + (dy / stretch) ** 2)
    slope = (20 + 60 * torch.sin(7 * colour) ** 2)[:, :, None, None]
    logits = (size[:, :, None, None] - distance) * slope * 4
    ripple = torch.sin(60 * dx) * torch.sin(60 * dy) * 3  # holes and islands
    iou = 0.9 + 0.1 * torch.sin(11 * colour + 40 * unit.sum(1, keepdim=True))
    return (logits + ripple).float(), iou.float()


class DrawnEncoder(nn.Module):
    """Mean colours of 16 x 16 patches: (B, 3, S/16, S/16)."""

    img_size = 256

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (nn.functional.avg_pool2d(x, 16),)


class DrawnPrompts(nn.Module):
    """Point prompts as they are, in the unit square."""

    def dense_pe(self) -> None:
        return None

    def forward(self, *, point_coords: Tensor, point_labels: Tensor) -> tuple[Tensor, None]:
        return point_coords[:, 0].double() / DrawnEncoder.img_size, None


class DrawnDecoder(nn.Module):
    """`drawn_masks` with the interface of the mask decoder."""

    def forward(self, *, image_embedding, sparse, multimask_output, **others):
        assert multimask_output
        return drawn_masks(image_embedding, sparse)


@pytest.fixture(scope="session")
def drawn_model():
    """A `Sam` whose masks are ellipses around its points: smooth, many, near-duplicate, of every size."""
    from sam import Sam, Variant

    parts = (DrawnEncoder(), DrawnPrompts(), DrawnDecoder())
    return Sam(Variant(name="drawn", family="drawn", build=lambda: parts, image_size=256, transformer_dim=3)).eval()


GENERATOR_CASES = {
    "defaults of a small grid": {"points_per_side": 8},
    "two batches that do not divide": {"points_per_side": 7, "points_per_batch": 20, "stability_score_thresh": 0.8},
    "nothing filtered": {"points_per_side": 4, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0},
    "no suppression": {"points_per_side": 5, "box_nms_thresh": 1.0, "stability_score_thresh": 0.7},
    "one layer of crops": {"points_per_side": 6, "crop_n_layers": 1, "stability_score_thresh": 0.8},
    "two layers of crops, coarser": {
        "points_per_side": 8,
        "crop_n_layers": 2,
        "crop_n_points_downscale_factor": 2,
        "crop_overlap_ratio": 0.5,
        "stability_score_thresh": 0.6,
        "crop_nms_thresh": 0.5,
    },
    "specks removed": {"points_per_side": 8, "min_mask_region_area": 60, "stability_score_thresh": 0.6},
    "specks removed in crops": {
        "points_per_side": 4,
        "min_mask_region_area": 200,
        "crop_n_layers": 1,
        "pred_iou_thresh": 0.5,
        "stability_score_thresh": 0.5,
    },
    "a wider stability offset": {"points_per_side": 8, "stability_score_offset": 2.0, "stability_score_thresh": 0.7},
}


def drawn_picture() -> np.ndarray:
    """(150, 220, 3) uint8: a bright disc and a dark bar on a gradient with a little noise."""
    height, width = 150, 220
    y, x = np.mgrid[:height, :width]
    canvas = np.stack([x * 255 / width, y * 255 / height, 255 - x * 200 / width], axis=-1)
    canvas[(y - 70) ** 2 + (x - 60) ** 2 < 40**2] = (250, 220, 40)
    canvas[90:130, 120:200] = (20, 30, 90)
    canvas += np.random.default_rng(0).normal(0, 6, canvas.shape)
    return canvas.clip(0, 255).astype(np.uint8)
