"""The segmenter in training, and what it is told about each batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sam.modeling.mask_decoder import MaskDecoder
from sam.variants.nano import IMAGE_SIZE, NanoPromptEncoder, build

from .losses import around, iou_loss, mask_losses
from .prompts import corrective_points, noisy_boxes, random_points

Features = tuple[Tensor, tuple[Tensor, ...], Tensor]  # embedding, finer features, positions
Prompts = tuple[Tensor | None, Tensor | None, Tensor | None]  # boxes, coords, labels


class Nano(nn.Module):
    """The segmenter's three parts under their checkpoint names."""

    def __init__(self) -> None:
        super().__init__()
        encoder, prompts, decoder = build()
        assert isinstance(prompts, NanoPromptEncoder) and isinstance(decoder, MaskDecoder)
        self.image_encoder, self.prompt_encoder, self.mask_decoder = encoder, prompts, decoder

    def loss(self, batch: dict[str, Any], *, boxes: float, generator: torch.Generator) -> dict[str, Tensor]:
        pixels = batch["pixels"]
        side = pixels.shape[-1]
        embedding, fine2, fine4, fine8 = self.image_encoder(pixels)
        if not len(batch["masks"]):
            return {"masks": embedding.mean() * 0}
        # The window lies anywhere in the canvas, so that positions mean what they will mean there.
        cells = (IMAGE_SIZE - side) // 16
        corner = torch.randint(cells + 1, (2,), generator=generator) if cells else torch.zeros(2, dtype=torch.long)
        grid, n = self.prompt_encoder.dense_pe(), side // 16
        position = grid[:, :, corner[1] : corner[1] + n, corner[0] : corner[0] + n]
        owner = batch["owner"]
        image = embedding[owner], tuple(f[owner] for f in (fine2, fine4, fine8)), position
        return self._masks(image, batch, corner * 16.0, boxes, generator)

    def _masks(
        self, image: Features, batch: dict[str, Any], corner: Tensor, box_share: float, generator: torch.Generator
    ) -> dict[str, Tensor]:
        side = batch["pixels"].shape[-1]
        target = F.avg_pool2d(batch["masks"][:, None].float() / 255, 2)[:, 0]  # (N, s, s), stride 2
        near = around(batch["prompt_boxes"], target.shape[-1], stride=2)
        count = len(target)
        boxes = noisy_boxes(batch["prompt_boxes"], generator=generator) + corner.repeat(2)
        points = (2 * random_points(target > 0.5, generator=generator) + corner)[:, None]  # (N, 1, 2)
        inside = torch.ones(count, 1, dtype=torch.long)
        by_box = (torch.rand(count, generator=generator) < box_share)[:, None, None]
        none = self.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
        sparse, drawn = self._prompts(by_box, (boxes, None, None), (None, points, inside), corner, side)
        logits, predicted = self._decode(image, sparse, none + drawn)
        loss, iou = mask_losses(logits, target, near)
        single, several = loss[:, 0], loss[:, 1:].amin(1)
        clear = by_box[:, 0, 0]
        losses = {
            "masks": torch.where(clear, single + 0.3 * several, several + 0.1 * single).mean(),
            "iou": iou_loss(predicted, iou),
        }
        with torch.no_grad():
            losses["box_iou"] = iou[clear, 0].mean()
            losses["click_iou"] = iou[~clear, 1:].amax(1).mean()

        # A second round for a third of the prompts: one click where the first mask is wrong.
        again = torch.rand(count, generator=generator).argsort()[: count // 3]
        if not len(again):
            return losses
        with torch.no_grad():
            pick = torch.where(clear, torch.zeros(count, dtype=torch.long), 1 + predicted[:, 1:].argmax(1))
            guess = logits.detach()[torch.arange(count), pick][again]
        clicks, labels = corrective_points(target[again] > 0.5, guess > 0, generator=generator)
        clicks = (2 * clicks + corner)[:, None]
        signs = labels[:, None]
        with_box = (boxes[again], clicks, signs)
        with_point = (None, torch.cat([points[again], clicks], 1), torch.cat([inside[again], signs], 1))
        sparse, drawn = self._prompts(by_box[again], with_box, with_point, corner, side)
        shown = torch.rand(len(again), 1, 1, 1, generator=generator) < 0.7
        before = self.prompt_encoder.mask_downscaling(F.avg_pool2d(guess[:, None].float(), 2))
        dense = torch.where(shown, before, none) + drawn
        embedding, fine, position = image
        logits, predicted = self._decode((embedding[again], tuple(f[again] for f in fine), position), sparse, dense)
        loss, iou = mask_losses(logits, target[again], near[again])
        losses["masks"] = losses["masks"] + 0.5 * (loss[:, 0] + 0.3 * loss[:, 1:].amin(1)).mean()
        losses["iou"] = losses["iou"] + 0.5 * iou_loss(predicted, iou)
        losses["refined_iou"] = iou[:, 0].mean()
        return losses

    def _prompts(
        self, by_box: Tensor, with_box: Prompts, with_point: Prompts, corner: Tensor, side: int
    ) -> tuple[Tensor, Tensor]:
        """Tokens and drawn map of one (boxes, coords, labels) where `by_box` (N, 1, 1), of the other elsewhere.

        Tokens know places in the canvas, the drawing those in the window that starts at `corner`.
        """
        both = []
        for boxes, coords, labels in (with_box, with_point):
            tokens = self.prompt_encoder(boxes=boxes, point_coords=coords, point_labels=labels)[0]
            near = None if boxes is None else boxes - corner.repeat(2)
            here = None if coords is None else coords - corner
            drawn = self.prompt_encoder.draw(boxes=near, point_coords=here, point_labels=labels, side=side)
            both.append((tokens, drawn))
        (box_tokens, box_drawn), (point_tokens, point_drawn) = both
        return torch.where(by_box, box_tokens, point_tokens), torch.where(by_box[..., None], box_drawn, point_drawn)

    def _decode(self, image: Features, sparse: Tensor, dense: Tensor) -> tuple[Tensor, Tensor]:
        embedding, fine, position = image
        logits, predicted = self.mask_decoder.all_masks(
            image_embedding=embedding, image_pe=position, sparse=sparse, dense=dense, high_res=fine
        )
        return logits.float(), predicted.float()
