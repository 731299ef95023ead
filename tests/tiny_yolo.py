"""A real YOLO, trained in seconds on drawn shapes, with no download."""

from __future__ import annotations

from pathlib import Path

import numpy as np

SIDE = 64
SHAPES = ("square", "circle")
COLOURS = ((200, 30, 30), (30, 40, 200))  # red squares, blue circles: swapped channels would swap the classes

TINY_MODEL = """
nc: 2
scales:
  n: [0.33, 0.25, 256]
backbone:
  - [-1, 1, Conv, [32, 3, 2]]
  - [-1, 1, Conv, [64, 3, 2]]
  - [-1, 1, C2f, [64, True]]
  - [-1, 1, Conv, [128, 3, 2]]
  - [-1, 1, C2f, [128, True]]
head:
  - [[2, 4], 1, Detect, [nc]]
"""


def draw_shapes(seed: int, *, side: int = SIDE) -> tuple[np.ndarray, list[tuple[int, tuple[int, int, int, int]]]]:
    """An RGB picture of one or two shapes, and (class index, box) of each."""
    from PIL import Image, ImageDraw

    random = np.random.default_rng(seed)
    picture = Image.new("RGB", (side, side), tuple(int(v) for v in random.integers(150, 230, 3)))
    pen = ImageDraw.Draw(picture)
    objects = []
    for place in range(1 + seed % 2):
        kind = int(random.integers(2))
        radius = int(random.integers(side // 8, side // 5))
        x = int(random.integers(radius, side // 2 - radius)) + place * side // 2
        y = int(random.integers(radius, side - radius))
        box = (x - radius, y - radius, x + radius, y + radius)
        (pen.rectangle if kind == 0 else pen.ellipse)(box, fill=COLOURS[kind])
        objects.append((kind, (box[0], box[1], box[2] + 1, box[3] + 1)))  # Pillow draws the last pixel too
    return np.asarray(picture), objects


def seeded_tiny_yolo(file: Path) -> Path:
    """`file`, a `.pt` of the same network with random weights, which finds nothing that means anything."""
    import torch
    from ultralytics import YOLO

    definition = file.with_suffix(".yaml")
    definition.write_text(TINY_MODEL)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        YOLO(str(definition), task="detect").save(file)
    return file


def train_tiny_yolo(folder: Path, *, images: int = 64, epochs: int = 20) -> Path:
    """A `.pt` file of a YOLO that tells the shapes of `draw_shapes` apart; all that it writes lies in `folder`."""
    from PIL import Image

    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for seed in range(images):
        pixels, objects = draw_shapes(seed)
        Image.fromarray(pixels).save(folder / f"images/{seed:03}.png")
        rows = [
            f"{kind} {(x0 + x1) / 2 / SIDE} {(y0 + y1) / 2 / SIDE} {(x1 - x0) / SIDE} {(y1 - y0) / SIDE}"
            for kind, (x0, y0, x1, y1) in objects
        ]
        (folder / f"labels/{seed:03}.txt").write_text("\n".join(rows))
    (folder / "tiny.yaml").write_text(TINY_MODEL)
    (folder / "data.yaml").write_text(f"path: {folder}\ntrain: images\nval: images\nnames: [{', '.join(SHAPES)}]\n")

    import torch
    from ultralytics import YOLO

    threads = torch.get_num_threads()
    YOLO(str(folder / "tiny.yaml"), task="detect").train(
        data=str(folder / "data.yaml"),
        project=str(folder / "runs"),
        name="tiny",
        imgsz=SIDE,
        epochs=epochs,
        batch=8,
        optimizer="AdamW",
        lr0=0.01,
        lrf=0.1,
        warmup_epochs=0,
        mosaic=0,
        close_mosaic=0,
        hsv_h=0,
        hsv_s=0,
        erasing=0,
        scale=0.1,
        translate=0.05,
        seed=0,
        workers=0,
        device="cpu",
        amp=False,
        plots=False,
        val=False,
        pretrained=False,
        verbose=False,
    )
    torch.set_num_threads(threads)
    return folder / "runs/tiny/weights/last.pt"
