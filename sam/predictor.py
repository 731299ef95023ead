"""The predictor of `segment_anything`, name for name, for code that was written against it.

It keeps one image as state; `Sam.embed` and `Sam.predict` do the same with the embedding as a value.
https://github.com/facebookresearch/segment-anything/blob/main/segment_anything/predictor.py
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .errors import ImageError, NoImageSet, PromptError
from .prompts import Prompts
from .transforms import check_image, resize, resized, scale_coords, size_of, to_tensor

if TYPE_CHECKING:
    from .model import Embedding, Sam


class ResizeLongestSide:
    """Images and prompts brought to the frame that the model reads; sizes are (H, W)."""

    def __init__(self, target_length: int) -> None:
        self.target_length = target_length

    def apply_image(self, image: np.ndarray) -> np.ndarray:
        """(h, w, 3) uint8 from (H, W, 3) uint8."""
        return resize(image, self.target_length)

    def apply_coords(self, coords: np.ndarray, original_size: tuple[int, int]) -> np.ndarray:
        """x, y in the last axis, float64."""
        height, width = resized(original_size, self.target_length)
        return np.asarray(coords, dtype=np.float64) * [width / original_size[1], height / original_size[0]]

    def apply_boxes(self, boxes: np.ndarray, original_size: tuple[int, int]) -> np.ndarray:
        """(N, 4) XYXY."""
        return self.apply_coords(np.asarray(boxes).reshape(-1, 2, 2), original_size).reshape(-1, 4)

    def apply_image_torch(self, image: Tensor) -> Tensor:
        """(B, C, h, w) from float (B, C, H, W); close to `apply_image`, which is what the model learnt from."""
        size = resized(size_of(image), self.target_length)
        return F.interpolate(image, size, mode="bilinear", align_corners=False, antialias=True)

    def apply_coords_torch(self, coords: Tensor, original_size: tuple[int, int]) -> Tensor:
        """x, y in the last axis, float32."""
        return scale_coords(coords, original_size, resized(original_size, self.target_length)).float()

    def apply_boxes_torch(self, boxes: Tensor, original_size: tuple[int, int]) -> Tensor:
        """(N, 4) XYXY."""
        return self.apply_coords_torch(boxes.reshape(-1, 2, 2), original_size).reshape(-1, 4)

    @staticmethod
    def get_preprocess_shape(oldh: int, oldw: int, long_side_length: int) -> tuple[int, int]:
        """The size after the resize."""
        return resized((oldh, oldw), long_side_length)


class SamPredictor:
    """`set_image` once, then `predict` as often as wanted."""

    def __init__(self, sam_model: Sam) -> None:
        self.model = sam_model
        self.transform = ResizeLongestSide(sam_model.image_size)
        self.reset_image()

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    def reset_image(self) -> None:
        """Forgets the image."""
        self.embedding: Embedding | None = None

    @property
    def is_image_set(self) -> bool:
        """Whether there is an image to predict on."""
        return self.embedding is not None

    @property
    def features(self) -> Tensor | None:
        """The embedding (1, D, h, w) of the image, or None."""
        return None if self.embedding is None else self.embedding.features

    @property
    def original_size(self) -> tuple[int, int]:
        """(H, W) of the image."""
        return self._image().size

    @property
    def input_size(self) -> tuple[int, int]:
        """(h, w) of the image in the model's frame."""
        return self._image().input_size

    def _image(self) -> Embedding:
        if self.embedding is None:
            raise NoImageSet("no image is set; call set_image(image) before asking for masks")
        return self.embedding

    def set_image(self, image: np.ndarray, image_format: str = "RGB") -> None:
        """Encodes an (H, W, 3) uint8 image whose channels are in the order `image_format`: RGB or BGR."""
        if image_format not in ("RGB", "BGR"):
            raise ImageError(f"image_format is {image_format!r}; wanted 'RGB' or 'BGR'")
        pixels = check_image(image)
        if image_format != self.model.image_format:
            pixels = np.ascontiguousarray(pixels[..., ::-1])
        transformed = to_tensor(self.transform.apply_image(pixels), self.device)
        self.set_torch_image(transformed[None], pixels.shape[:2])

    def set_torch_image(self, transformed_image: Tensor, original_image_size: tuple[int, ...]) -> None:
        """Encodes a (1, 3, h, w) image, values 0 to 255, already resized as `transform` does it."""
        shape, side = tuple(transformed_image.shape), self.model.image_size
        if len(shape) != 4 or shape[:2] != (1, 3) or max(shape[2:]) != side:
            raise ImageError(f"transformed image has shape {shape}; wanted (1, 3, h, w) with its longest side {side}")
        self.reset_image()
        self.embedding = self.model.embed_torch(transformed_image, (original_image_size[0], original_image_size[1]))

    def predict(
        self,
        point_coords: np.ndarray | None = None,
        point_labels: np.ndarray | None = None,
        box: np.ndarray | None = None,
        mask_input: np.ndarray | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Masks (C, H, W) for one prompt, their predicted IoU (C,), and low-res logits (C, h, w).

        `point_coords` (P, 2) and `box` (4,) in pixels of the image, `point_labels` (P,),
        `mask_input` (1, h, w). Masks are boolean, or float with `return_logits`.
        """
        embedding = self._image()
        if box is not None:
            box = np.asarray(box)
            if box.size != 4:
                raise PromptError(f"box has shape {box.shape}; wanted x0 y0 x1 y1 (predict_torch takes many)")
            box = box.reshape(1, 4)

        def one(value: Any) -> np.ndarray | None:
            return None if value is None else np.asarray(value)[None]

        def first(values: Tensor) -> np.ndarray:
            return values[0].cpu().numpy()

        prediction = self.model.predict(
            embedding,
            point_coords=one(point_coords),
            point_labels=one(point_labels),
            boxes=box,
            mask_input=one(mask_input),
            multimask_output=multimask_output,
        )
        masks = prediction.logits() if return_logits else prediction.masks()
        return first(masks), first(prediction.predicted_iou), first(prediction.low_res_logits)

    def predict_torch(
        self,
        point_coords: Tensor | None,
        point_labels: Tensor | None,
        boxes: Tensor | None = None,
        mask_input: Tensor | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Masks (N, C, H, W) for N prompts, their predicted IoU (N, C), and low-res logits (N, C, h, w).

        `point_coords` (N, P, 2) and `boxes` (N, 4) are already in the model's frame (`transform`);
        `point_labels` (N, P), `mask_input` (N, 1, h, w).
        """
        embedding = self._image()
        if point_coords is None and boxes is None and mask_input is None:
            raise PromptError("no prompt: give point_coords with point_labels, boxes, or mask_input")
        if point_coords is not None and point_labels is None:
            raise PromptError("point_coords without point_labels; each point needs its label: 1 inside, 0 outside")
        prompts = Prompts(
            point_coords=None if point_coords is None else point_coords.to(self.device),
            point_labels=None if point_coords is None or point_labels is None else point_labels.to(self.device),
            boxes=None if boxes is None else boxes.to(self.device).reshape(-1, 4),
            mask_input=None if mask_input is None else mask_input.to(self.device, torch.float32),
        )
        prediction = self.model.decode(embedding, prompts, multimask_output=multimask_output)
        masks = prediction.logits() if return_logits else prediction.masks()
        return masks, prediction.predicted_iou, prediction.low_res_logits

    def get_image_embedding(self) -> Tensor:
        """The embedding (1, D, h, w) of the image."""
        return self._image().features
