"""The network that training starts from: the published NanoDet-Plus-m, read from its ncnn files.

NanoDet-Plus is by RangiLyu (https://github.com/RangiLyu/nanodet, Apache-2.0). ncnn keeps a network as two files:
NAME.param lists the layers as text, NAME.bin holds their numbers in the same order
(https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from ...detectors._nano_classes import COCO_CLASSES
from ...detectors._nanodet import BINS, NanoDet, ShuffleUnit
from ...errors import WeightsError
from .classes import CLASS_NAMES, STARTS_FROM

HALVES = 0x01306B47  # the tag before weights in float16


class Convolution(NamedTuple):
    """One convolution of an ncnn file."""

    weight: np.ndarray  # flat, in the order outputs, inputs, rows, columns
    bias: np.ndarray  # (outputs,)


def published(stem: Path) -> NanoDet:
    """The published network of 80 classes, from `stem`.param and `stem`.bin.

    Raises WeightsError where the files are missing or hold another network.
    """
    network = NanoDet(len(COCO_CLASSES))
    found, layers = list(read_ncnn(stem)), list(in_file_order(network))
    shapes = [(one.weight.size, one.bias.size) for one in found]
    expected = [(layer.weight.numel(), layer.out_channels) for layer in layers]
    if shapes != expected:
        raise WeightsError(f"{stem}.param: not NanoDet-Plus-m; expected its {len(layers)} convolutions")
    with torch.no_grad():
        for layer, one in zip(layers, found, strict=True):
            layer.weight.copy_(torch.from_numpy(one.weight).view_as(layer.weight))
            assert layer.bias is not None
            layer.bias.copy_(torch.from_numpy(one.bias))
        stem_layer = layers[0]
        stem_layer.weight.copy_(stem_layer.weight.flip(1))  # published for BGR
    return network.eval()


def initial(stem: Path) -> NanoDet:
    """The published network with a row more in each head for every added class, a copy of a related animal's."""
    old, network = published(stem), NanoDet(len(CLASS_NAMES))
    rows = [*range(len(COCO_CLASSES)), *(COCO_CLASSES.index(origin) for origin in STARTS_FROM.values())]
    rows += range(len(COCO_CLASSES), len(COCO_CLASSES) + 4 * BINS)
    state = old.state_dict()
    for name in filter(is_output, state):
        state[name] = state[name][rows]
        if name.endswith("bias"):
            # A copy alone would score like its origin everywhere; e^-3 as likely, it must earn its score.
            state[name][len(COCO_CLASSES) : len(CLASS_NAMES)] -= 3.0
    network.load_state_dict(state)
    return network.eval()


def is_output(name: str) -> bool:
    """Whether a weight, by its name in the state, belongs to the last layer of a head."""
    return name.startswith("heads.") and name.split(".")[2] == "2"


def read_ncnn(stem: Path) -> Iterator[Convolution]:
    """Each convolution of `stem`.param and `stem`.bin in the order of the files, float16 weights as float32."""
    for suffix in (".param", ".bin"):
        if not stem.with_name(stem.name + suffix).is_file():
            raise WeightsError(f"{stem}{suffix}: no such file; expected both files of an ncnn network")
    data, at = stem.with_name(stem.name + ".bin").read_bytes(), 0
    text = stem.with_name(stem.name + ".param").read_text(encoding="utf-8")
    for line in text.splitlines()[2:]:
        kind, _, inputs, outputs, *rest = line.split()
        if kind not in ("Convolution", "ConvolutionDepthWise"):
            continue
        # After the names of what goes in and out come `key=value`; 0 counts the outputs, 6 the weights.
        options = dict(pair.split("=") for pair in rest[int(inputs) + int(outputs) :])
        count, channels = int(options["6"]), int(options["0"])
        if int.from_bytes(data[at : at + 4], "little") != HALVES:
            raise WeightsError(f"{stem}.bin: expected weights in float16 at byte {at}; use the float16 model")
        weight = np.frombuffer(data, "<f2", count, at + 4).astype(np.float32)
        at += 4 + (2 * count + 3) // 4 * 4  # padded to four bytes
        yield Convolution(weight, np.frombuffer(data, "<f4", channels, at).copy())
        at += 4 * channels
    if at != len(data):
        raise WeightsError(f"{stem}.bin: holds {len(data)} bytes; expected the {at} of the layers in {stem}.param")


def in_file_order(network: NanoDet) -> Iterator[nn.Conv2d]:
    """The convolutions of `network` as the published file orders them: by when their result is needed."""
    yield from _convolutions(network.stem)
    for stage in network.stages:
        assert isinstance(stage, nn.Sequential)
        for unit in stage:
            assert isinstance(unit, ShuffleUnit)
            if unit.shortcut is None:
                yield from _convolutions(unit.branch)
            else:
                yield from _convolutions(
                    unit.shortcut[0], unit.branch[0], unit.branch[1], unit.shortcut[1], unit.branch[2]
                )
    yield from _convolutions(network.reduce32, network.reduce16, network.down16, network.reduce8, network.down8)
    yield from _convolutions(network.shrink8, network.up16, network.shrink16, network.up32)
    yield from _convolutions(network.extra_from_trunk, network.extra_from_pyramid)
    heads = [list(head.children()) for head in network.heads]
    for first, _, _ in heads:
        yield from _convolutions(first)
    for _, second, output in reversed(heads):
        yield from _convolutions(second, output)


def _convolutions(*modules: nn.Module) -> Iterator[nn.Conv2d]:
    """The convolutions inside, in the order in which the modules were made, which is that of their use."""
    for module in modules:
        yield from (layer for layer in module.modules() if isinstance(layer, nn.Conv2d))
