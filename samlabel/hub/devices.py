"""Where models run."""

from __future__ import annotations

from ..errors import UsageError


def resolve_device(device: str) -> str:
    """The torch name of a device: "" picks the first GPU or the CPU, "0" means cuda:0."""
    if device == "cpu":
        return device
    import torch

    if not device:
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    name = f"cuda:{device}" if device.isdecimal() else device
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:  # the latter from a torch without CUDA
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UsageError(f"device {device!r} cannot be used: {reason[:200]}; wanted cpu, cuda, cuda:1, mps") from error
    return name
