"""Models that see drawn rectangles, and a label format of one line a record: fast, exact, no weights."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from samlabel.errors import UnknownName
from samlabel.objects import Objects
from samlabel.protocols import Image, ModelInfo
from samlabel.runs.journal import record_to_json
from samlabel.types import Annotation, Category, Dataset, Mask

RED, BLUE, GREY = (200, 0, 0), (0, 0, 200), (128, 128, 128)
COLOURS = {1: RED, 7: BLUE}  # ids with a gap, as COCO has


def draw(path: Path, *boxes: tuple[int, int, int, int, tuple[int, int, int]], size: tuple[int, int] = (40, 60)) -> Path:
    """A PNG of grey with filled boxes `(x0, y0, x1, y1, colour)`."""
    from PIL import Image as pillow

    pixels = np.full((*size, 3), GREY, np.uint8)
    for x0, y0, x1, y1, colour in boxes:
        pixels[y0:y1, x0:x1] = colour
    path.parent.mkdir(parents=True, exist_ok=True)
    pillow.fromarray(pixels).save(path)
    return path


class Detector:
    """Boxes around red and blue; counts what it was asked."""

    info = ModelInfo("colours", (Category(1, "red"), Category(7, "blue")), "none")

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def detect(self, images: Sequence[Image]) -> list[Objects]:
        self.batches.append([image.path for image in images])
        if any("cursed" in image.path for image in images):
            raise RuntimeError("a shape that no layer takes")
        return [find(image.pixels) for image in images]


class Segmenter:
    """The pixels in a box that are not grey."""

    info = ModelInfo("boxes", weights_sha256="none", prompts=frozenset({"box", "everything"}))

    def __init__(self, *, pause: float = 0.0) -> None:
        self.embedded: list[str] = []
        self._pause = pause

    def embed(self, images: Sequence[Image]) -> list[np.ndarray]:
        return [self.encode(image) for image in images]

    def encode(self, image: Image) -> np.ndarray:
        self.embedded.append(image.path)
        time.sleep(self._pause)
        return image.pixels

    def segment(self, embedding: np.ndarray, objects: Objects) -> Objects:
        scores = np.full(len(objects), 0.9) if objects.scores is None else objects.scores
        rows = zip(objects.boxes, scores, objects.category_ids, strict=True)
        found = Objects.of(outline(embedding, box, float(score), int(category)) for box, score, category in rows)
        return replace(found, row_ids=objects.row_ids, sources=objects.sources)

    def generate(self, image: Image, embedding: Any, *, boxes: Any = None) -> Objects:
        return Objects.of(outline(image.pixels, box, None, 1) for box in find(image.pixels).boxes)


def find(pixels: np.ndarray) -> Objects:
    boxes, ids = [], []
    for category, colour in COLOURS.items():
        ys, xs = np.nonzero((pixels == colour).all(axis=2))
        if len(xs):
            boxes.append([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
            ids.append(category)
    return Objects(
        boxes=np.array(boxes).reshape(-1, 4), category_ids=np.array(ids, np.int64), scores=np.full(len(boxes), 0.9)
    )


def outline(pixels: np.ndarray, box: Any, score: float | None, category: int) -> Annotation:
    x0, y0, x1, y1 = (int(v) for v in box)
    inside = np.zeros(pixels.shape[:2], bool)
    inside[y0:y1, x0:x1] = (pixels[y0:y1, x0:x1] != GREY).any(axis=2)
    mask = Mask.from_pixels(inside)
    return Annotation(category, mask.box, mask, score, 0.8, 0.7, prompt_box=(x0, y0, x1, y1))


def write(dataset: Dataset, path: Path, *, format: str, overwrite: bool = False, images: str | None = None) -> Any:
    """Stands in for `samlabel.formats.write`: `coco` is one file, `yolo` is one file an image."""
    if format == "coco":
        lines = [json.dumps(record_to_json(record), sort_keys=True) for record in dataset.records]
        (path / "annotations.json").write_text("\n".join(lines))
        return SimpleNamespace(losses={})
    for record in dataset.records:
        file = (path / record.path).with_suffix(".txt")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{one.category_id} {one.box}\n" for one in record.annotations))
    return SimpleNamespace(losses={"score-lost": 3})


def names() -> list[str]:
    return ["coco", "yolo"]


def get(name: str) -> Any:
    if name not in names():
        raise UnknownName("format", name, names())
    return SimpleNamespace(options=lambda: SimpleNamespace(images="none"))
