"""`samlabel annotate`: a folder of photos in, label files out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..options import DETECTING, GRID, OWN, THRESHOLDS
from ..sources.images import MAX_PIXELS
from ._config import apply
from ._console import print_json, print_summary, split
from ._log import Log
from ._models import PANEL as _MODELS
from ._models import Backend, Device, Dtype
from ._progress import Shown

if TYPE_CHECKING:
    from ..runs.run import Event

_MASKS, _GRID, _OUTPUT = "Masks", "Without a detector (--detector none)", "Output"
_JOB = "As a job"


def _two_defaults(name: str) -> str:
    return f"{getattr(THRESHOLDS, name)} with a detector, {OWN[name]} without"


def annotate(
    images: Annotated[
        list[str] | None,
        typer.Argument(metavar="IMAGES...", help="Folder of pictures, pictures, or a quoted glob pattern."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", show_default="IMAGES_auto_annotate_labels", help="Folder for the labels."),
    ] = None,
    formats: Annotated[
        list[str], typer.Option("--format", "-f", help="Label format; may be repeated. See samlabel formats.")
    ] = ["coco"],  # noqa: B006  typer copies it
    detector: Annotated[
        str,
        typer.Option(
            metavar="NAME[:WHAT]",
            help="What finds objects: see samlabel detectors. A model file alone means ultralytics; "
            "none covers each picture with a grid of points.",
            rich_help_panel=_MODELS,
        ),
    ] = "nano",
    sam: Annotated[
        str | None,
        typer.Option(
            metavar="VARIANT",
            help="What outlines them: see samlabel models. A checkpoint file alone tells its variant.",
            show_default="nano, or what --sam-checkpoint holds",
            rich_help_panel=_MODELS,
        ),
    ] = None,
    sam_checkpoint: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Weights for --sam: .pth, .pt or .safetensors.", rich_help_panel=_MODELS),
    ] = None,
    device: Device = "",
    dtype: Dtype = "float32",
    backend: Backend = "torch",
    conf: Annotated[
        float | None,
        typer.Option(help="Minimum detection score.", show_default="0.25, nano 0.48", rich_help_panel=_MODELS),
    ] = DETECTING.conf,
    iou: Annotated[
        float | None,
        typer.Option(
            help="Boxes that overlap more are one object.", show_default="0.7, nano 0.5", rich_help_panel=_MODELS
        ),
    ] = DETECTING.iou,
    imgsz: Annotated[
        int, typer.Option(help="Longest side that the detector looks at, in pixels.", rich_help_panel=_MODELS)
    ] = DETECTING.imgsz,
    max_det: Annotated[int, typer.Option(help="Most boxes an image.", rich_help_panel=_MODELS)] = DETECTING.max_det,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            help="Keep these classes only, by name or number; repeat it or separate by commas.",
            show_default="all",
            rich_help_panel=_MODELS,
        ),
    ] = None,
    class_map: Annotated[
        Path | None,
        typer.Option(
            "--map",
            metavar="FILE",
            help="Your own classes, from YAML or JSON (old: new) or CSV (old,new); classes not named are left out.",
            show_default="none",
            rich_help_panel=_MODELS,
        ),
    ] = None,
    rename: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OLD=NEW",
            help="Rename a class of the detector; two of one name become one; OLD= leaves it out.",
            show_default="none",
            rich_help_panel=_MODELS,
        ),
    ] = None,
    trust_weights: Annotated[
        bool,
        typer.Option(
            "--trust-weights",
            help="Open a detector's file that can run code, such as a .pt; only for files of people you trust.",
            rich_help_panel=_MODELS,
        ),
    ] = False,
    trust_sha256: Annotated[
        str | None,
        typer.Option(metavar="HEX", help="The same for the one file with this SHA-256.", rich_help_panel=_MODELS),
    ] = None,
    pred_iou_thresh: Annotated[
        float | None,
        typer.Option(
            help="Lowest predicted IoU of a mask.",
            show_default=_two_defaults("pred_iou_thresh"),
            rich_help_panel=_MASKS,
        ),
    ] = None,
    stability_score_thresh: Annotated[
        float | None,
        typer.Option(
            help="Lowest stability score of a mask.",
            show_default=_two_defaults("stability_score_thresh"),
            rich_help_panel=_MASKS,
        ),
    ] = None,
    min_area: Annotated[
        int, typer.Option(help="Fewest pixels of a mask.", rich_help_panel=_MASKS)
    ] = THRESHOLDS.min_area,
    points_per_side: Annotated[
        int, typer.Option(help="Points along one side of the grid.", rich_help_panel=_GRID)
    ] = GRID.points_per_side,
    points_per_batch: Annotated[
        int, typer.Option(help="Points decoded at once.", rich_help_panel=_GRID)
    ] = GRID.points_per_batch,
    stability_score_offset: Annotated[
        float, typer.Option(help="Shift of the cutoff for the stability score.", rich_help_panel=_GRID)
    ] = GRID.stability_score_offset,
    box_nms_thresh: Annotated[
        float, typer.Option(help="Masks whose boxes overlap more are one.", rich_help_panel=_GRID)
    ] = GRID.box_nms_thresh,
    crop_n_layers: Annotated[
        int, typer.Option(help="Layers of crops that are searched too.", rich_help_panel=_GRID)
    ] = GRID.crop_n_layers,
    crop_nms_thresh: Annotated[
        float, typer.Option(help="The same between crops.", rich_help_panel=_GRID)
    ] = GRID.crop_nms_thresh,
    crop_overlap_ratio: Annotated[
        float, typer.Option(help="Overlap of crops, as a part of the image.", rich_help_panel=_GRID)
    ] = GRID.crop_overlap_ratio,
    crop_n_points_downscale_factor: Annotated[
        int, typer.Option(help="How much coarser the grid gets a layer.", rich_help_panel=_GRID)
    ] = GRID.crop_n_points_downscale_factor,
    min_mask_region_area: Annotated[
        int, typer.Option(help="Smaller holes and islands are removed, in pixels.", rich_help_panel=_GRID)
    ] = GRID.min_mask_region_area,
    place: Annotated[
        str | None,
        typer.Option(
            "--images",
            metavar="copy|hardlink|symlink|none",
            help="How formats that hold pictures get them.",
            show_default="each format's own way",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Redo what samlabel wrote; other files stay.", rich_help_panel=_OUTPUT),
    ] = False,
    accept: Annotated[
        Path | None,
        typer.Option(
            metavar="DATASET",
            help="Labels that people made, in any format: they are kept and never redone.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    follow_links: Annotated[
        bool,
        typer.Option(
            "--follow-links",
            help="Read what links lead to outside the dataset of --accept or labels:; those of IMAGES always are.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False,
    update: Annotated[
        bool,
        typer.Option("--update", help="Redo only what a changed setting touches.", rich_help_panel=_OUTPUT),
    ] = False,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first picture that fails.", rich_help_panel=_JOB)
    ] = False,
    max_failures: Annotated[
        int | None,
        typer.Option(
            min=0, help="Stop when more pictures than this have failed.", show_default="never", rich_help_panel=_JOB
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Images worked on at the same time; the labels do not depend on it.",
            show_default="one a core, at most 4; 1 on a GPU",
            rich_help_panel=_JOB,
        ),
    ] = None,
    max_pixels: Annotated[
        int, typer.Option(min=1, help="Larger pictures are refused, not decoded.", rich_help_panel=_JOB)
    ] = MAX_PIXELS,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            is_eager=True,
            callback=apply,
            rich_help_panel=_JOB,
            help="TOML file with these settings below the head annotate; flags win, then SAMLABEL_FLAG, then the file.",
        ),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Add a line of JSON for each picture; - is stderr.", rich_help_panel=_JOB),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as JSON on stdout.", rich_help_panel=_JOB)
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.", rich_help_panel=_JOB)] = False,
) -> None:
    """Label pictures: find objects, outline them, write the formats asked for.

    Run again with the same settings it continues where it stopped; new pictures cost only themselves.
    As a job: settings from a file, a log of JSON lines, and limits on what may fail.
    """
    from dataclasses import replace

    from ..annotate import auto_annotate
    from ..errors import UsageError

    given: dict[str, Any] = {
        "points_per_side": points_per_side,
        "points_per_batch": points_per_batch,
        "stability_score_offset": stability_score_offset,
        "box_nms_thresh": box_nms_thresh,
        "crop_n_layers": crop_n_layers,
        "crop_nms_thresh": crop_nms_thresh,
        "crop_overlap_ratio": crop_overlap_ratio,
        "crop_n_points_downscale_factor": crop_n_points_downscale_factor,
        "min_mask_region_area": min_mask_region_area,
    }
    asked = {"pred_iou_thresh": pred_iou_thresh, "stability_score_thresh": stability_score_thresh}
    both: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    thresholds, grid = replace(THRESHOLDS, min_area=min_area), replace(GRID, **given)
    if detector == "none":
        grid = replace(grid, **both)
    else:
        thresholds = replace(thresholds, **both)
        idle = [name for name, value in given.items() if value != getattr(GRID, name)]
        if idle:
            raise UsageError(f"--{idle[0].replace('_', '-')} has no effect with a detector; add --detector none")
    if not images:
        raise UsageError("no pictures: name a folder of them, or set pictures in the file of --config")

    def tell(event: Event) -> None:
        log_file(event)
        if event.failed is not None:
            shown.tell(f"failed: {event.path}: {event.failed}")

    with Shown(quiet=quiet) as shown, Log(log) as log_file:
        summary = auto_annotate(
            images[0] if len(images) == 1 else images,
            detector,
            sam,
            device,
            conf,
            iou,
            imgsz,
            max_det,
            split(classes) or None,
            out,
            formats=split(formats),
            sam_checkpoint=sam_checkpoint,
            thresholds=thresholds,
            grid=grid,
            images=place,
            overwrite=overwrite,
            update=update,
            accept=accept,
            follow_links=follow_links,
            max_failures=0 if fail_fast else max_failures,
            workers=workers,
            max_pixels=max_pixels,
            trust_weights=trust_sha256 or trust_weights,
            dtype=dtype,
            backend=backend,
            class_map=class_map,
            rename=rename or (),
            progress=tell,
            stages=shown,
        )
        log_file.end(summary)
    if as_json:
        print_json(summary.to_json())
    else:
        print_summary(summary)
    raise typer.Exit(summary.exit_code)
