"""Every example runs as a person would run it, and leaves what it promises."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"


def run(folder: Path, name: str, *words: str, fails: bool = False) -> str:
    """What example `name` prints, run in `folder` by a Python of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert bool(ended.returncode) == fails, ended.stderr[-3000:]
    return ended.stderr if fails else ended.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the drawn picture in `photos/shapes.png`."""
    home = tmp_path_factory.mktemp("examples")
    assert run(home, "draw_picture.py", "photos/shapes.png").split() == [str(Path("photos/shapes.png"))]
    return home


def test_every_example_is_run_here() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    assert [path.name for path in EXAMPLES.glob("*.py") if f'"{path.name}"' not in text] == []


def test_the_drawn_picture_is_the_same_each_time(folder: Path) -> None:
    run(folder, "draw_picture.py", "again.png")
    assert (folder / "again.png").read_bytes() == (folder / "photos/shapes.png").read_bytes()


def test_auto_annotate_writes_three_formats(folder: Path) -> None:
    said = run(folder, "auto_annotate.py", "photos", "labels")
    assert "of 1 photos" in said
    coco = json.loads((folder / "labels/coco/annotations.json").read_text())
    assert [image["file_name"] for image in coco["images"]] == ["shapes.png"]
    assert (folder / "labels/yolo/data.yaml").is_file()
    assert len(list((folder / "labels/sa1b").rglob("*.json"))) == 1


def test_a_detector_of_ones_own_finds_the_boat(folder: Path) -> None:
    assert "1 red things in 1 photos" in run(folder, "custom_detector.py", "photos", "red")
    coco = json.loads((folder / "red/coco/annotations.json").read_text())
    assert [category["name"] for category in coco["categories"]] == ["red thing"]
    x, y, width, height = coco["annotations"][0]["bbox"]
    assert x > 350 and y > 350 and x + width < 620 and y + height < 470, "the mask lies on the boat"


def test_sam_alone_writes_masks_of_the_photo_size(folder: Path) -> None:
    said = run(folder, "sam_alone.py", "photos/shapes.png", "masks")
    assert [line.split(":")[0] for line in said.splitlines()] == ["box-left", "box-right", "points"]
    for name in ("box-left", "box-right", "points"):
        mask = np.asarray(Image.open(folder / f"masks/{name}.png"))
        assert mask.shape == (480, 640) and mask.any() and not mask.all()


def test_onnx_boxes_writes_the_masks_that_sam_does(folder: Path) -> None:
    pytest.importorskip("onnxruntime")
    import sam

    (folder / "onnx").mkdir()
    sam.export(sam.load("nano"), folder / "onnx")
    said = run(folder, "onnx_boxes.py", "photos/shapes.png", "onnx-masks", "onnx")
    assert [line.split(":")[0] for line in said.splitlines()] == ["left", "right"]
    pixels = np.asarray(Image.open(folder / "photos/shapes.png").convert("RGB"))
    model = sam.load("nano")
    predicted = model.predict(model.embed(pixels), boxes=[[0, 0, 320, 480], [320, 0, 640, 480]], multimask_output=True)
    predicted = replace(predicted, min_region_fraction=0.0)  # they are left to the reader of the files
    for name, masks, iou in zip(("left", "right"), predicted.masks(), predicted.predicted_iou, strict=True):
        ours = masks[iou.argmax()].numpy()
        theirs = np.asarray(Image.open(folder / f"onnx-masks/{name}.png"))
        assert theirs.shape == (480, 640)
        assert (ours & theirs).sum() > 0.99 * (ours | theirs).sum()


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_an_example_without_arguments_says_how_it_is_used(name: str, tmp_path: Path) -> None:
    assert run(tmp_path, name, fails=True).startswith("usage: ")
