"""Where a detector runs when nobody says."""

from __future__ import annotations


def best_device() -> str:
    """The first GPU's torch name, else the CPU's."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
