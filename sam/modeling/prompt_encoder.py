"""Points, boxes and masks as the tokens and the dense map that the mask decoder reads.

Segment Anything, appendix A "Prompt encoder": https://arxiv.org/abs/2304.02643
Parameter names are those of the official checkpoints.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .layers import LayerNorm2d, Layers


class RandomPositions(nn.Module):
    """Random Fourier features of positions in the unit square (https://arxiv.org/abs/2006.10739)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.positional_encoding_gaussian_matrix: Tensor
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, features))

    def forward(self, unit: Tensor) -> Tensor:
        """(..., 2 * features) from (..., 2) positions x, y in [0, 1]."""
        matrix = self.positional_encoding_gaussian_matrix.float()
        angles = (2 * unit.float() - 1) @ matrix * (2 * math.pi)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)

    def grid(self, height: int, width: int) -> Tensor:
        """(2 * features, height, width): the encoding of every cell centre."""
        device = self.positional_encoding_gaussian_matrix.device
        y = (torch.arange(height, device=device) + 0.5) / height
        x = (torch.arange(width, device=device) + 0.5) / width
        unit = torch.stack([x.expand(height, width), y[:, None].expand(height, width)], dim=-1)
        return self(unit).permute(2, 0, 1)


class PromptEncoder(nn.Module):
    """Sparse tokens for points and boxes, a dense map for a mask.

    `image_size` is the side of the padded square in pixels; prompts come in its coordinates.
    """

    def __init__(self, *, embed_dim: int, image_size: int, grid_size: int, mask_channels: int = 16) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.image_size = image_size
        self.grid_size = grid_size
        self.mask_size = 4 * grid_size  # side of a mask prompt
        self.pe_layer = RandomPositions(embed_dim // 2)
        self.point_embeddings = Layers(nn.Embedding(1, embed_dim) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, embed_dim)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, mask_channels // 4, 2, stride=2),
            LayerNorm2d(mask_channels // 4),
            nn.GELU(),
            nn.Conv2d(mask_channels // 4, mask_channels, 2, stride=2),
            LayerNorm2d(mask_channels),
            nn.GELU(),
            nn.Conv2d(mask_channels, embed_dim, 1),
        )
        self.no_mask_embed = nn.Embedding(1, embed_dim)

    def dense_pe(self) -> Tensor:
        """(1, D, grid, grid): the position of every cell of the image embedding."""
        return self.pe_layer.grid(self.grid_size, self.grid_size)[None]

    def _points(self, coords: Tensor, labels: Tensor, *, pad: bool) -> Tensor:
        coords = coords + 0.5  # to the centre of the pixel
        if pad:
            coords = torch.cat([coords, coords.new_zeros(len(coords), 1, 2)], dim=1)
            labels = torch.cat([labels, labels.new_full((len(labels), 1), -1)], dim=1)
        tokens = self.pe_layer(coords / self.image_size)  # (N, P, D)
        label = labels[..., None]
        tokens = torch.where(label == -1, self.not_a_point_embed.weight.to(tokens), tokens)
        for value in (0, 1):
            tokens = tokens + (label == value) * self.point_embeddings[value].weight
        return tokens

    def _boxes(self, boxes: Tensor) -> Tensor:
        corners = self.pe_layer((boxes.reshape(-1, 2, 2) + 0.5) / self.image_size)  # (N, 2, D)
        return corners + torch.cat([self.point_embeddings[2].weight, self.point_embeddings[3].weight])

    def draw(
        self, *, boxes: Tensor | None, point_coords: Tensor | None, point_labels: Tensor | None, side: int
    ) -> Tensor | None:
        """What prompts in pixels of a square of `side` add to the dense map, (N, D, side / 16, side / 16).

        None: here they make tokens alone.
        """
        return None

    def forward(
        self,
        *,
        point_coords: Tensor | None = None,
        point_labels: Tensor | None = None,
        boxes: Tensor | None = None,
        mask_input: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Sparse tokens (N, T, D) and a dense map (N or 1, D, grid, grid).

        `point_coords` (N, P, 2) x, y and `boxes` (N, 4) XYXY in pixels of the padded square;
        `point_labels` (N, P): 1 inside, 0 outside, -1 padding; `mask_input` (N, 1, S, S) logits.
        Without a box, points are followed by one padding point, as the model was trained.
        """
        tokens = []
        if point_coords is not None:
            assert point_labels is not None, "points come with labels"
            tokens.append(self._points(point_coords, point_labels, pad=boxes is None))
        if boxes is not None:
            tokens.append(self._boxes(boxes))
        weight = self.no_mask_embed.weight
        if tokens:
            sparse = torch.cat(tokens, dim=1)
        else:
            count = 1 if mask_input is None else len(mask_input)
            sparse = weight.new_zeros(count, 0, self.embed_dim)
        if mask_input is not None:
            if mask_input.shape[-1] != self.mask_size:  # logits finer than the prompt: the nano variant's
                mask_input = F.adaptive_avg_pool2d(mask_input, self.mask_size)
            return sparse, self.mask_downscaling(mask_input)
        dense = weight.reshape(1, -1, 1, 1).expand(1, -1, self.grid_size, self.grid_size)
        return sparse, dense
