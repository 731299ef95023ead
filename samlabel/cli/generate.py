"""`samlabel generate`: masks of everything in pictures, with the flags of Segment Anything's amg.py."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import UsageError
from ..options import BEYOND, GENERATOR, MODELS, Grid, ModelOptions
from ..progress import SILENT
from ._console import print_json, print_table, say, say_passed_by
from ._options import Group, with_options
from ._progress import Quiet, Shown


def _generate(
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
            rich_help_panel=MODELS,
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option("--checkpoint", "--sam-checkpoint", metavar="FILE", help="Weights.", rich_help_panel=MODELS),
    ] = None,
    models: ModelOptions = ModelOptions(),
    grid: Grid = Grid(),
    detector: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[:WHAT]",
            help="Prompt with its boxes instead of a grid. See samlabel detectors.",
            rich_help_panel=BEYOND,
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Redo pictures whose masks are there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON on stdout.")] = False,
    quiet: Quiet = False,
) -> None:
    """Find the masks of everything in pictures, without classes, as Segment Anything's amg.py does."""
    from dataclasses import asdict

    from ..detectors import load as load_detector
    from ..generate import generate as run
    from ..hub.devices import resolve_device
    from ..hub.memory import kept_pages
    from ..options import DETECTING
    from ..segmenters.sam import load

    if (images is None) == (input is None):
        raise UsageError("name the pictures once: samlabel generate INPUT --output OUT")
    if output is None:
        raise UsageError("no --output was given; wanted a folder for the masks")
    name = resolve_device(models.device)
    segmenter = load(
        model_type if model_type or checkpoint else "nano",
        checkpoint=checkpoint,
        device=name,
        grid=grid,
        dtype=models.dtype,
        backend=models.backend,
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
        say_passed_by(made.unread, made.left_out)
        print_table(("image", "stage", "reason"), [(one.path, one.stage, one.reason) for one in made.failed])
    raise typer.Exit(made.exit_code)


# The models have the flags of amg.py, so these are not those of `annotate`.
generate = with_options(
    _generate,
    {
        "models": Group(ModelOptions, without=("detector", "sam", "sam_checkpoint")),
        "grid": Group(Grid, panels={GENERATOR: "As in amg.py"}),
    },
)
