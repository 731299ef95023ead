"""`samlabel export`: a SAM variant as ONNX files."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ._console import print_json, say


def export(
    variant: Annotated[str, typer.Argument(metavar="VARIANT", help="See samlabel models.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for encoder.onnx and decoder.onnx.")] = Path("onnx"),
    sam_checkpoint: Annotated[
        Path | None, typer.Option("--sam-checkpoint", "--checkpoint", metavar="FILE", help="Weights for VARIANT.")
    ] = None,
    masks: Annotated[str, typer.Option(metavar="multi|single", help="Three masks a prompt, or one.")] = "multi",
    stability_score: Annotated[
        bool, typer.Option("--stability-score", "--use-stability-score", help="Add the output stability_scores.")
    ] = False,
    low_res: Annotated[
        bool, typer.Option("--low-res", help="Leave out masks at the size of the image; low_res_masks stay.")
    ] = False,
    int8: Annotated[bool, typer.Option("--int8", help="8-bit weights: smaller, masks a little different.")] = False,
    opset: Annotated[int, typer.Option(help="Version of the ONNX operators.")] = 17,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write the image encoder and the prompt and mask decoder as ONNX, checked against torch first."""
    from ..segmenters.sam import export as write

    made = write(
        variant,
        out,
        checkpoint=sam_checkpoint,
        masks=masks,
        stability_score=stability_score,
        low_res=low_res,
        int8=int8,
        opset=opset,
    )
    if as_json:
        print_json(asdict(made) | {"encoder": str(made.encoder), "decoder": str(made.decoder)})
        return
    say(made.encoder)
    say(made.decoder)
    say(
        f"{made.bytes / 1e6:.1f} MB; checked against torch: largest difference {made.error:.1e}, "
        f"mean IoU of masks {made.mask_iou:.4f}"
    )
