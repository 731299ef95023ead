"""Layers on a CPU: products, convolutions and norms that take one pass where torch's own take two or three."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..modeling.layers import LayerNorm2d

T = TypeVar("T")
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"none": lambda x: x, "gelu": F.gelu, "relu": F.relu}


def on_cpu_without_grad(x: Tensor) -> bool:
    """Whether the forms for a CPU serve `x`: nobody wants gradients, and nothing records a graph to run elsewhere."""
    tracing = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]  # documented, yet torch has no type
    recorded = tracing or torch.compiler.is_compiling()
    return x.device.type == "cpu" and not torch.is_grad_enabled() and not recorded


@cache
def _one_dnn() -> bool:
    """Whether torch has oneDNN's products with bias and activation in one pass, for which it has no other name."""
    x, identity = torch.zeros(2, 2), torch.eye(2)
    try:
        for act in ACTIVATIONS:
            torch.ops.mkldnn._linear_pointwise(x, identity, None, act, [], "none")
            kernel = identity[:, :, None, None]
            places = ([0, 0], [1, 1], [1, 1], 1)
            torch.ops.mkldnn._convolution_pointwise(kernel, kernel, None, *places, act, [], "none")
    except (AttributeError, RuntimeError, TypeError):
        return False
    return True


def linear(x: Tensor, layer: nn.Linear | Tensor, bias: Tensor | None = None, *, act: str = "none") -> Tensor:
    """`layer`, or the matrix (out, in) and `bias`, applied to (..., in), then `act`: none, gelu or relu."""
    if isinstance(layer, nn.Linear):
        bias, layer = layer.bias, layer.weight
    if on_cpu_without_grad(x) and _one_dnn():  # a tenth faster than MKL on AMD
        return torch.ops.mkldnn._linear_pointwise(x, layer, bias, act, [], "none")
    return ACTIVATIONS[act](F.linear(x, layer, bias))


def convolve(x: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d | None = None, *, act: str = "none") -> Tensor:
    """`conv`, `norm` as it is in eval, and `act` in one pass over (B, C, H, W), channels last and without gradients."""
    weight, bias = _with_norm(conv, norm, x.dtype)
    if conv.kernel_size == (1, 1) and conv.stride == (1, 1) and conv.groups == 1:
        return linear(x.permute(0, 2, 3, 1), weight[:, :, 0, 0], bias, act=act).permute(0, 3, 1, 2)
    places = (conv.padding, conv.stride, conv.dilation, conv.groups)
    if on_cpu_without_grad(x) and _one_dnn():
        return torch.ops.mkldnn._convolution_pointwise(x, weight, bias, *places, act, [], "none")
    padding, stride, dilation, groups = places
    return ACTIVATIONS[act](F.conv2d(x, weight, bias, stride, padding, dilation, groups))


def cached_by_weights(owner: nn.Module, make: Callable[[], T], *key: Any, weights: Iterable[Tensor | None]) -> T:
    """`make()`, kept by `owner` until the key or one of the weights changes."""
    now = (key, *((one.data_ptr(), one.is_inference() or one._version) for one in weights if one is not None))
    made: tuple[Any, T] | None = owner.__dict__.get("_made")
    if made is None or made[0] != now:
        made = owner.__dict__["_made"] = (now, make())
    return made[1]


def _with_norm(conv: nn.Conv2d, norm: nn.BatchNorm2d | None, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """Kernel and bias of both as one convolution."""

    def make() -> tuple[Tensor, Tensor | None]:
        weight, bias = conv.weight.float(), conv.bias
        if norm is not None:
            assert norm.running_mean is not None and norm.running_var is not None, "a norm without averages cannot fold"
            factor = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
            weight = weight * factor[:, None, None, None]
            bias = norm.bias - norm.running_mean * factor + (0 if bias is None else bias * factor)
        weight = weight.to(dtype).contiguous(memory_format=torch.channels_last)
        return weight, None if bias is None else bias.to(dtype)

    weights = [conv.weight, conv.bias]
    if norm is not None:
        weights += [norm.weight, norm.bias, norm.running_mean, norm.running_var]
    return cached_by_weights(conv, make, dtype, weights=weights)


class FastLayerNorm2d(LayerNorm2d):
    """`LayerNorm2d` by torch's own kernel where channels come last in memory."""

    def forward(self, x: Tensor) -> Tensor:
        if not (on_cpu_without_grad(x) and x.is_contiguous(memory_format=torch.channels_last)):
            return super().forward(x)
        last = F.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2], self.weight, self.bias, self.eps)
        return last.permute(0, 3, 1, 2)
