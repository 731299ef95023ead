"""The main job with a real YOLO: each object comes out with its own mask and its own name."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from samlabel import Image, Mask, ModelInfo, Objects, TrustOptions, auto_annotate
from tests.tiny_yolo import SHAPES, SIDE, draw_shapes


class Colourful:
    """Pixels in a box that are no grey: exact on drawn shapes, so that only the detector can be wrong."""

    info = ModelInfo("colourful", weights_sha256="none")

    def embed(self, images: Sequence[Image]) -> list[np.ndarray]:
        pixels = [image.pixels.astype(int) for image in images]
        return [one.max(axis=2) - one.min(axis=2) > 100 for one in pixels]

    def segment(self, embedding: np.ndarray, objects: Objects) -> Objects:
        masks = []
        for x0, y0, x1, y1 in objects.boxes.round().astype(int).tolist():
            inside = np.zeros_like(embedding)
            inside[y0:y1, x0:x1] = embedding[y0:y1, x0:x1]
            masks.append(Mask.from_pixels(inside))
        boxes = np.array([mask.box for mask in masks])
        return replace(objects, boxes=boxes, masks=tuple(masks), prompt_boxes=objects.boxes)


def test_a_real_yolo_names_each_mask_by_its_own_shape(tiny_yolo: Path, tmp_path: Path) -> None:
    seeds = range(100, 116)
    (tmp_path / "photos").mkdir()
    for seed in seeds:
        Pillow.fromarray(draw_shapes(seed)[0]).save(tmp_path / f"photos/{seed}.png")
    summary = auto_annotate(
        tmp_path / "photos",
        str(tiny_yolo),
        imgsz=SIDE,
        device="cpu",
        segmenter=Colourful(),
        trust=TrustOptions(trust_weights=True),
        output_dir=tmp_path / "out",
        formats=("coco", "yolo", "sa1b"),
    )
    drawn = Counter(SHAPES[kind] for seed in seeds for kind, _ in draw_shapes(seed)[1])
    assert summary.annotated == len(seeds) and not summary.failed
    assert sum((drawn - Counter(summary.categories)).values()) <= 0.15 * drawn.total(), (drawn, summary.categories)

    coco = json.loads((tmp_path / "out/coco/annotations.json").read_text())
    names = {category["id"]: category["name"] for category in coco["categories"]}
    files = {image["id"]: image["file_name"] for image in coco["images"]}
    assert set(names.values()) == set(SHAPES) and len(files) == len(seeds)
    for one in coco["annotations"]:
        height, width = one["segmentation"]["size"]
        mask = Mask((height, width), one["segmentation"]["counts"].encode()).to_pixels()
        pixels = draw_shapes(int(Path(files[one["image_id"]]).stem))[0].astype(int)
        red, blue = pixels[mask][:, 0].mean(), pixels[mask][:, 2].mean()
        assert names[one["category_id"]] == ("square" if red > blue else "circle"), one


@pytest.mark.photos
def test_a_pretrained_yolo_and_nano_label_the_bus_and_four_people(photos_data: Path, tmp_path: Path) -> None:
    ultralytics = pytest.importorskip("ultralytics")
    pytest.importorskip("ai_edge_litert", reason="pip install 'samlabel[litert]' runs .tflite models")
    photo = Path(ultralytics.__file__).parent / "assets/bus.jpg"
    model = str(photos_data / "weights/yolov8n_int8.tflite")
    summary = auto_annotate([photo], model, "nano", device="cpu", output_dir=tmp_path / "out")
    assert dict(summary.categories) == {"person": 4, "bus": 1}, (summary.categories, summary.dropped)
    coco = json.loads((tmp_path / "out/coco/annotations.json").read_text())
    found = [one["segmentation"] for one in coco["annotations"]]
    masks = [Mask(tuple(one["size"]), one["counts"].encode()) for one in found]
    assert all(a.iou(b) < 0.5 for i, a in enumerate(masks) for b in masks[:i]), "two objects share a mask"
