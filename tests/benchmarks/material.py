"""What the speed benchmarks work on: drawn photos, boxes, logits, and seeded weights whose masks look like masks.

Weights that are random and nothing else give every pixel the same sign and every mask the same quality, so that a
mask generator would keep all or none. `seeded` therefore turns a seeded model until its masks are blobs over a
sixth of the image and a third of them passes the usual thresholds. Both sides of a comparison load the same file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.sam.conftest import scrambled

Size = tuple[int, int]
SMALL, LARGE, PHOTO = (810, 1080), (3000, 4000), (480, 640)  # (height, width)
BOXES_EACH = 15  # of a photo in the folder


def picture(size: Size, seed: int = 3) -> np.ndarray:
    """(H, W, 3) uint8: coloured ellipses on a shaded, slightly noisy ground."""
    from PIL import Image, ImageDraw, ImageFilter

    height, width = size
    rng = np.random.default_rng(seed)
    ground = np.linspace(60, 180, height)[:, None, None] + rng.normal(0, 6, (height, width, 1))
    drawn = Image.fromarray((ground + rng.uniform(-30, 30, 3)).clip(0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(drawn)
    for _ in range(24):
        x, y = rng.uniform(-0.05, 0.9, 2) * (width, height)
        across, down = rng.uniform(0.04, 0.25, 2) * max(size)
        pen.ellipse((x, y, x + across, y + down), fill=tuple(int(v) for v in rng.integers(0, 255, 3)))
    return np.asarray(drawn.filter(ImageFilter.GaussianBlur(1)))


def photos(folder: Path, count: int, size: Size = PHOTO, *, ending: str = "jpg") -> Path:
    """A folder with `count` drawn JPEG photos, made unless they are there."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(count):
        file = folder / f"{seed:04}.{ending}"
        if not file.exists():
            Image.fromarray(picture(size, seed)).save(file, quality=90)
    return folder


def boxes(count: int, size: Size, seed: int = 5) -> np.ndarray:
    """(count, 4) float32 XYXY, sides of 4 to 25 % of the image's."""
    rng = np.random.default_rng(seed)
    height, width = size
    corner = rng.uniform(0, 0.75, (count, 2))
    far = corner + rng.uniform(0.04, 0.25, (count, 2))
    return (np.concatenate([corner, far], 1) * [width, height, width, height]).astype(np.float32)


def low_res_logits(count: int, size: Size, seed: int = 7) -> np.ndarray:
    """(count, 1, 256, 256) float32: rippled ellipses of 4 to 25 % of the image, steep as a trained decoder's."""
    rng = np.random.default_rng(seed)
    inside = np.array(size) * 256 / max(size)
    row, column = np.mgrid[:256, :256]
    made = np.empty((count, 1, 256, 256), np.float32)
    for n in range(count):
        y, x = rng.uniform(0.1, 0.9, 2) * inside
        down, across = rng.uniform(0.02, 0.125, 2) * 256
        distance = 1 - np.hypot((row - y) / down, (column - x) / across)
        made[n, 0] = np.clip(12 * distance + np.sin(row / 3) * np.sin(column / 4), -20, 15)
    return made


def seeded(variant: str, folder: Path) -> Path:
    """Weights of `variant` in the official layout, as `NAME.safetensors`; beside it as ultralytics calls its `.pt`."""
    import torch

    import sam

    file = folder / f"{variant}.safetensors"
    if file.exists():
        return file
    model = scrambled(sam.load(variant, seed=0))
    decoder = model.mask_decoder
    with torch.no_grad():
        for layer in decoder.output_upscaling:  # one value for each 2 x 2: no texture finer than a cell
            if isinstance(layer, torch.nn.ConvTranspose2d):
                layer.weight.copy_(layer.weight[:, :, :1, :1].expand_as(layer.weight))
        features = _soft(model)
        sparse, dense = model.prompt_encoder(boxes=torch.from_numpy(boxes(8, (1024, 1024))))
        seen: list[torch.Tensor] = []
        hook = decoder.output_upscaling[-1].register_forward_hook(lambda _, __, out: seen.append(out))
        inputs = {
            "image_embedding": features,
            "image_pe": model.prompt_encoder.dense_pe(),
            "sparse": sparse,
            "dense": dense,
        }
        decoder.all_masks(**inputs)
        mean = torch.cat(seen).mean((0, 2, 3))  # (c,): what every pixel has in common, which would decide the sign
        hook.remove()
        for mlp in decoder.output_hypernetworks_mlps:
            last = mlp.layers[-1]
            for value in (last.weight, last.bias):
                value.sub_(
                    torch.outer(mean, mean @ value) / (mean @ mean)
                    if value.ndim == 2
                    else mean * (mean @ value) / (mean @ mean)
                )
        spread = decoder.all_masks(**inputs)[0].std()
        for mlp in decoder.output_hypernetworks_mlps:
            last = mlp.layers[-1]
            last.weight.mul_(100 / spread)
            last.bias.mul_(100 / spread).sub_(100 * mean / (mean @ mean))
        quality = decoder.all_masks(**inputs)[1]
        last = decoder.iou_prediction_head.layers[-1]
        factor = 0.03 / quality.std(0).clamp(min=1e-6)
        last.bias.copy_((last.bias - quality.mean(0)) * factor + 0.87)
        last.weight.mul_(factor[:, None])
    folder.mkdir(parents=True, exist_ok=True)
    names = {"vit_b": "sam_b.pt", "tiny": "mobile_sam.pt"}
    torch.save(model.state_dict(), folder / names[variant])
    sam.save(model, file)
    return file


def _soft(model: object) -> object:
    """(1, 256, 64, 64): an embedding that changes slowly from cell to cell, as that of a photo does."""
    import torch

    coarse = torch.randn(1, 256, 9, 9, generator=torch.Generator().manual_seed(11))
    return torch.nn.functional.interpolate(coarse, (64, 64), mode="bicubic", align_corners=True)


def embedding(folder: Path, size: Size = SMALL) -> Path:
    """The file of that embedding, for stages that start behind the encoder."""
    file = folder / "embedding.npy"
    if not file.exists():
        np.save(file, _soft(None).numpy())  # type: ignore[attr-defined]
    return file


def yolo(folder: Path) -> Path:
    """A YOLOv8n of 80 classes with seeded weights: hundreds to thousands of boxes a photo over a score of 0.25."""
    file = folder / "yolov8n-seeded.pt"
    if file.exists():
        return file
    import torch
    from ultralytics import YOLO

    torch.manual_seed(0)
    model = YOLO("yolov8n.yaml", task="detect")
    head, net = model.model.model[-1], model.model
    pixels = torch.from_numpy(picture((480, 640), 0).copy()).permute(2, 0, 1)[None] / 255
    seen: list[torch.Tensor] = []
    hooks = [branch[-1].register_forward_hook(lambda _, __, out: seen.append(out)) for branch in head.cv3]
    with torch.no_grad():
        for layer in net.modules():  # untrained statistics would let the signal fade from layer to layer
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.momentum = 1.0
        net.train()(pixels)
        for layer in net.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.momentum = 0.03
        seen.clear()
        net.eval()(pixels)
        for branch, out in zip(head.cv3, seen, strict=True):
            last = branch[-1]
            factor = 1 / out.std((0, 2, 3)).clamp(min=1e-6)  # (80,)
            last.weight.mul_(factor[:, None, None, None])
            # A logit of -1.1 is a score of 0.25; one in two thousand of a normal spread lies 3.3 above the mean.
            last.bias.copy_((last.bias - out.mean((0, 2, 3))) * factor - 1.1 - 3.3)
    for hook in hooks:
        hook.remove()
    folder.mkdir(parents=True, exist_ok=True)
    model.save(file)
    return file
