"""A detector of your own, here for red things: python custom_detector.py PHOTOS LABELS"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np

from samlabel import Category, Image, ModelInfo, Objects, auto_annotate


class RedThings:
    """One box around all that is red. Any object with these two members is a detector."""

    info = ModelInfo("red", categories=(Category(1, "red thing"),))

    def detect(self, images: Sequence[Image]) -> list[Objects]:
        return [self.find(image.pixels.astype(int)) for image in images]  # (H, W, 3) RGB each

    def find(self, pixels: np.ndarray) -> Objects:
        red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
        ys, xs = np.nonzero((red > 120) & (red > 2 * green) & (red > 2 * blue))
        if len(xs) == 0:
            return Objects.empty()
        box = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        return Objects(boxes=np.array([box]), category_ids=np.array([1]), scores=np.array([1.0]))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python custom_detector.py PHOTOS LABELS")
    summary = auto_annotate(sys.argv[1], output_dir=sys.argv[2], detector=RedThings())
    print(f"{summary.objects} red things in {summary.images} photos: {summary.outputs['coco']}")
    sys.exit(summary.exit_code)
