"""How fast the models are on this machine: milliseconds an image and for ten prompts, beside size and parameters."""

from __future__ import annotations

import importlib.util
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from .detectors._offline import offline, warm_up
from .errors import UnknownName, UsageError, WeightsError
from .hub.devices import resolve_device
from .hub.memory import kept_pages
from .objects import Objects
from .protocols import Image

if TYPE_CHECKING:
    from .segmenters.sam import SamSegmenter

SIZE, PROMPTS = (1080, 810), 10
# What ultralytics' page on SAM compares with: a model's yaml, its classes, and the side of the square it reads.
# https://docs.ultralytics.com/models/sam/
OTHERS = {"FastSAM-s": ("yolov8s-seg.yaml", 1, 1024), "YOLOv8n-seg": ("yolov8n-seg.yaml", 80, 640)}
_LONGEST = 8.0  # seconds after which a measurement ends early, with one round at least


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds in one way, medians; `prompts_ms` is for ten boxes to run lengths, None without prompts."""

    image_ms: float
    prompts_ms: float | None


@dataclass(frozen=True, slots=True)
class Row:
    """One model: what it is, how large, how fast in each way of running it."""

    name: str
    weights: str  # "ships with samlabel", "pulled", or "random" where only the time means something
    params: int
    bytes: int | None  # of its file; None where it has none
    timings: dict[str, Timing]  # by way: cpu, cuda:0, cpu bfloat16, cpu openvino, ...


def bench(
    models: Sequence[str] = (),
    *,
    device: str = "",
    dtypes: Sequence[str] = (),
    backend: str = "torch",
    seeded: bool = False,
    rounds: int = 5,
) -> Iterator[Row]:
    """A row for each model, as soon as it is measured.

    Without names: nano, every variant whose weights were pulled, and ultralytics' models where it is installed.
    `seeded` measures variants without weights too, with random ones in their exact layout. `device` is one of
    torch's names; without it the CPU, and a GPU where there is one. `dtypes` are number types; without them float32,
    and bfloat16 where the device multiplies it itself. ultralytics' models run in float32 alone. Raises UnknownName,
    UsageError, WeightsError.
    """
    from .segmenters import sam

    if rounds < 1:
        raise UsageError(f"rounds is {rounds}; wanted 1 or more")
    variants = {one["name"]: one for one in sam.variants()}
    others = {name: spec for name, spec in OTHERS.items() if importlib.util.find_spec("ultralytics")}
    known = [*variants, *OTHERS]
    for name in models:
        if name not in known:
            raise UnknownName("model", name, known)
        if name in OTHERS and name not in others:
            raise UsageError(f"{name} runs in ultralytics, which is not installed: pip install ultralytics")
    chosen = list(models) or [name for name in variants if seeded or sam.has_weights(name)] + list(others)
    devices = _devices(device)
    for name in chosen:
        if name in variants:
            if not seeded and not sam.has_weights(name):
                raise WeightsError(f"the weights of {name} are not here: samlabel models pull {name}, or --seeded")
            yield _sam_row(name, devices, dtypes, backend, rounds, random=not sam.has_weights(name))
        else:
            yield _other_row(name, devices, rounds)


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    import torch

    return {
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "image": list(SIZE),
        "prompts": PROMPTS,
    }


def to_json(row: Row) -> dict[str, Any]:
    """The row as JSON values."""
    return asdict(row)


def _devices(asked: str) -> list[str]:
    import torch

    if asked:
        return [resolve_device(asked)]
    return ["cpu", *(["cuda:0"] if torch.cuda.is_available() else [])]


def _sam_row(
    name: str, devices: Sequence[str], dtypes: Sequence[str], backend: str, rounds: int, *, random: bool
) -> Row:
    from .segmenters import sam

    image, asked = Image("drawn", _drawn()), _boxes()
    timings: dict[str, Timing] = {}
    about: dict[str, Any] = {}
    for device, dtype in [(one, dtype) for one in devices for dtype in dtypes or sam.number_types(one)]:
        segmenter, about = sam.load_and_describe(name, device=device, dtype=dtype, backend=backend, random=random)
        way = " ".join([device] + [dtype] * (dtype != "float32") + [backend] * (backend != "torch"))
        timings[way] = _sam_timing(segmenter, image, asked, device, rounds)
        del segmenter
    weights = "random" if random else "ships with samlabel" if about["bundled"] else "pulled"
    return Row(name, weights, about["params"], about["bytes"], timings)


def _sam_timing(segmenter: SamSegmenter, image: Image, asked: Objects, device: str, rounds: int) -> Timing:
    with kept_pages():
        [embedding] = segmenter.embed([image])
        return Timing(
            _milliseconds(lambda: segmenter.embed([image]), device, rounds),
            _milliseconds(lambda: segmenter.segment(embedding, asked), device, rounds),
        )


def _other_row(name: str, devices: Sequence[str], rounds: int) -> Row:
    """One of ultralytics' models built from its yaml: weights do not change its time, and no file is opened."""
    file, classes, side = OTHERS[name]
    pixels, params = _drawn(), 0
    timings: dict[str, Timing] = {}
    for device in devices:
        options = {"imgsz": side, "device": device, "verbose": False, "save": False}
        with offline() as ultralytics:
            model = ultralytics.YOLO(file, task="segment")
            if classes != model.model.model[-1].nc:
                model.model = type(model.model)(file, nc=classes, verbose=False)
            warm_up(model, options)
        params = sum(value.numel() for value in model.model.parameters())
        predict = partial(model.predict, pixels, **options)
        timings[device] = Timing(_milliseconds(predict, device, rounds), None)
    return Row(name, "random", params, None, timings)


def _milliseconds(call: Callable[[], Any], device: str, rounds: int) -> float:
    """Median of up to `rounds` calls, after one that warms up."""
    import torch

    def once() -> float:
        start = time.perf_counter()
        call()
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    started = time.perf_counter()
    once()
    seconds: list[float] = []
    while not seconds or (len(seconds) < rounds and time.perf_counter() - started < _LONGEST):
        seconds.append(once())
    return round(1000 * statistics.median(seconds), 2)


def _drawn() -> Any:
    """(H, W, 3) uint8: a shaded ground with discs, so that masks have outlines."""
    import numpy as np

    row, column = np.mgrid[: SIZE[0], : SIZE[1]]
    pixels = np.stack([row * 255 // SIZE[0], column * 255 // SIZE[1], (row + column) % 256], 2).astype(np.uint8)
    for n, (x0, y0, x1, y1) in enumerate(_boxes().boxes):
        disc = ((row - (y0 + y1) / 2) / (y1 - y0)) ** 2 + ((column - (x0 + x1) / 2) / (x1 - x0)) ** 2 < 0.25
        pixels[disc] = (25 * n, 250 - 25 * n, 128)
    return pixels


def _boxes() -> Objects:
    import numpy as np

    corner = [(40 + 380 * (n % 2), 30 + 205 * (n // 2)) for n in range(PROMPTS)]
    boxes = np.array([[x, y, x + 300, y + 180] for x, y in corner], dtype=np.float32)
    return Objects(boxes=boxes, category_ids=np.ones(PROMPTS, np.int64), scores=np.ones(PROMPTS))
