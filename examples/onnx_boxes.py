"""Masks for boxes without torch, from files of `samlabel export`: python onnx_boxes.py PHOTO OUT_FOLDER ONNX_FOLDER"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image


def main(photo: str, out: str, models: str) -> None:
    encoder = onnxruntime.InferenceSession(Path(models) / "encoder.onnx", providers=["CPUExecutionProvider"])
    decoder = onnxruntime.InferenceSession(Path(models) / "decoder.onnx", providers=["CPUExecutionProvider"])
    says = encoder.get_modelmeta().custom_metadata_map
    side = int(says["image_size"])
    mean, std = (np.array(says[name].split(), dtype=np.float32) for name in ("pixel_mean", "pixel_std"))

    # The longest side becomes `side`; normalised; zeros fill the square on the right and below.
    image = Image.open(photo).convert("RGB")
    scale = side / max(image.size)
    width, height = (max(1, int(length * scale + 0.5)) for length in image.size)
    small = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float32)
    square = np.zeros((1, 3, side, side), dtype=np.float32)
    square[0, :, :height, :width] = ((small - mean) / std).transpose(2, 0, 1)
    names = [output.name for output in encoder.get_outputs()]
    embedding = dict(zip(names, encoder.run(None, {"image": square}), strict=True))  # the slow part, once an image

    # The left and the right half, x0 y0 x1 y1 in pixels of the photo; in the square a box is two points.
    across, down = image.size
    boxes = np.array([[0, 0, across / 2, down], [across / 2, 0, across, down]], dtype=np.float32)
    corners = boxes.reshape(-1, 2, 2) * np.array([width / across, height / down], dtype=np.float32)
    mask_input = next(one for one in decoder.get_inputs() if one.name == "mask_input")
    prompts = {
        "point_coords": corners.astype(np.float32),
        "point_labels": np.full((len(boxes), 2), [2, 3], dtype=np.float32),
        "mask_input": np.zeros((1, *mask_input.shape[1:]), dtype=np.float32),
        "has_mask_input": np.zeros(1, dtype=np.float32),
        "orig_im_size": np.array([down, across], dtype=np.float32),
    }
    masks, quality = decoder.run(["masks", "iou_predictions"], {**embedding, **prompts})

    Path(out).mkdir(parents=True, exist_ok=True)
    for name, logits, scores in zip(("left", "right"), masks, quality, strict=True):
        mask = logits[scores.argmax()] > float(says["mask_threshold"])
        Image.fromarray(mask).save(Path(out) / f"{name}.png")
        print(f"{name}: {int(mask.sum())} pixels")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: python onnx_boxes.py PHOTO OUT_FOLDER ONNX_FOLDER")
    main(*sys.argv[1:])
