"""The predictor alone, without samlabel: python sam_alone.py PHOTO OUT_FOLDER [VARIANT CHECKPOINT]"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

import sam


def main(photo: str, out: str, variant: str = "nano", checkpoint: str | None = None) -> None:
    model = sam.load(variant, checkpoint=checkpoint)
    pixels = np.asarray(Image.open(photo).convert("RGB"))
    height, width = pixels.shape[:2]
    embedding = model.embed(pixels)  # the slow part, once an image

    # Two boxes, x0 y0 x1 y1 in pixels of the photo: its left and its right half.
    boxes = [[0, 0, width / 2, height], [width / 2, 0, width, height]]
    by_box = model.predict(embedding, boxes=boxes)

    # One prompt of two points: 1 is inside the object, 0 is outside; three masks to choose from.
    points = [[[width * 0.75, height * 0.86], [width * 0.05, height * 0.05]]]
    by_point = model.predict(embedding, point_coords=points, point_labels=[[1, 0]], multimask_output=True)
    best = int(by_point.predicted_iou[0].argmax())

    Path(out).mkdir(parents=True, exist_ok=True)
    masks = {
        "box-left": by_box.masks()[0, 0],
        "box-right": by_box.masks()[1, 0],
        "points": by_point.masks()[0, best],
    }
    for name, mask in masks.items():
        Image.fromarray(mask.cpu().numpy()).save(Path(out) / f"{name}.png")
        print(f"{name}: {int(mask.sum())} pixels")


if __name__ == "__main__":
    if len(sys.argv) not in (3, 5):
        sys.exit("usage: python sam_alone.py PHOTO OUT_FOLDER [VARIANT CHECKPOINT]")
    main(*sys.argv[1:])
