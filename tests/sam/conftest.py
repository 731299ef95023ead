"""Seeded models and one drawn picture, shared by the tests of `sam`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn


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
    """(150, 220, 3) uint8: a bright disc and a dark bar on a gradient with a little noise."""
    height, width = 150, 220
    y, x = np.mgrid[:height, :width]
    canvas = np.stack([x * 255 / width, y * 255 / height, 255 - x * 200 / width], axis=-1)
    canvas[(y - 70) ** 2 + (x - 60) ** 2 < 40**2] = (250, 220, 40)
    canvas[90:130, 120:200] = (20, 30, 90)
    canvas += np.random.default_rng(0).normal(0, 6, canvas.shape)
    return canvas.clip(0, 255).astype(np.uint8)
