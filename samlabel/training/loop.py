"""The training run of the nano models: one process, resumable, logged, averaged weights.

Both models learn together: the detector reads the segmenter's embedding, so one encoder serves two.
The learning rate is constant and falls to zero over the last `decay` steps. The net sees windows of
two thirds of the canvas (cheaper, twice the photos an hour), and whole canvases over the last steps.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as distributed
from sam.registry import IMAGENET_MEAN, IMAGENET_STD
from sam.variants.nano import IMAGE_SIZE, build
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from ..detectors._nano_head import NanoHead
from .losses import around, box_losses, iou_loss, mask_losses
from .muon import Muon
from .photos import PAD, Windows, collate, read_photos
from .prompts import corrective_points, noisy_boxes, random_points


@dataclass(frozen=True, slots=True)
class Recipe:
    """Every number that decides the result."""

    steps: int = 17000
    decay: int = 2800  # steps at the end over which the learning rate falls to nothing
    whole: int = 250  # steps at the very end on whole canvases
    batch: int = 12
    masks_per_image: int = 8
    masks: int = 24  # prompts a step, always as many: kernels are compiled anew for every new shape
    window: int = 256
    lr: float = 1e-3
    warmup: int = 200
    weight_decay: float = 0.02
    average: float = 0.998  # decay of the averaged weights
    paste: float = 0.4  # share of windows with objects of another photo
    shapes: float = 0.25  # share of windows with drawn shapes
    boxes: float = 0.7  # share of boxes among first prompts; the others are clicks
    seed: int = 0

    def lr_at(self, step: int) -> float:
        return self.lr * min(1.0, (step + 1) / self.warmup, max(self.steps - step, 0) / self.decay)

    def side_at(self, step: int) -> int:
        return self.window if step < self.steps - self.whole else IMAGE_SIZE


class Nano(nn.Module):
    """The segmenter's three parts under their checkpoint names, and the detector's head."""

    def __init__(self) -> None:
        super().__init__()
        self.image_encoder, self.prompt_encoder, self.mask_decoder = build()
        self.detector = NanoHead()

    def loss(self, batch: dict, *, boxes: float, generator: torch.Generator) -> dict[str, Tensor]:
        pixels = batch["pixels"]
        side = pixels.shape[-1]
        embedding, fine2, fine4, fine8 = self.image_encoder(pixels)
        losses = {"boxes": self._boxes(embedding, fine8, batch)}
        if len(batch["masks"]):
            # The window lies anywhere in the canvas, so that positions mean what they will mean there.
            cells = (IMAGE_SIZE - side) // 16
            corner = torch.randint(cells + 1, (2,), generator=generator) if cells else torch.zeros(2, dtype=torch.long)
            grid, n = self.prompt_encoder.dense_pe(), side // 16
            position = grid[:, :, corner[1] : corner[1] + n, corner[0] : corner[0] + n]
            owner = batch["owner"]
            image = embedding[owner], tuple(f[owner] for f in (fine2, fine4, fine8)), position
            losses |= self._masks(image, batch, corner * 16.0, boxes, generator)
        return losses

    def _boxes(self, embedding: Tensor, fine8: Tensor, batch: dict) -> Tensor:
        logits, boxes, centres, _ = self.detector(embedding, fine8)
        return box_losses(logits.float(), boxes, centres, batch["boxes"], batch["classes"], batch["known"])

    def _masks(
        self, image: tuple, batch: dict, corner: Tensor, box_share: float, generator: torch.Generator
    ) -> dict[str, Tensor]:
        side = batch["pixels"].shape[-1]
        target = F.avg_pool2d(batch["masks"][:, None].float() / 255, 2)[:, 0]  # (N, s, s), stride 2
        near = around(batch["prompt_boxes"], target.shape[-1], stride=2)
        count = len(target)
        boxes = noisy_boxes(batch["prompt_boxes"], generator=generator) + corner.repeat(2)
        points = (2 * random_points(target > 0.5, generator=generator) + corner)[:, None]  # (N, 1, 2)
        inside = torch.ones(count, 1, dtype=torch.long)
        by_box = (torch.rand(count, generator=generator) < box_share)[:, None, None]
        none = self.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
        sparse, drawn = self._prompts(by_box, (boxes, None, None), (None, points, inside), corner, side)
        logits, predicted = self._decode(image, sparse, none + drawn)
        loss, iou = mask_losses(logits, target, near)
        single, several = loss[:, 0], loss[:, 1:].amin(1)
        clear = by_box[:, 0, 0]
        losses = {
            "masks": torch.where(clear, single + 0.3 * several, several + 0.1 * single).mean(),
            "iou": iou_loss(predicted, iou),
        }
        with torch.no_grad():
            losses["box_iou"] = iou[clear, 0].mean()
            losses["click_iou"] = iou[~clear, 1:].amax(1).mean()

        # A second round for a third of the prompts: one click where the first mask is wrong.
        again = torch.rand(count, generator=generator).argsort()[: count // 3]
        if not len(again):
            return losses
        with torch.no_grad():
            pick = torch.where(clear, torch.zeros(count, dtype=torch.long), 1 + predicted[:, 1:].argmax(1))
            guess = logits.detach()[torch.arange(count), pick][again]
        clicks, labels = corrective_points(target[again] > 0.5, guess > 0, generator=generator)
        clicks = (2 * clicks + corner)[:, None]
        signs = labels[:, None]
        with_box = (boxes[again], clicks, signs)
        with_point = (None, torch.cat([points[again], clicks], 1), torch.cat([inside[again], signs], 1))
        sparse, drawn = self._prompts(by_box[again], with_box, with_point, corner, side)
        shown = torch.rand(len(again), 1, 1, 1, generator=generator) < 0.7
        before = self.prompt_encoder.mask_downscaling(F.avg_pool2d(guess[:, None].float(), 2))
        dense = torch.where(shown, before, none) + drawn
        embedding, fine, position = image
        logits, predicted = self._decode((embedding[again], tuple(f[again] for f in fine), position), sparse, dense)
        loss, iou = mask_losses(logits, target[again], near[again])
        losses["masks"] = losses["masks"] + 0.5 * (loss[:, 0] + 0.3 * loss[:, 1:].amin(1)).mean()
        losses["iou"] = losses["iou"] + 0.5 * iou_loss(predicted, iou)
        losses["refined_iou"] = iou[:, 0].mean()
        return losses

    def _prompts(
        self, by_box: Tensor, with_box: tuple, with_point: tuple, corner: Tensor, side: int
    ) -> tuple[Tensor, Tensor]:
        """Tokens and drawn map of one (boxes, coords, labels) where `by_box` (N, 1, 1), of the other elsewhere.

        Tokens know places in the canvas, the drawing those in the window that starts at `corner`.
        """
        both = []
        for boxes, coords, labels in (with_box, with_point):
            tokens = self.prompt_encoder(boxes=boxes, point_coords=coords, point_labels=labels)[0]
            near = None if boxes is None else boxes - corner.repeat(2)
            here = None if coords is None else coords - corner
            drawn = self.prompt_encoder.draw(boxes=near, point_coords=here, point_labels=labels, side=side)
            both.append((tokens, drawn))
        (box_tokens, box_drawn), (point_tokens, point_drawn) = both
        return torch.where(by_box, box_tokens, point_tokens), torch.where(by_box[..., None], box_drawn, point_drawn)

    def _decode(self, image: tuple, sparse: Tensor, dense: Tensor) -> tuple[Tensor, Tensor]:
        embedding, fine, position = image
        logits, predicted = self.mask_decoder.all_masks(
            image_embedding=embedding, image_pe=position, sparse=sparse, dense=dense, high_res=fine
        )
        return logits.float(), predicted.float()


def matrices_of(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Weights that Muon moves, and all others: tokens, vectors, and the layers that give the results."""
    matrices, others = [], []
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
        side = recipe.side_at(step)
        until = recipe.steps if side == IMAGE_SIZE else recipe.steps - recipe.whole
        windows = Windows(
            photos,
            side=side,
            canvas=IMAGE_SIZE,
            most_masks=recipe.masks_per_image,
            seed=recipe.seed,
            paste=recipe.paste,
            shapes=recipe.shapes,
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
    average: dict,
    optimisers: tuple[torch.optim.AdamW, Muon],
    batch: dict,
    step: int,
    recipe: Recipe,
    *,
    rank: int,
    processes: int,
) -> dict:
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
    total = 1.2 * losses["boxes"] + losses.get("masks", 0.0) + losses.get("iou", 0.0)
    model.zero_grad(set_to_none=False)
    total.backward()
    if processes > 1:
        _mean_gradients(model, processes)
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


def _mean_gradients(model: nn.Module, processes: int) -> None:
    parameters = list(model.parameters())
    for p in parameters:
        if p.grad is None:  # a batch without masks leaves the decoder out
            p.grad = torch.zeros_like(p)
    flat = torch.cat([p.grad.flatten() for p in parameters])
    distributed.all_reduce(flat)
    for p, grad in zip(parameters, flat.split([p.numel() for p in parameters])):
        p.grad.copy_(grad.view_as(p) / processes)


def export(checkpoint: Path, segmenter: Path, detector: Path) -> None:
    """Writes the averaged weights in half precision: the SAM variant and the detector's head."""
    import sam
    from safetensors.torch import save_file

    state = torch.load(checkpoint, weights_only=True)["average"]
    model = sam.load("nano", seed=0)
    model.load_state_dict({k: v for k, v in state.items() if not k.startswith("detector.")})
    sam.save(model, segmenter, half=True)
    head = {k.removeprefix("detector."): v for k, v in state.items() if k.startswith("detector.")}
    halves = {k: (v.half() if v.ndim > 1 else v).contiguous() for k, v in head.items()}
    save_file(halves, detector, metadata={"detector": "nano"})
