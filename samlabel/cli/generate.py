"""`samlabel generate`: masks of everything in pictures, with the flags of Segment Anything's amg.py."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..options import GRID, OWN
from ..progress import SILENT
from ._console import print_json, print_table, say
from ._models import PANEL as _MODELS
from ._models import Backend, Device, Dtype
from ._progress import Quiet, Shown

_GRID, _BEYOND = "As in amg.py", "Beyond amg.py"


def _grid(help: str, panel: str = _GRID, *, show_default: str | bool = True) -> Any:  # as `typer.Option`
    return typer.Option(help=help, rich_help_panel=panel, show_default=show_default)


def generate(
    images: Annotated[
        str | None, typer.Argument(metavar="INPUT", help="A picture, a folder of them, or a quoted glob pattern.")
    ] = None,
    input: Annotated[str | None, typer.Option("--input", metavar="INPUT", help="The same, as amg.py has it.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "--out", "-o", help="Folder for the masks.")] = None,
    output_form: Annotated[
        str,
        typer.Option("--output-form", metavar="png|coco_rle|sa1b", help="PNG masks, RLE in JSON, or SA-1B records."),
    ] = "png",
    convert_to_rle: Annotated[
        bool, typer.Option("--convert-to-rle", help="The same as --output-form coco_rle.")
    ] = False,
    model_type: Annotated[
        str | None,
        typer.Option(
            "--model-type",
            "--sam",
            metavar="VARIANT",
            help="See samlabel models.",
            show_default="nano, or what --checkpoint holds",
            rich_help_panel=_MODELS,
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option("--checkpoint", "--sam-checkpoint", metavar="FILE", help="Weights.", rich_help_panel=_MODELS),
    ] = None,
    device: Device = "",
    dtype: Dtype = "float32",
    backend: Backend = "torch",
    points_per_side: Annotated[int, _grid("Points along one side of the grid.")] = GRID.points_per_side,
    points_per_batch: Annotated[int, _grid("Points decoded at once.")] = GRID.points_per_batch,
    pred_iou_thresh: Annotated[
        float | None, _grid("Lowest predicted IoU.", show_default=OWN["pred_iou_thresh"])
    ] = GRID.pred_iou_thresh,
    stability_score_thresh: Annotated[
        float | None, _grid("Lowest stability score.", show_default=OWN["stability_score_thresh"])
    ] = GRID.stability_score_thresh,
    stability_score_offset: Annotated[float, _grid("Shift of the cutoff for it.")] = GRID.stability_score_offset,
    box_nms_thresh: Annotated[float, _grid("Masks whose boxes overlap more are one.")] = GRID.box_nms_thresh,
    crop_n_layers: Annotated[int, _grid("Layers of crops that are searched too.")] = GRID.crop_n_layers,
    crop_nms_thresh: Annotated[float, _grid("The same between crops.")] = GRID.crop_nms_thresh,
    crop_overlap_ratio: Annotated[float, _grid("Overlap of crops, a part of the image.")] = GRID.crop_overlap_ratio,
    crop_n_points_downscale_factor: Annotated[
        int, _grid("How much coarser the grid gets a layer.")
    ] = GRID.crop_n_points_downscale_factor,
    min_mask_region_area: Annotated[
        int, _grid("Smaller holes and islands are removed, in pixels.")
    ] = GRID.min_mask_region_area,
    mask_nms_thresh: Annotated[
        float, _grid("Masks that overlap more are one; the better stays.", _BEYOND)
    ] = GRID.mask_nms_thresh,
    containment_thresh: Annotated[
        float, _grid("Masks that lie in a larger one by more than this part go.", _BEYOND)
    ] = GRID.containment_thresh,
    max_image_share: Annotated[
        float, _grid("Masks over more than this part of the image go.", _BEYOND)
    ] = GRID.max_image_share,
    max_border_share: Annotated[
        float, _grid("Masks over more than this part of the image's edge go.", _BEYOND)
    ] = GRID.max_border_share,
    max_masks: Annotated[int | None, typer.Option(help="Most masks an image.", rich_help_panel=_BEYOND)] = None,
    detector: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[:WHAT]",
            help="Prompt with its boxes instead of a grid. See samlabel detectors.",
            rich_help_panel=_BEYOND,
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Redo pictures whose masks are there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON on stdout.")] = False,
    quiet: Quiet = False,
) -> None:
    """Find the masks of everything in pictures, without classes, as Segment Anything's amg.py does."""
    from dataclasses import asdict, fields

    from ..detectors import load as load_detector
    from ..errors import UsageError
    from ..generate import generate as run
    from ..hub.devices import resolve_device
    from ..hub.memory import kept_pages
    from ..options import DETECTING, Grid
    from ..segmenters.sam import load

    if (images is None) == (input is None):
        raise UsageError("name the pictures once: samlabel generate INPUT --output OUT")
    if output is None:
        raise UsageError("no --output was given; wanted a folder for the masks")
    given = locals()
    grid = Grid(**{one.name: given[one.name] for one in fields(Grid)})
    name = resolve_device(device)
    segmenter = load(
        model_type if model_type or checkpoint else "nano",
        checkpoint=checkpoint,
        device=name,
        grid=grid,
        dtype=dtype,
        backend=backend,
    )
    boxes = None
    if detector is not None:
        boxes = load_detector(detector, device=name, classes=None, **asdict(DETECTING))
    with kept_pages(), Shown(quiet=quiet) as shown:
        made = run(
            images or input or "",
            output,
            segmenter,
            form="coco_rle" if convert_to_rle else output_form,
            detector=boxes,
            overwrite=overwrite,
            progress=SILENT if quiet else shown,
        )
    if as_json:
        print_json(asdict(made) | {"output": str(made.output)})
    else:
        before = f", {made.present} were there already" if made.present else ""
        say(f"{made.images} images, {made.masks} masks in {made.output}{before}")
        print_table(("image", "stage", "reason"), [(one.path, one.stage, one.reason) for one in made.failed])
    raise typer.Exit(made.exit_code)
