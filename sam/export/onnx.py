"""A model as two ONNX files, checked against torch in ONNX Runtime before they are put in place.

`encoder.onnx` turns an image into its embedding, `decoder.onnx` turns an embedding and prompts into
masks; `onnx_graphs` tells their inputs and outputs. Both carry what a reader needs in their
metadata: variant, image_size, pixel_mean, pixel_std, mask_threshold.
https://onnx.ai/onnx/ and https://onnxruntime.ai/docs/
"""

from __future__ import annotations

import inspect
import os
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ..automatic.scoring import stability_score as stability
from ..errors import ExportError
from ..prompts import Prompts
from ..telemetry import import_onnxruntime
from ..transforms import resized
from .graphs import BOX_END, BOX_START, STABILITY_OFFSET, DecoderGraph, EncoderGraph

if TYPE_CHECKING:
    from ..model import Sam

ENCODER, DECODER = "encoder.onnx", "decoder.onnx"
OPSET = 17  # the first with LayerNormalization; ONNX Runtime 1.13 and later read it
TOLERANCE = 1e-3  # of the largest value: other kernels, other order of sums; a wrong graph is off by far more
INT8_MASK_IOU = 0.8  # mean over the masks of the check, of the int8 files and of torch
_MASKS = ("multi", "single")


@dataclass(frozen=True)
class Exported:
    """What was written, and how far it is from torch."""

    encoder: Path
    decoder: Path
    error: float  # largest difference from torch, as a part of the largest value
    mask_iou: float  # mean IoU of its masks with those of torch, on random pixels
    bytes: int  # of all files together
    files: tuple[str, ...]  # their names, weights before the graph that points to them


def export(
    model: Sam,
    folder: str | os.PathLike[str],
    *,
    masks: str = "multi",
    stability_score: bool = False,
    low_res: bool = False,
    int8: bool = False,
    opset: int = OPSET,
) -> Exported:
    """`encoder.onnx` and `decoder.onnx` in `folder`, an empty one that is the caller's alone.

    Weights of large models lie in files beside these. What else is in the folder at the end, or after an error, are
    drafts that may be deleted: `files` of what comes back are those that count.

    `masks` is "multi" (three a prompt) or "single"; `stability_score` adds that output; `low_res` leaves out masks at
    the size of the image, which are large; `int8` stores weights in 8 bits and quantises activations as they come.
    Raises `ExportError`.
    """
    if masks not in _MASKS:
        raise ExportError(f"unknown masks {masks!r}; known: {', '.join(_MASKS)}")
    _need_onnx()
    made = Path(folder)
    model = model.cpu().eval()
    decoder = DecoderGraph(model, multimask_output=masks == "multi", stability=stability_score, upscale=not low_res)
    probe = _probe(model)
    draft = "float-" if int8 else ""
    _write_encoder(model, probe, made / f"{draft}{ENCODER}", opset)
    _write_decoder(model, decoder, probe, made / f"{draft}{DECODER}", opset)
    for name in (ENCODER, DECODER):
        if int8:
            _quantise(made / f"{draft}{name}", made / name)
        _describe(made / name, model, masks)
    error, mask_iou = compare(model, decoder, made, probe)
    if int8 and mask_iou < INT8_MASK_IOU:
        raise ExportError(
            f"int8 masks of {model.variant.name} overlap those of torch by {mask_iou:.2f}, less than {INT8_MASK_IOU}; "
            f"export without int8"
        )
    if not int8 and error > TOLERANCE:
        raise ExportError(f"ONNX Runtime differs from torch by {error:.1e} of the largest value")
    files = sorted((file for file in made.iterdir() if file.name.startswith((ENCODER, DECODER))), reverse=True)
    size = sum(file.stat().st_size for file in files)
    names = tuple(file.name for file in files)
    return Exported(made / ENCODER, made / DECODER, error, mask_iou, size, names)


def _need_onnx() -> None:
    try:
        import onnx  # noqa: F401

        import_onnxruntime()
    except ImportError as error:
        raise ExportError(f"export needs {error.name}: pip install onnx onnxruntime") from None


@torch.no_grad()
def _probe(model: Sam) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Seeded noise (1, 3, S, S) and what the encoder makes of it."""
    side = model.image_size
    pixels = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    return pixels, tuple(model.image_encoder(pixels))


def _embedding_names(outputs: tuple[Tensor, ...]) -> list[str]:
    return ["image_embeddings", *(f"high_res_{i}" for i in range(len(outputs) - 1))]


def _prompt_inputs(prompts: Prompts, model: Sam, size: tuple[int, int]) -> dict[str, Tensor]:
    """`prompts` as the decoder's inputs: a box is two points of labels 2 and 3."""
    coords, labels = [], []
    if prompts.point_coords is not None:
        assert prompts.point_labels is not None, "points come with labels"
        coords.append(prompts.point_coords)
        labels.append(prompts.point_labels)
    if prompts.boxes is not None:
        coords.append(prompts.boxes.reshape(-1, 2, 2))
        labels.append(torch.tensor([[BOX_START, BOX_END]]).expand(len(prompts), 2))
    else:
        coords.append(torch.zeros(len(prompts), 1, 2))
        labels.append(torch.full((len(prompts), 1), -1))
    mask = prompts.mask_input
    return {
        "point_coords": torch.cat(coords, dim=1).float(),
        "point_labels": torch.cat(labels, dim=1).float(),
        "mask_input": torch.zeros(1, 1, *model.variant.mask_input_size) if mask is None else mask,
        "has_mask_input": torch.tensor([float(mask is not None)]),
        "orig_im_size": torch.tensor(size, dtype=torch.float32),
    }


def _cases(model: Sam) -> list[tuple[Prompts, tuple[int, int]]]:
    """Prompts of every kind in pixels of the padded square, and the size of the image they are on."""
    side = model.image_size
    boxes = torch.tensor([[0.1, 0.1, 0.6, 0.5], [0.3, 0.2, 0.9, 0.7], [0.0, 0.0, 1.0, 0.6]]) * side
    points = torch.tensor([[[0.3, 0.3], [0.7, 0.5]]] * 3) * side
    labels = torch.tensor([[1, 0], [1, 1], [0, 1]])
    height, width = model.variant.mask_input_size
    mask = torch.randn(3, 1, height, width, generator=torch.Generator().manual_seed(1))
    return [
        (Prompts(boxes=boxes), (270, 400)),
        (Prompts(boxes=boxes[:1]), (333, 120)),
        (Prompts(point_coords=points, point_labels=labels), (64, 90)),
        (Prompts(point_coords=points[:2], point_labels=labels[:2], boxes=boxes[:2]), (200, 200)),
        (Prompts(boxes=boxes, mask_input=mask), (270, 400)),
    ]


def _write_encoder(model: Sam, probe: tuple[Tensor, tuple[Tensor, ...]], path: Path, opset: int) -> None:
    _write(EncoderGraph(model), probe[:1], path, ["image"], _embedding_names(probe[1]), {}, opset)


def _write_decoder(
    model: Sam, decoder: DecoderGraph, probe: tuple[Tensor, tuple[Tensor, ...]], path: Path, opset: int
) -> None:
    features, *high_res = probe[1]
    prompts, size = _cases(model)[-1]  # several of each, as an axis of length one would be taken for fixed
    example = _prompt_inputs(prompts, model, size)
    outputs = ["iou_predictions", "low_res_masks"]
    if decoder.upscale:
        outputs.insert(0, "masks")
    else:
        del example["orig_im_size"]
    if decoder.stability:
        outputs.append("stability_scores")
    axes: dict[str, dict[int, str]] = {name: {0: "prompts"} for name in outputs}
    if decoder.upscale:
        axes["masks"] |= {2: "height", 3: "width"}
    axes |= {name: {0: "prompts", 1: "points"} for name in ("point_coords", "point_labels")}
    axes["mask_input"] = {0: "prompts_or_1"}
    inputs = (features, tuple(high_res), *example.values())
    _write(decoder, inputs, path, [*_embedding_names(probe[1]), *example], outputs, axes, opset)


def _write(
    module: nn.Module,
    inputs: tuple[Any, ...],
    path: Path,
    input_names: list[str],
    output_names: list[str],
    axes: dict[str, dict[int, str]],
    opset: int,
) -> None:
    import onnx

    before = set(path.parent.iterdir())
    options: dict[str, Any] = {}
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:
        options["dynamo"] = False  # the other exporter takes ten times as long and wants a package more
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of sizes taken for constants, which ours are, and of deprecation
        torch.onnx.export(
            module.eval(),
            inputs,
            str(path),
            input_names=input_names,
            output_names=output_names,
            dynamic_axes=axes,
            opset_version=opset,
            **options,
        )
    # Of a model above 2 GiB the exporter writes one file a tensor; one file for all is easier to carry.
    if any(file not in before and file != path for file in path.parent.iterdir()):
        graph = onnx.load(str(path))
        onnx.save(graph, str(path), save_as_external_data=True, location=f"{path.name}.data")


def _quantise(path: Path, small: Path) -> None:
    """The graph at `path` with 8-bit weights, at `small`."""
    import logging

    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.getLogger().setLevel(max(logging.ERROR, logging.getLogger().level))
    quantize_dynamic(
        path,
        small,
        weight_type=QuantType.QUInt8,
        use_external_data_format=path.with_name(path.name + ".data").exists(),
        op_types_to_quantize=["MatMul", "Gemm"],
    )


def _describe(path: Path, model: Sam, masks: str) -> None:
    """Writes into the graph's metadata what its reader has to know."""
    import onnx

    variant = model.variant
    graph = onnx.load(str(path), load_external_data=False)
    says = {
        "variant": variant.name,
        "image_size": str(variant.image_size),
        "pixel_mean": " ".join(map(str, variant.pixel_mean)),
        "pixel_std": " ".join(map(str, variant.pixel_std)),
        "mask_threshold": str(model.mask_threshold),
        "masks": masks,
    }
    onnx.helper.set_model_props(graph, says)
    onnx.save(graph, str(path))


def _session(path: Path) -> Any:
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def compare(
    model: Sam, decoder: DecoderGraph, folder: Path, probe: tuple[Tensor, tuple[Tensor, ...]]
) -> tuple[float, float]:
    """Largest difference of ONNX Runtime from torch, as a part of the largest value, and mean IoU of the masks."""
    from ..model import Embedding

    pixels, outputs = probe
    ran = _session(folder / ENCODER).run(None, {"image": pixels.numpy()})
    errors = [_error(ours, theirs) for ours, theirs in zip(ran, outputs, strict=True)]
    embedding = dict(zip(_embedding_names(outputs), ran, strict=True))
    session = _session(folder / DECODER)
    names = [output.name for output in session.get_outputs()]
    overlaps: list[float] = []
    for prompts, size in _cases(model):
        inputs = {name: tensor.numpy() for name, tensor in _prompt_inputs(prompts, model, size).items()}
        if not decoder.upscale:
            del inputs["orig_im_size"]
        results = dict(zip(names, session.run(None, {**embedding, **inputs}), strict=True))
        known = Embedding(outputs[0], outputs[1:], size, resized(size, model.image_size), model.variant.name)
        wanted = model.decode(known, prompts, multimask_output=decoder.multimask_output)
        wanted = replace(wanted, min_region_fraction=0.0)  # which the graphs leave to their reader
        low, iou = wanted.low_res_logits, wanted.predicted_iou
        errors += [_error(results["low_res_masks"], low), _error(results["iou_predictions"], iou)]
        judged, found = low, results["low_res_masks"]
        if decoder.upscale:
            judged, found = wanted.logits(), results["masks"]
            errors.append(_error(found, judged))
        if decoder.stability:
            score = stability(judged, model.mask_threshold, STABILITY_OFFSET)
            errors.append(_error(results["stability_scores"], score))
        overlaps += _overlaps(found > model.mask_threshold, judged.numpy() > model.mask_threshold)
    return max(errors), float(np.mean(overlaps))


def _error(ours: np.ndarray, theirs: Tensor) -> float:
    other = theirs.numpy()
    if ours.shape != other.shape:
        raise ExportError(f"ONNX Runtime gives the shape {ours.shape}, torch {other.shape}")
    return float(np.abs(ours - other).max() / max(float(np.abs(other).max()), 1e-6))


def _overlaps(ours: np.ndarray, theirs: np.ndarray) -> list[float]:
    """IoU of each mask of two (N, C, H, W) arrays; of two empty ones it is 1."""
    both, either = (ours & theirs).sum((2, 3)), (ours | theirs).sum((2, 3))
    return [float(a / b) if b else 1.0 for a, b in zip(both.flat, either.flat, strict=True)]
