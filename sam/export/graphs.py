"""The two halves of a `Sam` as modules of plain tensors, in the form that an ONNX graph can hold.

Inputs and outputs carry the names of the decoder that Segment Anything itself exports
(https://github.com/facebookresearch/segment-anything, `utils/onnx.py`), with one difference: here
the first axis of the prompts is N, so that one call serves all boxes of an image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..automatic.scoring import stability_score

if TYPE_CHECKING:
    from ..model import Sam

STABILITY_OFFSET = 1.0
BOX_START, BOX_END = 2, 3  # labels of a box's corners among the points


class EncoderGraph(nn.Module):
    """The embedding (1, D, h, w) of a normalised and padded image (1, 3, S, S), then high-res features if any."""

    def __init__(self, model: Sam) -> None:
        super().__init__()
        self.image_encoder = model.image_encoder

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.image_encoder(image))


class DecoderGraph(nn.Module):
    """Masks for N prompts on one image.

    `point_coords` (N, P, 2) are pixels of the padded square; `point_labels` (N, P): 1 inside, 0 outside,
    -1 no point, 2 and 3 the corners of a box. A prompt without a box ends with one point of label -1,
    as the model was trained. `mask_input` (N or 1, 1, s, s) counts where `has_mask_input` (1,) is 1.
    """

    def __init__(self, model: Sam, *, multimask_output: bool, stability: bool, upscale: bool) -> None:
        super().__init__()
        self.prompt_encoder = model.prompt_encoder
        self.mask_decoder = model.mask_decoder
        self.side = model.image_size
        self.threshold = model.mask_threshold
        self.multimask_output = multimask_output
        self.stability = stability
        self.upscale = upscale

    def forward(
        self,
        image_embeddings: Tensor,
        high_res: tuple[Tensor, ...],
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
        orig_im_size: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """`masks` (N, C, H, W) logits, unless low-res alone is wanted; `iou_predictions` (N, C); `low_res_masks`
        (N, C, s, s) logits of the padded square; with `stability`, `stability_scores` (N, C).
        """
        sparse = self._sparse(point_coords, point_labels)
        dense = self._dense(point_coords, point_labels, mask_input, has_mask_input)
        low, iou = self.mask_decoder(
            image_embedding=image_embeddings,
            image_pe=self.prompt_encoder.dense_pe(),
            sparse=sparse,
            dense=dense.expand(sparse.shape[0], -1, -1, -1),
            multimask_output=self.multimask_output,
            high_res=high_res,
        )
        outputs = [iou, low]
        judged = low
        if self.upscale:
            assert orig_im_size is not None, "masks at the size of the image need that size"
            judged = self._to_original(low, orig_im_size)
            outputs.insert(0, judged)
        if self.stability:
            outputs.append(stability_score(judged, self.threshold, STABILITY_OFFSET))
        return tuple(outputs)

    def _sparse(self, coords: Tensor, labels: Tensor) -> Tensor:
        encoder = self.prompt_encoder
        tokens = encoder.pe_layer((coords + 0.5) / self.side)  # (N, P, D)
        label = labels[..., None]
        tokens = torch.where(label == -1, encoder.not_a_point_embed.weight, tokens)
        for value, embedding in enumerate(encoder.point_embeddings):
            tokens = tokens + (label == value).to(tokens) * embedding.weight
        return tokens

    def _dense(self, coords: Tensor, labels: Tensor, mask_input: Tensor, has_mask_input: Tensor) -> Tensor:
        encoder = self.prompt_encoder
        if mask_input.shape[-1] != encoder.mask_size:
            mask_input = F.adaptive_avg_pool2d(mask_input, encoder.mask_size)
        without = encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
        dense = has_mask_input * encoder.mask_downscaling(mask_input) + (1 - has_mask_input) * without
        # Where there is no box these sums are 0, and a box from 0 to 0 covers nothing.
        start, end = ((coords * (labels == corner)[..., None].to(coords)).sum(1) for corner in (BOX_START, BOX_END))
        drawn = encoder.draw(
            boxes=torch.cat([start, end], dim=1), point_coords=coords, point_labels=labels, side=self.side
        )
        return dense if drawn is None else dense + drawn

    def _to_original(self, low: Tensor, size: Tensor) -> Tensor:
        """As `transforms.to_original`, with sizes that are known only when the graph runs."""
        size = size.double()  # float32 would round some sizes to the other side of a half
        inside = torch.floor(size * (self.side / size.max()) + 0.5).clamp(min=1).long()
        square = F.interpolate(low, (self.side, self.side), mode="bilinear", align_corners=False)
        square = square[..., : inside[0], : inside[1]]
        height, width = size.long()
        return F.interpolate(square, (height, width), mode="bilinear", align_corners=False)
