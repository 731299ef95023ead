"""Models from files and back: which variant a file holds, and what is wrong with it when it does not fit.

No pickle is ever executed: `.pth` and `.pt` files are opened with `weights_only=True`.
"""

from __future__ import annotations

import os
import pickle
import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .claims import check_file, check_tensors
from .cpu.optimize import optimize as optimized
from .cpu.precision import cast, resolve
from .errors import BackendError, SamError, WeightsError
from .layouts import to_official
from .model import Sam
from .registry import Variant, get, variants

BACKENDS = ("torch", "openvino")
WEIGHTS = Path(__file__).parent / "weights"


class _WithoutInit(TorchFunctionMode):
    """Leaves new parameters as they come: filling 641 million of vit_h takes longer than loading them."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return (kwargs or {}).get("tensor", args[0] if args else None)
        if func in (torch.Tensor.uniform_, torch.Tensor.normal_):
            return args[0]
        return func(*args, **(kwargs or {}))


@cache
def expected(name: str) -> Mapping[str, tuple[int, ...]]:
    """The shape of every tensor in a checkpoint of the variant called `name`."""
    with torch.device("meta"), _WithoutInit():  # filling tensors without storage would import torch's compiler, 3 s
        model = Sam(get(name))
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}


def differences(state: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]]) -> list[str]:
    """What keeps `state` from being a checkpoint of those shapes, one phrase a key."""
    phrases = []
    for key, shape in wanted.items():
        if key not in state:
            phrases.append(f"{key} is absent")
        elif tuple(state[key].shape) != shape:
            phrases.append(f"{key} is {tuple(state[key].shape)}, wanted {shape}")
    return phrases + [f"{key} is not known" for key in state if key not in wanted]


def recognise(state: Mapping[str, Tensor]) -> Variant | None:
    """The variant whose keys and shapes are those of `state`."""
    for variant in variants():
        if not differences(state, expected(variant.name)):
            return variant
    return None


def read_state(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Tensors by official name from a `.pth`, `.pt` or `.safetensors` file, floats as float32.

    The kind of file is read from its first bytes. Raises `WeightsError`.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; wanted a SAM checkpoint")
    with path.open("rb") as file:
        head = file.read(9)
    from safetensors import SafetensorError

    try:
        if head[8:] == b"{" and struct.unpack("<Q", head[:8])[0] < path.stat().st_size:
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            with path.open("rb") as file, _refusing(path):
                check_file(file, path.stat().st_size)
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "weights_only" in str(error) or "Unsupported" in str(error):
            raise WeightsError(
                f"{path}: holds Python objects beside tensors, which could run code when opened; "
                "save its state dict alone, or as safetensors"
            ) from None
        raise WeightsError(f"{path}: damaged or not a checkpoint; download it again") from None
    except (
        SafetensorError,
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
        OSError,
        MemoryError,
        zipfile.BadZipFile,
    ) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path}: damaged or not a checkpoint ({reason}); download it again") from None
    state = to_official(content, str(path))
    with _refusing(path):
        check_tensors(state.values(), path.stat().st_size)
    return {key: value.float() if value.is_floating_point() else value for key, value in state.items()}


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """What is refused inside for what it claims, as a WeightsError about the file."""
    try:
        yield
    except ValueError as error:
        raise WeightsError(f"{path}: {error}") from None


def load(
    name: str | None = None,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    device: str | torch.device = "cpu",
    seed: int | None = None,
    dtype: str = "float32",
    backend: str = "torch",
    optimize: bool = True,
) -> Sam:
    """A model ready to predict.

    Args:
        name: a variant (`sam.list_variants()`); without it the variant is read from `checkpoint`.
        checkpoint: a file with the weights. A variant that ships its weights needs none.
        device: where the model runs, as torch names it.
        seed: random weights instead of a checkpoint's, for tests.
        dtype: what encoder and decoder compute in: float32, bfloat16, float16 or auto (see `cpu.precision.resolve`).
        backend: what runs the image encoder: torch, or openvino on a CPU.
        optimize: swap the modules for their fast twins (see `sam.optimize`); without, the model is as the papers have
            it, for reading and for comparison.

    Raises:
        UnknownVariant, WeightsError, BackendError: in one line, what was expected and what to do next.
    """
    device = torch.device(device)
    number = resolve(dtype, device)
    if backend not in BACKENDS:
        raise BackendError(f"unknown backend {backend!r}; known: {', '.join(BACKENDS)}")
    if backend == "openvino" and device.type != "cpu":
        raise BackendError(f"the openvino backend runs on a CPU, not on {device}; leave one of them out")
    if name is None and checkpoint is None:
        raise SamError("name a variant, a checkpoint, or both: load('nano'), load(checkpoint='sam_vit_b_01ec64.pth')")
    if checkpoint is not None and seed is not None:
        raise SamError("checkpoint and seed were both given; wanted one of them")
    variant = None if name is None else get(name)
    if seed is not None:
        assert variant is not None, "a seed comes with a name"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = Sam(variant)
    else:
        path = Path(checkpoint) if checkpoint is not None else _bundled(variant)
        state = read_state(path)
        model = _fill(_named(state, variant, path), state)
    model = model.to(device).eval().requires_grad_(False)
    if backend == "openvino":
        model.compile_encoder(number)
    if number != torch.float32:
        cast(model, number)
    return optimized(model) if optimize else model


def _bundled(variant: Variant | None) -> Path:
    """The weights that ship with `variant`."""
    assert variant is not None, "without a checkpoint there is a name"
    if variant.bundled is not None:
        path = WEIGHTS / variant.bundled
        if path.is_file():
            return path
        raise WeightsError(f"{path} is absent from this installation; install it again, or give checkpoint=")
    raise WeightsError(
        f"no weights for {variant.name}: download {variant.url} and give its path as checkpoint="
        " (or seed=0 for random weights)"
    )


def _named(state: Mapping[str, Tensor], variant: Variant | None, path: Path) -> Variant:
    """The variant to build for `state`: the one asked for, which must fit, or the one that fits."""
    if variant is not None:
        problems = differences(state, expected(variant.name))
        if not problems:
            return variant
        other = recognise(state)
        kind = f"a checkpoint of {other.name}, not of" if other else "not a checkpoint of"
        advice = f"; load({other.name!r}, ...) or give no name" if other else ""
        raise WeightsError(f"{path}: {kind} {variant.name}: {_first(problems)}{advice}")
    found = recognise(state)
    if found is not None:
        return found
    every = {known.name: differences(state, expected(known.name)) for known in variants()}
    nearest = min(every, key=lambda known: len(every[known]))
    raise WeightsError(f"{path}: no known variant; nearest is {nearest}, but {_first(every[nearest])}")


def _first(problems: list[str], count: int = 3) -> str:
    more = f" and {len(problems) - count} more" if len(problems) > count else ""
    return ", ".join(problems[:count]) + more


def _fill(variant: Variant, state: Mapping[str, Tensor]) -> Sam:
    with _WithoutInit():
        model = Sam(variant)
    model.load_state_dict(state, strict=True, assign=True)
    return model


def save(model: Sam, file: IO[bytes], *, half: bool = False) -> None:
    """Writes `model` to `file`, which is open for writing bytes, as safetensors that `load` reads.

    `half` stores matrices and kernels in float16: half the size, loaded back as float32. Vectors
    (norms, biases) and the random frequencies of the prompt encoder keep all their digits.
    """
    from safetensors.torch import save as to_bytes

    def stored(key: str, value: Tensor) -> Tensor:
        value = value.detach().cpu().contiguous()
        small = value.ndim < 2 or not value.is_floating_point() or key.endswith("gaussian_matrix")
        return value if small or not half else value.half()

    tensors = {key: stored(key, value) for key, value in model.state_dict().items()}
    file.write(to_bytes(tensors, metadata={"format": "pt", "variant": model.variant.name}))
