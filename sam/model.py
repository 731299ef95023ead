"""Segment Anything as two calls: `embed(image)` once, then `predict(embedding, ...)` for any prompts.

Kirillov et al., "Segment Anything": https://arxiv.org/abs/2304.02643
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from .cpu.fused_decoder import FusedMaskDecoder
from .errors import PromptError
from .masks.bilinear import Frame
from .masks.from_logits import masks_from_logits
from .masks.small_regions import remove_small_regions
from .modeling.mask_decoder import good_prompts
from .prompts import Prompts, check_prompts
from .transforms import check_image, normalise_and_pad, resize, size_of, to_original, to_tensor

if TYPE_CHECKING:
    from PIL.Image import Image

    from .masks.rle import RleMask
    from .registry import Variant

_CELLS_AT_ONCE = 2**14  # of the image embedding, prompts times cells: what the decoder works on at one time on a CPU
_LOGITS_AT_ONCE = 2**25  # 128 MiB of float32: the full-size logits that masks are cut from at one time


@dataclass(frozen=True, eq=False)
class Embedding:
    """What the encoder saw in one image; pass it to `Sam.predict` as often as you like."""

    features: Tensor  # (1, D, h, w), one cell for 16 x 16 input pixels
    high_res: tuple[Tensor, ...]  # (1, c, .., ..) from fine to coarse; empty for the official variants
    size: tuple[int, int]  # (H, W) of the image
    input_size: tuple[int, int]  # (h, w) after the resize, before the padding
    variant: str  # the name of the model that made it


@dataclass(frozen=True, eq=False)
class Prediction:
    """N prompts' masks: C each, 1 or with `multimask_output` 3."""

    low_res_logits: Tensor  # (N, C, h, w), of the padded square; good as a later `mask_input` if h, w fit
    predicted_iou: Tensor  # (N, C), the model's own estimate of each mask's IoU with the truth
    size: tuple[int, int]  # (H, W) of the image
    input_size: tuple[int, int]  # (h, w) of the image inside the padded square
    image_size: int  # side of the padded square
    mask_threshold: float = 0.0
    prompts: Tensor | None = None  # (N,) int64, which of the prompts these are, where poor ones were left out
    min_region_fraction: float = 0.0  # holes and islands of a smaller part of a mask's area are noise and removed

    def __len__(self) -> int:
        return len(self.low_res_logits)

    def logits(self) -> Tensor:
        """Logits (N, C, H, W) at the image's own size, float32: 4 bytes a pixel and mask."""
        low = self._without_small_regions(self.low_res_logits)
        return to_original(low, side=self.image_size, input_size=self.input_size, size=self.size)

    def masks(self) -> Tensor:
        """Boolean masks (N, C, H, W) at the image's own size: 1 byte a pixel and mask."""
        low = self._without_small_regions(self.low_res_logits.flatten(0, 1)[:, None])  # (N * C, 1, h, w)
        masks = torch.empty(len(low), 1, *self.size, dtype=torch.bool, device=low.device)
        step = max(1, _LOGITS_AT_ONCE // max(self.size[0] * self.size[1], self.image_size**2))
        for some, out in zip(torch.split(low, step), torch.split(masks, step), strict=True):
            logits = to_original(some, side=self.image_size, input_size=self.input_size, size=self.size)
            torch.gt(logits, self.mask_threshold, out=out)
        return masks.view(*self.low_res_logits.shape[:2], *self.size)

    def rles(self, index: Tensor | None = None, *, stability_offset: float | None = None) -> Iterator[RleMask]:
        """The masks as run lengths with area and box, prompt by prompt: the same as `masks()`, but no pixel is made.

        `index` picks some of the N * C masks: C * prompt + mask. With `stability_offset` each has its stability
        score. Time and memory follow the length of the masks' edges, not the size of the image.
        """
        low = self.low_res_logits.flatten(0, 1)
        low = self._without_small_regions(low if index is None else low[index])
        frame = Frame(size_of(low), self.image_size, self.input_size, self.size)
        logits = low.detach().float().cpu().numpy()
        return masks_from_logits(logits, frame, threshold=self.mask_threshold, stability_offset=stability_offset)

    def _without_small_regions(self, low: Tensor) -> Tensor:
        if not self.min_region_fraction:
            return low
        return remove_small_regions(low, self.min_region_fraction, threshold=self.mask_threshold)


class Sam(nn.Module):
    """An image encoder, a prompt encoder and a mask decoder; made by `sam.load`."""

    mask_threshold: float = 0.0
    image_format: str = "RGB"

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.variant = variant
        self.image_encoder, self.prompt_encoder, self.mask_decoder = variant.build()
        self.dtype = torch.float32  # that encoder and decoder compute in
        self.compiled: Callable[[Tensor], tuple[Tensor, ...]] | None = None  # runs in place of `image_encoder`
        self.pixel_mean: Tensor
        self.pixel_std: Tensor
        self.register_buffer("pixel_mean", torch.tensor(variant.pixel_mean).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(variant.pixel_std).view(3, 1, 1), persistent=False)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.pixel_mean.device

    @property
    def image_size(self) -> int:
        """Side in pixels of the padded square that the encoder reads."""
        return self.variant.image_size

    @property
    def backend(self) -> str:
        """What runs the image encoder: torch or openvino."""
        return "torch" if self.compiled is None else "openvino"

    def compile_encoder(self, dtype: torch.dtype) -> None:
        """From now on OpenVINO runs the image encoder; `BackendError` where it is not installed."""
        from .cpu.openvino import OpenVinoEncoder

        self.compiled = OpenVinoEncoder(self.image_encoder, self.image_size, dtype)

    @torch.no_grad()
    def forward(self, batched_input: list[dict[str, Any]], multimask_output: bool) -> list[dict[str, Tensor]]:
        """What `segment_anything`'s `Sam` gives: `masks`, `iou_predictions`, `low_res_logits` for each image.

        An input holds `image` (3, h, w), resized, values 0 to 255; `original_size`; and prompts in
        pixels of the resized image: `point_coords` and `point_labels`, `boxes`, `mask_inputs`.
        """
        results = []
        for record in batched_input:
            embedding = self.embed_torch(record["image"][None], tuple(record["original_size"]))
            same = ("point_coords", "point_labels", "boxes")
            given = {key: record[key] for key in same if record.get(key) is not None}
            if record.get("mask_inputs") is not None:
                given["mask_input"] = record["mask_inputs"]
            if not given:
                raise PromptError(f"no prompt in {sorted(record)}; wanted point_coords, boxes or mask_inputs")
            prediction = self.decode(embedding, Prompts(**given), multimask_output=multimask_output)
            results.append(
                {
                    "masks": prediction.masks(),
                    "iou_predictions": prediction.predicted_iou,
                    "low_res_logits": prediction.low_res_logits,
                }
            )
        return results

    def preprocess(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S), normalised and padded, from resized RGB values 0 to 255 of shape (B, 3, h, w)."""
        return normalise_and_pad(pixels, mean=self.pixel_mean, std=self.pixel_std, side=self.image_size)

    def embed(self, image: np.ndarray | Image) -> Embedding:
        """The embedding of one image: (H, W, 3) uint8 RGB, or PIL of mode RGB. Raises `ImageError`."""
        return self.embed_batch([image])[0]

    @torch.no_grad()
    def embed_batch(self, images: Sequence[np.ndarray | Image]) -> list[Embedding]:
        """One embedding an image, in order, from one pass of the encoder; sizes may differ."""
        if not images:
            return []
        arrays = [check_image(image) for image in images]
        inputs = [to_tensor(resize(array, self.image_size), self.device) for array in arrays]
        batch = torch.cat([self.preprocess(pixels[None]) for pixels in inputs])  # (B, 3, S, S)
        sizes = [(array.shape[0], array.shape[1]) for array in arrays]
        return self._split(self._encode(batch), sizes, [size_of(pixels) for pixels in inputs])

    @torch.no_grad()
    def embed_torch(self, pixels: Tensor, size: tuple[int, int]) -> Embedding:
        """The embedding of resized RGB values 0 to 255 (1, 3, h, w) of an image of `size`."""
        outputs = self._encode(self.preprocess(pixels.to(self.device)))
        return self._split(outputs, [(size[0], size[1])], [size_of(pixels)])[0]

    def _encode(self, batch: Tensor) -> list[Tensor]:
        """What the encoder makes of (B, 3, S, S), float32."""
        outputs = self.image_encoder(batch.to(self.dtype)) if self.compiled is None else self.compiled(batch)
        return [output.float() for output in outputs]

    def _split(
        self, outputs: Sequence[Tensor], sizes: list[tuple[int, int]], input_sizes: list[tuple[int, int]]
    ) -> list[Embedding]:
        def one(tensor: Tensor, i: int) -> Tensor:
            # A slice would keep the whole batch alive for as long as one image's embedding lives.
            return tensor if len(sizes) == 1 else tensor[i : i + 1].clone()

        return [
            Embedding(one(outputs[0], i), tuple(one(o, i) for o in outputs[1:]), size, input_size, self.variant.name)
            for i, (size, input_size) in enumerate(zip(sizes, input_sizes, strict=True))
        ]

    def predict(
        self,
        embedding: Embedding,
        *,
        boxes: Any = None,
        point_coords: Any = None,
        point_labels: Any = None,
        mask_input: Any = None,
        multimask_output: bool = False,
        batch_size: int = 16,
        min_predicted_iou: float | None = None,
    ) -> Prediction:
        """Masks for N prompts on one image, in order.

        Kinds of prompts may be combined; each then has N entries.

        Args:
            embedding: what `embed` gave for the image.
            boxes: (N, 4) XYXY, in pixels of the image: one object each.
            point_coords: (N, P, 2) x, y, in pixels of the image.
            point_labels: (N, P): 1 is a point on the object, 0 one beside it, -1 no point, which fills rows up.
            mask_input: (N, 1, h, w) low-res logits of an earlier prediction, to be refined.
            multimask_output: three masks a prompt in place of one. For an ambiguous prompt, such as a single point,
                the best of three by predicted IoU is often better than the one; for several points or a box, one does.
            batch_size: prompts decoded at a time, which bounds memory and changes no result.
            min_predicted_iou: where given, prompts without a mask of a higher predicted IoU are left out before their
                logits are made; `Prediction.prompts` says which stay.

        Raises:
            PromptError: a prompt of the wrong shape, outside the numbers, or an embedding of another model.
        """
        if embedding.variant != self.variant.name:
            raise PromptError(f"embedding of {embedding.variant}, model {self.variant.name}; embed with this model")
        if batch_size < 1:
            raise PromptError(f"batch_size is {batch_size}; wanted 1 or more")
        prompts = check_prompts(
            size=embedding.size,
            input_size=embedding.input_size,
            mask_input_size=self.variant.mask_input_size,
            device=self.device,
            boxes=boxes,
            point_coords=point_coords,
            point_labels=point_labels,
            mask_input=mask_input,
        )
        return self.decode(
            embedding,
            prompts,
            multimask_output=multimask_output,
            batch_size=batch_size,
            min_predicted_iou=min_predicted_iou,
        )

    @torch.no_grad()
    def decode(
        self,
        embedding: Embedding,
        prompts: Prompts,
        *,
        multimask_output: bool,
        batch_size: int = 16,
        min_predicted_iou: float | None = None,
    ) -> Prediction:
        """Masks for prompts that are already in pixels of the padded square, unchecked."""
        count = len(prompts)
        if count == 0:  # run one dummy prompt to get output shapes
            prompts = prompts.dummy()
        if self.device.type == "cpu":  # few enough to stay in its cache
            batch_size = max(1, min(batch_size, _CELLS_AT_ONCE // embedding.features[0, 0].numel()))
        masks = self._masks_of(embedding)
        logits, iou, kept = [], [], []
        for chunk in prompts.chunks(batch_size):
            sparse, dense = self.prompt_encoder(**chunk.tensors())
            low, quality, good = masks(
                sparse, dense, multimask_output=multimask_output, min_predicted_iou=min_predicted_iou
            )
            logits.append(low)
            iou.append(quality)
            kept.append(good)
        return Prediction(
            low_res_logits=(logits[0] if len(logits) == 1 else torch.cat(logits))[:count],
            predicted_iou=(iou[0] if len(iou) == 1 else torch.cat(iou))[:count],
            size=embedding.size,
            input_size=embedding.input_size,
            image_size=self.image_size,
            mask_threshold=self.mask_threshold,
            prompts=None if min_predicted_iou is None else torch.cat(kept)[:count].nonzero().flatten(),
            min_region_fraction=self.variant.min_region_fraction,
        )

    def _masks_of(self, embedding: Embedding) -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
        """`ImageDecoder.masks` for one image: of the decoder's twin, or by the plain decoder."""
        decoder, positions = self.mask_decoder, self.prompt_encoder.dense_pe()
        if isinstance(decoder, FusedMaskDecoder):
            return decoder.for_image(embedding.features, positions, embedding.high_res).masks

        def number(x: Tensor) -> Tensor:
            return x if self.dtype == torch.float32 else x.to(self.dtype)

        def masks(
            sparse: Tensor, dense: Tensor, *, multimask_output: bool, min_predicted_iou: float | None
        ) -> tuple[Tensor, Tensor, Tensor]:
            logits, iou = decoder(
                image_embedding=number(embedding.features),
                image_pe=number(positions),
                sparse=number(sparse),
                dense=number(dense),
                multimask_output=multimask_output,
                high_res=[number(feature) for feature in embedding.high_res],
            )
            good = good_prompts(iou, min_predicted_iou)
            return logits[good].float(), iou[good].float(), good

        return masks
