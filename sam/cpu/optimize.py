"""`optimize`: a model whose modules are swapped for their fast twins.

A twin is a subclass of the plain module with another `forward`: same parameters, same results up to the order of sums
(tests/sam/test_fast_forms.py). It serves a CPU without gradients; elsewhere, in training and while a graph is recorded,
it calls the plain form. The mask decoder's twin serves every device.
"""

from __future__ import annotations

from typing import TypeVar

from torch import nn

from ..modeling.layers import LayerNorm2d
from ..modeling.mask_decoder import MaskDecoder
from ..variants import nano, tiny_vit, vit
from . import nano as fast_nano
from . import tiny_vit as fast_tiny_vit
from . import vit as fast_vit
from .fused_decoder import FusedMaskDecoder, can_fuse
from .layers import FastLayerNorm2d

M = TypeVar("M", bound=nn.Module)

TWINS: dict[type[nn.Module], type[nn.Module]] = {
    LayerNorm2d: FastLayerNorm2d,
    MaskDecoder: FusedMaskDecoder,
    vit.Attention: fast_vit.FastAttention,
    vit.Block: fast_vit.FastBlock,
    vit.ViTEncoder: fast_vit.FastViTEncoder,
    tiny_vit.ConvNorm: fast_tiny_vit.FastConvNorm,
    tiny_vit.PatchEmbed: fast_tiny_vit.FastPatchEmbed,
    tiny_vit.InvertedBottleneck: fast_tiny_vit.FastInvertedBottleneck,
    tiny_vit.Downsample: fast_tiny_vit.FastDownsample,
    tiny_vit.Attention: fast_tiny_vit.FastAttention,
    tiny_vit.FeedForward: fast_tiny_vit.FastFeedForward,
    tiny_vit.Block: fast_tiny_vit.FastBlock,
    tiny_vit.TinyViTEncoder: fast_tiny_vit.FastTinyViTEncoder,
    nano.ConvNorm: fast_nano.FastConvNorm,
    nano.NanoEncoder: fast_nano.FastNanoEncoder,
}


def optimize(model: M) -> M:
    """`model` itself, each of its modules that has a twin now being that twin.

    Args:
        model: a `Sam` or a part of one. Parameters, their names and hooks stay; modules of other classes, also
            subclasses of ours, are left as they are.
    """
    for module in model.modules():
        twin = TWINS.get(type(module))
        if twin is not None and (twin is not FusedMaskDecoder or can_fuse(module)):
            module.__class__ = twin
    return model
