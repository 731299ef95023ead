"""The training run of the segmenter: resumable, logged, averaged weights.

The learning rate is constant and falls to zero over the last `decay` steps. The net sees windows of
two thirds of the canvas (cheaper, twice the photos an hour), and whole canvases over the last steps.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as distributed
from torch import Tensor, nn
from torch.utils.data import DataLoader

from sam.registry import IMAGENET_MEAN, IMAGENET_STD
from sam.variants.nano import IMAGE_SIZE

from .gradients import mean_gradients
from .learners import Nano
from .muon import Muon
from .photos import PAD, Windows, collate, read_photos
from .recipe import Recipe


def matrices_of(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Weights that Muon moves, and all others: tokens, vectors, and the layers that give the results."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, p in model.named_parameters():
        plain = p.ndim < 2 or name.endswith(("_token.weight", "_tokens.weight")) or "embed" in name or ".out." in name
        (others if plain else matrices).append(p)
    return matrices, others


def prepare(pixels: Tensor, *, generator: torch.Generator) -> Tensor:
    """Normalised floats with brightness, contrast, colour and noise changed at random, from (B, 3, S, S) uint8."""
    x = pixels.float()
    count = len(x)

    def draw(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, 1, 1, 1, generator=generator)

    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * draw(0.5, 1.4)
    x = torch.where(draw(0, 1) < 0.05, grey, x)
    middle = x.mean((2, 3), keepdim=True)
    x = middle + (x - middle) * draw(0.65, 1.35) + draw(-30, 30)
    noise = torch.rand(count, 1, *x.shape[-2:], generator=generator)
    salted = (draw(0, 1) < 0.08) & (noise < 0.02)
    x = torch.where(salted, (noise < 0.01) * 255.0, x).clamp(0, 255)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    padding = (pixels == torch.tensor(PAD, dtype=torch.uint8).view(3, 1, 1)).all(1, keepdim=True)
    x = torch.where(padding, 0.0, (x - mean) / std)
    return x.contiguous(memory_format=torch.channels_last)


def train(
    data: Path, out: Path, recipe: Recipe, *, processes: int = 1, save_every: int = 250
) -> Iterator[dict[str, float]]:
    """Trains on `data/train.json`, yields the log of each step, leaves `out/last.pt` and `out/log.jsonl`.

    An `out/last.pt` that is there already is continued; `recipe.steps` may differ from last time.
    `processes` share each batch, one thread each: on a CPU that is faster than threads, which wait
    for one another thousands of times a step.
    """
    out.mkdir(parents=True, exist_ok=True)
    meeting = out / "meeting"
    meeting.unlink(missing_ok=True)
    helpers = [
        multiprocessing.get_context("spawn").Process(
            target=_help, args=(data, out, recipe, rank, processes), daemon=False
        )
        for rank in range(1, processes)
    ]
    for helper in helpers:
        helper.start()
    try:
        yield from _share(data, out, recipe, 0, processes, save_every=save_every)
    finally:
        for helper in helpers:
            helper.terminate()
            helper.join()
        if processes > 1:
            distributed.destroy_process_group()


def _help(data: Path, out: Path, recipe: Recipe, rank: int, processes: int) -> None:
    for _ in _share(data, out, recipe, rank, processes, save_every=0):
        pass


def _share(
    data: Path, out: Path, recipe: Recipe, rank: int, processes: int, *, save_every: int
) -> Iterator[dict[str, float]]:
    """The part of the run that process `rank` does; rank 0 writes log and checkpoints."""
    if processes > 1:
        torch.set_num_threads(1)
        distributed.init_process_group(
            "gloo", init_method=f"file://{(out / 'meeting').absolute()}", rank=rank, world_size=processes
        )
    torch.manual_seed(recipe.seed)
    model = Nano().to(memory_format=torch.channels_last)
    average = {k: v.detach().clone() for k, v in model.state_dict().items()}
    matrices, others = matrices_of(model)
    muon = Muon(matrices, decay=recipe.weight_decay)
    optimiser = torch.optim.AdamW(others, lr=recipe.lr, betas=(0.9, 0.99), weight_decay=0.0)
    last, step = out / "last.pt", 0
    if last.exists():
        state = torch.load(last, weights_only=True)
        model.load_state_dict(state["model"])
        average, step = state["average"], state["step"]
        optimiser.load_state_dict(state["optimiser"])
        muon.load_state_dict(state["muon"])
    photos = read_photos(data, "train.json")
    while step < recipe.steps:
        side, until = IMAGE_SIZE, recipe.steps
        if recipe.window is not None and not recipe.on_whole_photos(step):
            side, until = recipe.window, recipe.steps - recipe.whole
        windows = Windows(
            photos,
            side=side,
            canvas=IMAGE_SIZE,
            most_masks=recipe.masks_per_image,
            seed=recipe.seed,
            paste=recipe.paste,
            shapes=recipe.shapes,
            draws=recipe.draws,
        )
        mine = range(rank, recipe.batch, processes)  # of the photos of a step
        order = [[s * recipe.batch + k for k in mine] for s in range(step, until)]
        loader = DataLoader(windows, batch_sampler=order, num_workers=1, collate_fn=collate, prefetch_factor=6)
        for batch in loader:
            entry = _step(model, average, (optimiser, muon), batch, step, recipe, rank=rank, processes=processes)
            step += 1
            if rank == 0:
                with (out / "log.jsonl").open("a") as log:
                    log.write(json.dumps({"step": step, **{k: round(v, 4) for k, v in entry.items()}}) + "\n")
                if step % save_every == 0 or step == recipe.steps:
                    state = {"model": model.state_dict(), "average": average, "step": step}
                    state |= {"optimiser": optimiser.state_dict(), "muon": muon.state_dict()}
                    torch.save(state, last.with_suffix(".part"))
                    os.replace(last.with_suffix(".part"), last)
            yield {"step": step, **entry}


def _step(
    model: Nano,
    average: dict[str, Tensor],
    optimisers: tuple[torch.optim.AdamW, Muon],
    batch: dict[str, Any],
    step: int,
    recipe: Recipe,
    *,
    rank: int,
    processes: int,
) -> dict[str, float]:
    started = time.perf_counter()
    generator = torch.Generator().manual_seed((recipe.seed * 1_000_003 + step) * 64 + rank)
    optimiser, muon = optimisers
    for group in optimiser.param_groups:
        group["lr"] = recipe.lr_at(step)
    if len(batch["masks"]):
        count, wanted = len(batch["masks"]), recipe.masks // processes
        rounds = [torch.randperm(count, generator=generator) for _ in range(-(-wanted // count))]
        drawn = torch.cat(rounds)[:wanted]
        batch |= {key: batch[key][drawn] for key in ("masks", "prompt_boxes", "owner")}
    batch["pixels"] = prepare(batch["pixels"], generator=generator)
    with torch.autocast("cpu", torch.bfloat16):
        losses = model.loss(batch, boxes=recipe.boxes, generator=generator)
    total = losses["masks"] + losses.get("iou", 0.0)
    model.zero_grad(set_to_none=False)
    torch.autograd.backward(total)
    mean_gradients(model.parameters(), processes)
    norm = nn.utils.clip_grad_norm_(model.parameters(), 5.0)
    if norm.isfinite():
        optimiser.step()
        muon.step(recipe.lr_at(step), rank=rank, processes=processes)
    if rank == 0:
        keep = min(recipe.average, (1 + step) / (20 + step))
        with torch.no_grad():
            for name, value in model.state_dict().items():
                if value.is_floating_point():
                    average[name].lerp_(value, 1 - keep)
                else:
                    average[name].copy_(value)
    entry = {k: float(v.detach()) for k, v in losses.items()}
    return {**entry, "total": float(total.detach()), "norm": float(norm), "seconds": time.perf_counter() - started}


def export(checkpoint: Path, segmenter: Path) -> None:
    """Writes the averaged weights in half precision as `segmenter`."""
    import sam

    model = sam.load("nano", seed=0)
    model.load_state_dict(torch.load(checkpoint, weights_only=True)["average"])
    with segmenter.open("wb") as file:
        sam.save(model, file, half=True)
