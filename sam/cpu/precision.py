"""The number type that a model computes in: what was asked for, and what the machine does well.

Weights, prompts, positions, embeddings and logits are handed over as float32 whatever lies between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from ..errors import BackendError

if TYPE_CHECKING:
    from ..model import Sam

_TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
DTYPES = (*_TYPES, "auto")


def resolve(name: str, device: torch.device) -> torch.dtype:
    """The type that `name` means on `device`; `BackendError` where it is not known or would only be slower.

    "auto" is float32 on a CPU, and bfloat16 on a GPU that has it.
    """
    if name not in DTYPES:
        raise BackendError(f"unknown dtype {name!r}; known: {', '.join(DTYPES)}")
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float32
    if device.type == "cpu":
        if name == "float16":
            raise BackendError("float16 is slower than float32 on a CPU; wanted float32, or bfloat16 where it has it")
        if name == "bfloat16" and not has_bfloat16():
            raise BackendError("this processor has no bfloat16 products, so they would be slower; use dtype float32")
    return _TYPES[name]


def has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 by instructions of its own (AVX512_BF16, AMX, or ARM's)."""
    try:
        if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            return False
    except (AttributeError, RuntimeError):
        return False
    if not torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        return True
    return _has("_is_avx512_bf16_supported") or has_tiles()


def has_tiles() -> bool:
    """Whether this processor multiplies tiles of bfloat16 (AMX), ten times as fast as anything else that it does."""
    return _has("_is_amx_tile_supported")


def _has(name: str) -> bool:
    has = getattr(torch.cpu, name, None)
    return has is not None and bool(has())


def cast(model: Sam, dtype: torch.dtype) -> None:
    """Encoder and decoder of `model` in `dtype`; the prompt encoder and the sums of batch norms stay as they are."""
    for part in (model.image_encoder, model.mask_decoder):
        for module in part.modules():
            if isinstance(module, nn.BatchNorm2d):  # its scale is folded into a kernel, which is rounded once
                continue
            for name, value in module.named_parameters(recurse=False):
                setattr(module, name, nn.Parameter(value.to(dtype), requires_grad=value.requires_grad))
    model.dtype = dtype
