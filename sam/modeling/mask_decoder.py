"""Masks and their predicted IoU from an image embedding and encoded prompts.

Segment Anything, appendix A "Lightweight mask decoder": https://arxiv.org/abs/2304.02643
Parameter names are those of the official checkpoints. High-resolution image features, added while
the mask is upscaled, follow SAM 2 (https://arxiv.org/abs/2408.00714, appendix D) and are used by
our nano variant alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from .layers import MLP, LayerNorm2d, Layers
from .transformer import TwoWayTransformer


class MaskDecoder(nn.Module):
    """One mask for an unambiguous prompt, and three for an ambiguous one, each with its predicted IoU."""

    def __init__(
        self,
        *,
        dim: int,
        transformer: TwoWayTransformer,
        multimask_outputs: int = 3,
        iou_head_depth: int = 3,
        iou_head_hidden: int = 256,
        upscaled_dims: Sequence[int] | None = None,
    ) -> None:
        """`upscaled_dims`: channels after each doubling of the resolution; default (D/4, D/8)."""
        super().__init__()
        first, *rest = upscaled_dims or (dim // 4, dim // 8)
        self.transformer = transformer
        self.mask_count = multimask_outputs + 1
        self.iou_token = nn.Embedding(1, dim)
        self.mask_tokens = nn.Embedding(self.mask_count, dim)
        layers: list[nn.Module] = [nn.ConvTranspose2d(dim, first, 2, stride=2), LayerNorm2d(first), nn.GELU()]
        for before, after in pairwise([first, *rest]):
            layers += [nn.ConvTranspose2d(before, after, 2, stride=2), nn.GELU()]
        self.output_upscaling = nn.Sequential(*layers)
        self.output_hypernetworks_mlps = Layers(MLP(dim, dim, (rest or [first])[-1], 3) for _ in range(self.mask_count))
        self.iou_prediction_head = MLP(dim, iou_head_hidden, self.mask_count, iou_head_depth)

    def forward(
        self,
        *,
        image_embedding: Tensor,
        image_pe: Tensor,
        sparse: Tensor,
        dense: Tensor,
        multimask_output: bool,
        high_res: Sequence[Tensor] = (),
    ) -> tuple[Tensor, Tensor]:
        """Low-res logits (N, C, s, s) and predicted IoU (N, C) for N prompts on one image.

        Args:
            image_embedding: (1, D, h, w), from the image encoder.
            image_pe: (1, D, h, w), the position of each of its cells, from `PromptEncoder.dense_pe`.
            sparse: (N, T, D) tokens of points and boxes, from the prompt encoder.
            dense: (N or 1, D, h, w), the mask prompts, or what stands for none.
            multimask_output: C is 3, the masks for ambiguous prompts; else 1, the mask for unambiguous ones.
            high_res: features (1, c, .., ..) from fine to coarse, one for each doubling, or none.
        """
        logits, iou = self.all_masks(
            image_embedding=image_embedding, image_pe=image_pe, sparse=sparse, dense=dense, high_res=high_res
        )
        chosen = slice(1, None) if multimask_output else slice(0, 1)
        return logits[:, chosen], iou[:, chosen]

    def all_masks(
        self,
        *,
        image_embedding: Tensor,
        image_pe: Tensor,
        sparse: Tensor,
        dense: Tensor,
        high_res: Sequence[Tensor] = (),
    ) -> tuple[Tensor, Tensor]:
        """The single mask followed by the three: logits (N, 4, s, s), predicted IoU (N, 4)."""
        count = sparse.shape[0]
        output = torch.cat([self.iou_token.weight, self.mask_tokens.weight])  # (5, D)
        tokens = torch.cat([output.expand(count, -1, -1), sparse], dim=1)  # (N, 5 + T, D)
        image = image_embedding + dense  # (1, ...) while no prompt brings a mask of its own
        tokens, image = self.transformer(image, image_pe, tokens)
        mask_tokens = tokens[:, 1 : 1 + self.mask_count]  # (N, 4, D)
        height, width = image_embedding.shape[-2:]
        upscaled = self.upscale(torch.unflatten(image.transpose(1, 2), 2, (height, width)), high_res)
        weights = torch.stack(
            [mlp(mask_tokens[:, i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)], dim=1
        )  # (N, 4, c)
        logits = torch.unflatten(weights @ upscaled.flatten(2), 2, upscaled.shape[-2:])  # (N, 4, s, s)
        return logits, self.iou_prediction_head(tokens[:, 0])

    def upscale(self, image: Tensor, high_res: Sequence[Tensor]) -> Tensor:
        """(N, c, s, s) from (N, D, h, w); a high-res feature is added after each transposed convolution."""
        features = list(high_res)  # fine to coarse, so the last one is the first to be added
        for layer in self.output_upscaling:
            image = layer(image)
            if features and isinstance(layer, nn.ConvTranspose2d):
                image = image + features.pop()
        return image


def good_prompts(iou: Tensor, min_predicted_iou: float | None) -> Tensor:
    """(N,) bool from predicted IoU (N, C): whether some mask of a prompt has more than `min_predicted_iou`."""
    if min_predicted_iou is None:
        return torch.ones(len(iou), dtype=torch.bool, device=iou.device)
    return (iou > min_predicted_iou).any(1)
