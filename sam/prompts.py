"""Prompts checked and brought to the coordinates that the prompt encoder reads."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .errors import PromptError
from .transforms import scale_coords

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Prompts:
    """N prompts in pixels of the padded square, as keyword arguments of the prompt encoder."""

    point_coords: Tensor | None = None  # (N, P, 2) float64, or float32
    point_labels: Tensor | None = None  # (N, P) int64
    boxes: Tensor | None = None  # (N, 4) float64, or float32
    mask_input: Tensor | None = None  # (N, 1, h, w) float32

    def __len__(self) -> int:
        return next(len(tensor) for tensor in self.tensors().values())

    def tensors(self) -> dict[str, Tensor]:
        """What was given, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def dummy(self) -> Prompts:
        """One prompt of zeros of the same kinds."""
        return Prompts(**{name: value.new_zeros(1, *value.shape[1:]) for name, value in self.tensors().items()})

    def chunks(self, count: int) -> Iterator[Prompts]:
        """These prompts, `count` at a time."""
        for start in range(0, len(self), count):
            yield Prompts(**{name: value[start : start + count] for name, value in self.tensors().items()})


def _numbers(name: str, value: Any, shape: tuple[str | int, ...], dtype: torch.dtype) -> Tensor:
    """`value` as a finite tensor; a number in `shape` fixes that axis, a letter leaves it free."""
    try:
        tensor = torch.as_tensor(value).detach().to("cpu", dtype)
    except (TypeError, ValueError, RuntimeError) as error:
        raise PromptError(f"{name} is not an array of numbers: {str(error).splitlines()[0]}") from None
    wanted = f"({', '.join(map(str, shape))})"
    fits = tensor.ndim == len(shape) and all(
        isinstance(want, str) or have == want for have, want in zip(tensor.shape, shape, strict=True)
    )
    if not fits:
        raise PromptError(f"{name} has shape {tuple(tensor.shape)}; wanted {wanted}")
    if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
        row = int((~tensor.isfinite()).nonzero()[0, 0])
        raise PromptError(f"{name}[{row}] holds a number that is not finite; wanted pixels of the image")
    return tensor


def check_prompts(
    *,
    size: tuple[int, int],
    input_size: tuple[int, int],
    mask_input_size: tuple[int, int],
    device: torch.device,
    boxes: Any = None,
    point_coords: Any = None,
    point_labels: Any = None,
    mask_input: Any = None,
) -> Prompts:
    """The prompts given in pixels of an image of `size`, checked, scaled and on `device`.

    Raises `PromptError` when there is none, when shapes or counts do not fit, for numbers that are
    not finite, for unknown labels and for boxes whose right or lower edge comes first.
    """
    if boxes is None and point_coords is None and mask_input is None:
        raise PromptError("no prompt: give boxes, point_coords with point_labels, or mask_input")
    if (point_coords is None) != (point_labels is None):
        given, absent = ("point_labels", "point_coords") if point_coords is None else ("point_coords", "point_labels")
        raise PromptError(f"{given} without {absent}; each point needs its label: 1 inside, 0 outside")
    ready: dict[str, Tensor] = {}
    if point_coords is not None:
        coords = _numbers("point_coords", point_coords, ("N", "P", 2), torch.float64)
        labels = _numbers("point_labels", point_labels, ("N", "P"), torch.int64)
        if labels.shape != coords.shape[:2]:
            raise PromptError(f"point_labels has shape {tuple(labels.shape)}; wanted {tuple(coords.shape[:2])}")
        known = (labels >= -1) & (labels <= 1)
        if not bool(known.all()):
            raise PromptError(f"point label {int(labels[~known][0])}; wanted 1 inside, 0 outside, -1 no point")
        if coords.shape[1] == 0 and boxes is None and mask_input is None:
            raise PromptError("point_coords holds no point and there is no box or mask; wanted at least one prompt")
        ready |= {"point_coords": scale_coords(coords, size, input_size), "point_labels": labels}
    if boxes is not None:
        corners = _numbers("boxes", boxes, ("N", 4), torch.float64)
        inverted = (corners[:, 2:] < corners[:, :2]).any(dim=1)
        if bool(inverted.any()):
            row = int(inverted.nonzero()[0, 0])
            raise PromptError(f"boxes[{row}] is {corners[row].tolist()}; wanted x0 y0 x1 y1 with x0 <= x1, y0 <= y1")
        ready["boxes"] = scale_coords(corners.reshape(-1, 2, 2), size, input_size).reshape(-1, 4)
    if mask_input is not None:
        ready["mask_input"] = _numbers("mask_input", mask_input, ("N", 1, *mask_input_size), torch.float32)
    counts = {name: len(tensor) for name, tensor in ready.items()}
    if len(set(counts.values())) > 1:
        listing = ", ".join(f"{count} in {name}" for name, count in counts.items())
        raise PromptError(f"prompts of different number: {listing}; wanted as many of each")
    if device.type == "mps":  # has no float64
        ready = {name: tensor.float() if tensor.dtype == torch.float64 else tensor for name, tensor in ready.items()}
    return Prompts(**{name: tensor.to(device) for name, tensor in ready.items()})
