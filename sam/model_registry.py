"""`sam_model_registry[name](checkpoint=...)`, as code written for `segment_anything` builds its model."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from .checkpoint import load
from .model import Sam
from .registry import variants


def _build(name: str, checkpoint: str | os.PathLike[str] | None = None) -> Sam:
    """Where the original gives random weights without a checkpoint, this raises `WeightsError`."""
    return load(name, checkpoint=checkpoint)


sam_model_registry: dict[str, Callable[..., Sam]] = {
    word: partial(_build, variant.name) for variant in variants() for word in (variant.name, *variant.aliases)
}
sam_model_registry["default"] = sam_model_registry["vit_h"]
