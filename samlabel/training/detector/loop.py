"""The training run of the detector: resumable, logged, averaged weights."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import distributed, nn

from ...detectors._nano_classes import COCO_CLASSES
from ...detectors._nanodet import BINS, NanoDet
from ..gradients import mean_gradients
from .classes import CLASS_NAMES
from .initial import initial, is_output, published
from .labels import Labels, labels, read, write
from .losses import detection_loss
from .recipe import DetectorRecipe
from .samples import Supply

LABELS = "labels.jsonl"  # in the run's folder


def label(data: Path, weights: Path, out: Path) -> Iterator[Labels]:
    """Labels `data/train.json` with the published network `weights` as teacher; leaves `out/labels.jsonl`."""
    out.mkdir(parents=True, exist_ok=True)
    yield from write(labels(data, published(weights).to(memory_format=torch.channels_last)), out / LABELS)


def train(
    data: Path, weights: Path, out: Path, recipe: DetectorRecipe, *, processes: int = 1, save_every: int = 50
) -> Iterator[dict[str, float]]:
    """Trains on `out/labels.jsonl` and the photos of `data`, starting from the published network `weights`.

    Yields the log of each step; leaves `out/last.pt` and `out/log.jsonl`. An `out/last.pt` that is there already is
    continued. `processes` share each batch, one thread each: on a CPU that is faster than threads, which wait for one
    another thousands of times a step.
    """
    (out / "meeting").unlink(missing_ok=True)
    spawn = multiprocessing.get_context("spawn")
    helpers = [
        spawn.Process(target=_help, args=(data, weights, out, recipe, rank, processes)) for rank in range(1, processes)
    ]
    for helper in helpers:
        helper.start()
    try:
        yield from _share(data, weights, out, recipe, 0, processes, save_every=save_every)
    finally:
        for helper in helpers:
            helper.terminate()
            helper.join()
        if processes > 1:
            distributed.destroy_process_group()


def _help(data: Path, weights: Path, out: Path, recipe: DetectorRecipe, rank: int, processes: int) -> None:
    for _ in _share(data, weights, out, recipe, rank, processes, save_every=0):
        pass


def _share(
    data: Path, weights: Path, out: Path, recipe: DetectorRecipe, rank: int, processes: int, *, save_every: int
) -> Iterator[dict[str, float]]:
    """The part of the run that process `rank` does; rank 0 writes log and checkpoints."""
    if processes > 1:
        torch.set_num_threads(1)
        meeting = f"file://{(out / 'meeting').absolute()}"
        distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=processes)
    network = initial(weights).to(memory_format=torch.channels_last).train()
    average = {name: value.detach().clone() for name, value in network.state_dict().items()}
    optimizer = _optimizer(network, recipe)
    last, step = out / "last.pt", 0
    if last.exists():
        state = torch.load(last, weights_only=True)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        average, step = state["average"], state["step"]
    supply = Supply(data, read(out / LABELS), shares=dict(recipe.shares), seed=recipe.seed)
    while step < recipe.steps:
        entry = _step(network, optimizer, supply, step, recipe, rank=rank, processes=processes)
        if rank == 0:
            keep = min(recipe.average, (1 + step) / (20 + step))
            with torch.no_grad():
                for name, value in network.state_dict().items():
                    average[name].lerp_(value, 1 - keep)
        step += 1
        entry = {"step": step, **entry}
        if rank == 0:
            with (out / "log.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps({name: round(value, 5) for name, value in entry.items()}) + "\n")
            if step % save_every == 0 or step == recipe.steps:
                state = {"network": network.state_dict(), "average": average, "step": step}
                torch.save(state | {"optimizer": optimizer.state_dict()}, last.with_suffix(".part"))
                os.replace(last.with_suffix(".part"), last)
        yield entry


def _optimizer(network: nn.Module, recipe: DetectorRecipe) -> torch.optim.AdamW:
    moved = list(network.parameters())
    groups: list[dict[str, Any]] = [
        {"params": [value for value in moved if value.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [value for value in moved if value.ndim == 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.lr)


def _step(
    network: NanoDet,
    optimizer: torch.optim.AdamW,
    supply: Supply,
    step: int,
    recipe: DetectorRecipe,
    *,
    rank: int,
    processes: int,
) -> dict[str, float]:
    started = time.perf_counter()
    for group in optimizer.param_groups:
        group["lr"] = recipe.lr_at(step)
    size = recipe.sizes[int(np.random.default_rng([recipe.seed, step]).integers(len(recipe.sizes)))]
    samples = [supply.sample(step * recipe.batch + k, size) for k in range(rank, recipe.batch, processes)]
    pixels = torch.stack([sample.pixels for sample in samples]).contiguous(memory_format=torch.channels_last)
    losses = detection_loss(network(pixels), samples)
    total = torch.stack(list(losses.values())).sum()
    optimizer.zero_grad(set_to_none=False)
    torch.autograd.backward(total)
    mean_gradients(network.parameters(), processes)
    norm = nn.utils.clip_grad_norm_(network.parameters(), 10.0)
    if norm.isfinite():
        optimizer.step()
    entry = {name: float(value.detach()) for name, value in losses.items()}
    return {**entry, "total": float(total.detach()), "norm": float(norm), "seconds": time.perf_counter() - started}


def export(weights: Path, checkpoint: Path, file: Path, *, share: float, person_bias: float) -> None:
    """Writes `file`, in half precision: `share` of the averaged weights of `checkpoint`, the rest of the initial ones.

    The rows of classes that COCO has no name for stay behind; `person_bias` is added to the logit of people.
    """
    start, trained = initial(weights).state_dict(), torch.load(checkpoint, weights_only=True)["average"]
    state = {name: value.lerp(trained[name], share) for name, value in start.items()}
    kept = [*range(len(COCO_CLASSES)), *range(len(CLASS_NAMES), len(CLASS_NAMES) + 4 * BINS)]
    for name in filter(is_output, state):
        state[name] = state[name][kept]
        if name.endswith("bias"):
            state[name][COCO_CLASSES.index("person")] += person_bias
    halves = {name: (value.half() if value.ndim > 1 else value).contiguous() for name, value in state.items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(halves, file, metadata={"detector": "nano"})
