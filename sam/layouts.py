"""Checkpoints of other programs, their keys renamed to those of the official files.

Known: files wrapped in `{"model": ...}` or `{"state_dict": ...}`, data-parallel `module.` prefixes,
and the layout of Hugging Face transformers' `SamModel`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from torch import Tensor

from .errors import WeightsError

if TYPE_CHECKING:
    from collections.abc import Mapping

_WRAPPERS = ("model", "state_dict", "model_state_dict", "model_state")

# In order; transformers on the left, Segment Anything on the right.
_TRANSFORMERS = (
    (r"^vision_encoder\.", "image_encoder."),
    (r"patch_embed\.projection\.", "patch_embed.proj."),
    (r"^image_encoder\.layers\.(\d+)\.layer_norm(\d)\.", r"image_encoder.blocks.\1.norm\2."),
    (r"^image_encoder\.layers\.", "image_encoder.blocks."),
    (r"neck\.conv1\.", "neck.0."),
    (r"neck\.layer_norm1\.", "neck.1."),
    (r"neck\.conv2\.", "neck.2."),
    (r"neck\.layer_norm2\.", "neck.3."),
    (r"^prompt_encoder\.shared_embedding\.positional_embedding$", ""),  # a second copy
    (r"^shared_image_embedding\.positional_embedding$", "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"),
    (r"^prompt_encoder\.point_embed\.", "prompt_encoder.point_embeddings."),
    (r"mask_embed\.conv1\.", "mask_downscaling.0."),
    (r"mask_embed\.layer_norm1\.", "mask_downscaling.1."),
    (r"mask_embed\.conv2\.", "mask_downscaling.3."),
    (r"mask_embed\.layer_norm2\.", "mask_downscaling.4."),
    (r"mask_embed\.conv3\.", "mask_downscaling.6."),
    (r"(mask_decoder\.transformer\.layers\.\d+)\.layer_norm(\d)\.", r"\1.norm\2."),
    (r"transformer\.layer_norm_final_attn\.", "transformer.norm_final_attn."),
    (r"mask_decoder\.upscale_conv1\.", "mask_decoder.output_upscaling.0."),
    (r"mask_decoder\.upscale_layer_norm\.", "mask_decoder.output_upscaling.1."),
    (r"mask_decoder\.upscale_conv2\.", "mask_decoder.output_upscaling.3."),
    # Their three-layer MLPs are proj_in, layers.0, proj_out: the middle one is numbered from 0.
    (r"((?:hypernetworks_mlps\.\d+|iou_prediction_head))\.layers\.0\.", r"\1.layers.1."),
    (r"((?:hypernetworks_mlps\.\d+|iou_prediction_head))\.proj_in\.", r"\1.layers.0."),
    (r"((?:hypernetworks_mlps\.\d+|iou_prediction_head))\.proj_out\.", r"\1.layers.2."),
)


def unwrap(content: Any, path: str) -> dict[str, Tensor]:
    """The state dict inside what a checkpoint file held; raises `WeightsError` when there is none."""
    for _ in range(3):
        inside = [content[key] for key in _WRAPPERS if isinstance(content, dict) and key in content]
        if not inside or not isinstance(inside[0], dict):
            break
        content = inside[0]
    if not isinstance(content, dict) or not content:
        raise WeightsError(f"{path}: holds a {type(content).__name__}, wanted the tensors of a SAM checkpoint by name")
    other = next((key for key, value in content.items() if not isinstance(value, Tensor)), None)
    if other is not None:
        raise WeightsError(f"{path}: {other!r} is a {type(content[other]).__name__}, wanted a tensor")
    if all(key.startswith("module.") for key in content):
        content = {key.removeprefix("module."): value for key, value in content.items()}
    return dict(content)


def from_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` of a transformers `SamModel` under the official names."""
    named: dict[str, Tensor] = {}
    for key, value in state.items():
        for pattern, replacement in _TRANSFORMERS:
            key = re.sub(pattern, replacement, key)
        if key:
            named[key] = value
    return named


def to_official(content: Any, path: str) -> dict[str, Tensor]:
    """Tensors under official names from whatever the file at `path` held."""
    state = unwrap(content, path)
    return from_transformers(state) if any(key.startswith("vision_encoder.") for key in state) else state
