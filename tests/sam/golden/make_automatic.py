"""Writes automatic.json: what the original mask generator finds with the drawn stand-in model.

    pip install git+https://github.com/facebookresearch/segment-anything
    python tests/sam/golden/make_automatic.py

The tests compare ours with this file, so that they need no copy of the original.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.modeling import Sam

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from conftest import GENERATOR_CASES, DrawnEncoder, drawn_masks, drawn_picture  # noqa: E402


class Encoder(DrawnEncoder):
    """The drawn encoder, returning a tensor as the original expects."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x)[0]


class Original:
    """The original `Sam` as far as its generator looks, around the drawn stand-ins."""

    mask_threshold, image_format, device = 0.0, "RGB", torch.device("cpu")
    image_encoder = Encoder()
    pixel_mean = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
    pixel_std = torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)
    preprocess, postprocess_masks = Sam.preprocess, Sam.postprocess_masks

    class prompt_encoder:
        @staticmethod
        def get_dense_pe() -> None:
            return None

        def __new__(cls, points, boxes, masks):
            return points[0][:, 0].double() / Encoder.img_size, None

    @staticmethod
    def mask_decoder(*, image_embeddings, sparse_prompt_embeddings, **others):
        return drawn_masks(image_embeddings, sparse_prompt_embeddings)


def main() -> None:
    golden = {}
    for name, options in GENERATOR_CASES.items():
        generator = SamAutomaticMaskGenerator(Original(), output_mode="coco_rle", **options)
        records = generator.generate(drawn_picture())
        golden[name] = {"options": options, "records": records}
        print(f"{name}: {len(records)} masks")
    (HERE / "automatic.json").write_text(json.dumps(golden, indent=0) + "\n")


if __name__ == "__main__":
    main()
