"""Masks for everything in an image, from a grid of point prompts and no other input.

Segment Anything, appendix B "Automatic mask generation details" (https://arxiv.org/abs/2304.02643),
with the options, results and order of its `SamAutomaticMaskGenerator`. Prompts may also be a detector's
boxes, one mask each: "object-aware" sampling, MobileSAMv2 (https://arxiv.org/abs/2312.09579).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..errors import ImageError, PromptError, SamError
from ..masks import rle
from ..transforms import check_image
from .crops import CropBox, crop_boxes
from .crops import point_grids as build_point_grids
from .filters import Found, best, suppress, without_background, without_duplicates, without_parts
from .scoring import inclusive, near_crop_edge

if TYPE_CHECKING:
    from ..model import Embedding, Prediction, Sam

OUTPUT_MODES = ("binary_mask", "uncompressed_rle", "coco_rle")


class SamAutomaticMaskGenerator:
    """Finds the masks of an image; options as in Segment Anything, checked when it is made.

    `point_grids` (one (P, 2) array of x, y in the unit square a crop layer) replaces `points_per_side`,
    which then must be None. `min_mask_region_area` fills holes and drops islands smaller than that.

    Without `pred_iou_thresh` and `stability_score_thresh` the variant's own apply: 0.88 and 0.95 for
    Segment Anything's. Beyond the original, and off unless asked for: of two masks whose IoU is above `mask_nms_thresh`
    the better one stays; a mask of which more than `containment_thresh` lies inside a larger one goes;
    so does one over more than `max_image_share` of the image, or `max_border_share` of the pixels along
    its edge, which is what a background does; and `max_masks` keeps the best.
    """

    def __init__(
        self,
        model: Sam,
        points_per_side: int | None = 32,
        points_per_batch: int = 64,
        pred_iou_thresh: float | None = None,
        stability_score_thresh: float | None = None,
        stability_score_offset: float = 1.0,
        box_nms_thresh: float = 0.7,
        crop_n_layers: int = 0,
        crop_nms_thresh: float = 0.7,
        crop_overlap_ratio: float = 512 / 1500,
        crop_n_points_downscale_factor: int = 1,
        point_grids: Sequence[np.ndarray] | None = None,
        min_mask_region_area: int = 0,
        output_mode: str = "binary_mask",
        *,
        mask_nms_thresh: float = 1.0,
        containment_thresh: float = 1.0,
        max_image_share: float = 1.0,
        max_border_share: float = 1.0,
        max_masks: int | None = None,
    ) -> None:
        if (points_per_side is None) == (point_grids is None):
            raise SamError("wanted exactly one of points_per_side and point_grids; one of them must be None")
        if output_mode not in OUTPUT_MODES:
            raise SamError(f"unknown output_mode {output_mode!r}; known: {', '.join(OUTPUT_MODES)}")
        if points_per_side is not None:
            if points_per_side < 1 or crop_n_points_downscale_factor < 1:
                raise SamError("points_per_side and crop_n_points_downscale_factor must be 1 or more")
            point_grids = build_point_grids(points_per_side, crop_n_layers, crop_n_points_downscale_factor)
        assert point_grids is not None
        if len(point_grids) <= crop_n_layers:
            raise SamError(f"{len(point_grids)} point grids for {crop_n_layers + 1} layers; wanted one for each")
        if points_per_batch < 1:
            raise SamError(f"points_per_batch is {points_per_batch}; wanted 1 or more")
        if max_masks is not None and max_masks < 1:
            raise SamError(f"max_masks is {max_masks}; wanted 1 or more, or None for all")
        self.model = model
        self.point_grids = [np.asarray(grid, dtype=np.float64).reshape(-1, 2) for grid in point_grids]
        self.points_per_batch = points_per_batch
        own = model.variant
        self.pred_iou_thresh = own.pred_iou_thresh if pred_iou_thresh is None else pred_iou_thresh
        self.stability_score_thresh = (
            own.stability_score_thresh if stability_score_thresh is None else stability_score_thresh
        )
        self.stability_score_offset = stability_score_offset
        self.box_nms_thresh = box_nms_thresh
        self.crop_n_layers = crop_n_layers
        self.crop_nms_thresh = crop_nms_thresh
        self.crop_overlap_ratio = crop_overlap_ratio
        self.min_mask_region_area = min_mask_region_area
        self.output_mode = output_mode
        self.mask_nms_thresh = mask_nms_thresh
        self.containment_thresh = containment_thresh
        self.max_image_share = max_image_share
        self.max_border_share = max_border_share
        self.max_masks = max_masks

    @property
    def _min_predicted_iou(self) -> float | None:
        """The predicted IoU that a mask must exceed; what does not is dropped before it is decoded to the end."""
        return self.pred_iou_thresh if self.pred_iou_thresh > 0 else None

    @torch.no_grad()
    def generate(
        self, image: np.ndarray, embedding: Embedding | None = None, boxes: Any = None
    ) -> list[dict[str, Any]]:
        """One record a mask: `segmentation` (by `output_mode`), `area`, `bbox`, `predicted_iou`,
        `point_coords`, `stability_score`, `crop_box`; boxes are x, y, width, height in pixels.

        `image` is (H, W, 3) uint8 RGB; `embedding`, when it is at hand, is that of the whole image.
        `bbox` counts whole pixels, so one pixel is 1 × 1; Segment Anything's own is one less in both.
        `boxes` (N, 4) XYXY, say a detector's, prompt one mask each instead of the grid, without crops;
        their records have no point and a `prompt_box`.
        """
        pixels = check_image(image)
        size = (pixels.shape[0], pixels.shape[1])
        if embedding is not None and embedding.size != size:
            raise ImageError(f"the embedding is of an image of size {embedding.size}, not {size}; embed this one")
        found = self._in_crops(pixels, embedding) if boxes is None else self._in_boxes(pixels, embedding, boxes)
        if self.min_mask_region_area > 0:
            found = self._without_small_regions(found, size)
        return [self._record(one, size) for one in self._chosen(found, size)]

    def _in_crops(self, pixels: np.ndarray, embedding: Embedding | None) -> list[Found]:
        """What the grids of points find in the image and its crops, duplicates removed."""
        found: list[Found] = []
        size = (pixels.shape[0], pixels.shape[1])
        boxes, layers = crop_boxes(size, self.crop_n_layers, self.crop_overlap_ratio)
        for box, layer in zip(boxes, layers, strict=True):
            found += self._in_crop(pixels, box, self.point_grids[layer], embedding)
            embedding = None  # the first crop is the whole image; the others are encoded on their own
        if len(boxes) > 1:
            # Of masks of one object the one from the smallest crop is the sharpest.
            areas = torch.tensor([(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (one.crop_box for one in found)])
            found = suppress(found, 1 / areas, self.crop_nms_thresh)
        return found

    def _in_boxes(self, pixels: np.ndarray, embedding: Embedding | None, boxes: Any) -> list[Found]:
        """One mask a box where it is good enough, duplicates removed."""
        boxes = np.asarray(boxes, dtype=np.float64)
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise PromptError(f"boxes has shape {boxes.shape}; wanted (N, 4) XYXY")
        if embedding is None:
            embedding = self.model.embed(pixels)
        whole = (0, 0, pixels.shape[1], pixels.shape[0])
        found: list[Found] = []
        for start in range(0, len(boxes), self.points_per_batch):
            some = boxes[start : start + self.points_per_batch]
            prediction = self.model.predict(embedding, boxes=some, min_predicted_iou=self._min_predicted_iou)
            for i, one in self._good(prediction, whole, pixels.shape):
                found.append(replace(one, prompt_box=tuple(some[i].tolist())))
        return suppress(found, torch.tensor([one.predicted_iou for one in found]), self.box_nms_thresh)

    def _chosen(self, found: list[Found], size: tuple[int, int]) -> list[Found]:
        """`found` without what the options beyond the original remove."""
        if self.max_image_share < 1 or self.max_border_share < 1:
            found = without_background(found, size, self.max_image_share, self.max_border_share)
        if self.mask_nms_thresh < 1:
            found = without_duplicates(found, size, self.mask_nms_thresh)
        if self.containment_thresh < 1:
            found = without_parts(found, size, self.containment_thresh)
        return found if self.max_masks is None else best(found, self.max_masks)

    def _in_crop(
        self, pixels: np.ndarray, crop_box: CropBox, grid: np.ndarray, embedding: Embedding | None
    ) -> list[Found]:
        """What one crop shows, duplicates removed."""
        x0, y0, x1, y1 = crop_box
        if embedding is None:
            embedding = self.model.embed(pixels[y0:y1, x0:x1])
        points = grid * np.array([x1 - x0, y1 - y0])
        found: list[Found] = []
        for start in range(0, len(points), self.points_per_batch):
            some = points[start : start + self.points_per_batch]
            prediction = self.model.predict(
                embedding,
                point_coords=some[:, None],
                point_labels=np.ones((len(some), 1), dtype=np.int64),
                multimask_output=True,
                min_predicted_iou=self._min_predicted_iou,
            )
            for i, one in self._good(prediction, crop_box, pixels.shape):
                found.append(replace(one, point=(float(some[i, 0]) + x0, float(some[i, 1]) + y0)))
        return suppress(found, torch.tensor([one.predicted_iou for one in found]), self.box_nms_thresh)

    def _good(self, prediction: Prediction, crop_box: CropBox, shape: tuple[int, ...]) -> Iterator[tuple[int, Found]]:
        """The good masks of a batch of prompts with the number of their prompt."""
        size, (x0, y0, *_) = (shape[0], shape[1]), crop_box
        masks_each = prediction.predicted_iou.shape[1]
        iou = prediction.predicted_iou.flatten()
        promising = torch.arange(len(iou), device=iou.device)
        if self._min_predicted_iou is not None:
            promising = promising[iou > self._min_predicted_iou]
        prompts = range(len(prediction)) if prediction.prompts is None else prediction.prompts.tolist()
        masks = prediction.rles(promising, stability_offset=self.stability_score_offset)
        for i, mask in zip(promising.tolist(), masks, strict=True):
            assert mask.stability_score is not None
            if mask.stability_score < self.stability_score_thresh:
                continue
            box = inclusive(mask.box)
            if near_crop_edge(torch.tensor([box]), crop_box, size)[0]:
                continue
            yield (
                prompts[i // masks_each],
                Found(
                    runs=rle.placed(mask.runs, mask.size, (x0, y0), size),
                    box=(box[0] + x0, box[1] + y0, box[2] + x0, box[3] + y0),
                    predicted_iou=float(iou[i]),
                    stability=mask.stability_score,
                    crop_box=crop_box,
                ),
            )

    def _without_small_regions(self, found: list[Found], size: tuple[int, int]) -> list[Found]:
        """`found` with small holes filled, small islands dropped, and what became a duplicate removed."""
        cleaned, untouched = [], []
        for one in found:
            mask, changed = clean(rle.to_pixels(one.runs, size), self.min_mask_region_area)
            if changed:
                runs = rle.to_runs(mask)
                one = replace(one, runs=runs, box=inclusive(rle.box(runs, size)))
            cleaned.append(one)
            untouched.append(float(not changed))
        return suppress(cleaned, torch.tensor(untouched), max(self.box_nms_thresh, self.crop_nms_thresh))

    def _record(self, one: Found, size: tuple[int, int]) -> dict[str, Any]:
        x0, y0, x1, y1 = one.box
        area = rle.area(one.runs)
        crop_x0, crop_y0, crop_x1, crop_y1 = one.crop_box
        if self.output_mode == "binary_mask":
            segmentation: Any = rle.to_pixels(one.runs, size)
        elif self.output_mode == "coco_rle":
            segmentation = rle.compressed(one.runs, size)
        else:
            segmentation = rle.uncompressed(one.runs, size)
        record = {
            "segmentation": segmentation,
            "area": area,
            "bbox": [x0, y0, x1 - x0 + 1, y1 - y0 + 1] if area else [0, 0, 0, 0],
            "predicted_iou": one.predicted_iou,
            "point_coords": [] if one.point is None else [list(one.point)],
            "stability_score": one.stability,
            "crop_box": [crop_x0, crop_y0, crop_x1 - crop_x0, crop_y1 - crop_y0],
        }
        if one.prompt_box is not None:
            box_x0, box_y0, box_x1, box_y1 = one.prompt_box
            record["prompt_box"] = [box_x0, box_y0, box_x1 - box_x0, box_y1 - box_y0]
        return record


def clean(mask: np.ndarray, min_area: int) -> tuple[np.ndarray, bool]:
    """`mask` with holes and islands of fewer than `min_area` pixels removed, and whether it changed.

    When every island is small, the largest stays.
    """
    import cv2

    _, regions, stats, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=8)
    holes = [i for i in range(1, len(stats)) if stats[i, cv2.CC_STAT_AREA] < min_area]
    if holes:
        mask = mask | np.isin(regions, holes)
    _, regions, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    small = areas < min_area
    if small.any():
        kept = np.flatnonzero(~small) if not small.all() else [int(areas.argmax())]
        mask = np.isin(regions, np.asarray(kept) + 1)
    return mask, bool(holes) or bool(small.any())
