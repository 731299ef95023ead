"""The head of the nano detector: boxes and classes from the embedding that the nano SAM encoder makes anyway.

Anchor-free, one prediction a cell at strides 8, 16 and 32, distances to the four sides
(FCOS, https://arxiv.org/abs/1904.01355); the class score is trained to equal the IoU of its box
(Generalized Focal Loss, https://arxiv.org/abs/2006.04388), so it ranks boxes by how well they fit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sam.variants.nano import ConvNorm, GlobalBlock, Residual, double

if TYPE_CHECKING:
    from collections.abc import Sequence

CLASSES = 4
STRIDES = (8, 16, 32)


class Level(nn.Module):
    """Class logits and side distances of one stride."""

    def __init__(self, channels: int, *, width: int) -> None:
        super().__init__()
        self.tower = nn.Sequential(ConvNorm(channels, width), ConvNorm(width, width))
        self.out = nn.Conv2d(width, CLASSES + 4, 1)
        assert self.out.bias is not None
        nn.init.constant_(self.out.bias[:CLASSES], -4.6)  # a score of 0.01: most cells hold nothing
        nn.init.constant_(self.out.bias[CLASSES:], 1.5)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.out(self.tower(x))
        return found


class NanoHead(nn.Module):
    """Boxes and class logits of every cell, from features of strides 16 and 8.

    The embedding was made to tell things from what is around them, not from other things: layers of
    the head's own, over all cells at stride 32, see what a thing is, and hand it down to finer strides.
    """

    def __init__(self, *, dim16: int = 128, dim8: int = 64, width: int = 64) -> None:
        super().__init__()
        c8, c16, c32 = 96, 160, 224
        self.stage16 = nn.Sequential(ConvNorm(dim16, c16), Residual(c16))
        self.stage32 = nn.Sequential(ConvNorm(c16, c32, stride=2), *(GlobalBlock(c32, 7) for _ in range(3)))
        self.top = ConvNorm(c32, dim16, 1)
        self.side16, self.merge16 = ConvNorm(c16, dim16, 1, act=False), ConvNorm(dim16, dim16)
        self.down8, self.side8 = ConvNorm(dim16, c8, 1, act=False), ConvNorm(dim8, c8, 1, act=False)
        self.level8 = Level(c8, width=width)
        self.level16 = Level(dim16, width=width)
        self.level32 = Level(dim16, width=width)

    def forward(self, features16: Tensor, features8: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Logits (B, N, 4), boxes (B, N, 4) XYXY in input pixels, centres (N, 2), strides (N,)."""
        x16 = self.stage16(features16)
        p32 = self.top(self.stage32(x16))
        p16 = self.merge16(F.relu(self.side16(x16) + double(p32)))
        p8 = F.relu(self.side8(features8) + double(self.down8(p16)))
        maps = (self.level8(p8), self.level16(p16), self.level32(p32))
        logits, boxes, centres, strides = [], [], [], []
        for stride, out in zip(STRIDES, maps, strict=True):
            height, width = out.shape[-2:]
            cells = out.float().flatten(2).transpose(1, 2)  # (B, h*w, classes + 4)
            y = (torch.arange(height, device=out.device) + 0.5) * stride
            x = (torch.arange(width, device=out.device) + 0.5) * stride
            centre = torch.stack([x.expand(height, width), y[:, None].expand(height, width)], -1).reshape(-1, 2)
            sides = F.softplus(cells[..., -4:]) * stride
            boxes.append(torch.cat([centre - sides[..., :2], centre + sides[..., 2:]], -1))
            logits.append(cells[..., :-4])
            centres.append(centre)
            strides.append(centre.new_full((len(centre),), stride))
        return torch.cat(logits, 1), torch.cat(boxes, 1), torch.cat(centres), torch.cat(strides)


def pick(
    logits: Tensor, boxes: Tensor, *, conf: float, iou: float, max_det: int, classes: Sequence[int] | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes (K, 4), scores (K,) and class indices (K,) of one image, best first, after NMS.

    Suppression crosses classes: one thing is one object, whatever it is called.
    """
    from torchvision.ops import nms

    scores = logits.sigmoid()
    if classes is not None:
        wanted = torch.zeros(scores.shape[-1], dtype=torch.bool, device=scores.device)
        wanted[list(classes)] = True
        scores = scores * wanted
    best, index = scores.max(-1)
    keep = torch.nonzero(best > conf)[:, 0]
    keep = keep[best[keep].argsort(descending=True, stable=True)[:3000]]
    keep = keep[nms(boxes[keep], best[keep], iou)[:max_det]]
    return boxes[keep], best[keep], index[keep]
