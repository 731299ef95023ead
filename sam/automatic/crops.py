"""Where the mask generator looks: overlapping crops of an image and grids of points in each.

As `utils/amg.py` of https://github.com/facebookresearch/segment-anything lays them out.
"""

from __future__ import annotations

import math

import numpy as np

CropBox = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels, half-open


def point_grid(per_side: int) -> np.ndarray:
    """(per_side², 2) x, y in the unit square, row by row, half a step away from its edges."""
    steps = np.linspace(1 / (2 * per_side), 1 - 1 / (2 * per_side), per_side)
    x, y = np.meshgrid(steps, steps)
    return np.stack([x, y], axis=-1).reshape(-1, 2)


def point_grids(per_side: int, layers: int, downscale: int) -> list[np.ndarray]:
    """The grid of the whole image, then one for each layer of crops, `downscale` times coarser each."""
    return [point_grid(max(1, int(per_side / downscale**layer))) for layer in range(layers + 1)]


def crop_boxes(size: tuple[int, int], layers: int, overlap_ratio: float) -> tuple[list[CropBox], list[int]]:
    """Crops of an image of `size`, and the layer of each: the whole image, then 2 × 2, 4 × 4, ...

    Crops of the first layer overlap by `overlap_ratio` of the shorter side, those of the next by half
    of that, and so on. Crops that would hold no pixel, as in an image one pixel high, are left out.
    """
    height, width = size
    boxes: list[CropBox] = [(0, 0, width, height)]
    indexes = [0]
    for layer in range(1, layers + 1):
        count = 2**layer
        overlap = int(overlap_ratio * min(height, width) * (2 / count))
        across = math.ceil((overlap * (count - 1) + width) / count)
        down = math.ceil((overlap * (count - 1) + height) / count)
        for i in range(count):
            for j in range(count):
                x0, y0 = i * (across - overlap), j * (down - overlap)
                x1, y1 = min(x0 + across, width), min(y0 + down, height)
                if x0 < x1 and y0 < y1:
                    boxes.append((x0, y0, x1, y1))
                    indexes.append(layer)
    return boxes, indexes
