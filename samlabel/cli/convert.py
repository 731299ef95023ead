"""`samlabel convert`: one label format into another, with a receipt."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ._progress import Quiet, Shown
from ._write import FollowLinks, LenientFlag, Option, opened, options_of, show


def convert(
    source: Annotated[
        Path,
        typer.Argument(metavar="SRC", help="Label file, dataset folder, or the --out of samlabel annotate."),
    ],
    target: Annotated[Path, typer.Argument(metavar="DST", help="Label file or folder to write.")],
    to: Annotated[str, typer.Option(help="Format to write. See samlabel formats.")],
    from_: Annotated[
        str | None, typer.Option("--from", help="Format of SRC.", show_default="told from the files")
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(
            metavar="copy|hardlink|symlink|none",
            help="How formats that hold pictures get them.",
            show_default="each format's own way",
        ),
    ] = None,
    image_root: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of the pictures.", show_default="the one that the labels came from"),
    ] = None,
    follow_links: FollowLinks = False,
    allow_lossy: Annotated[
        bool, typer.Option("--allow-lossy", help="Go on where the format cannot hold everything.")
    ] = False,
    min_iou: Annotated[
        float | None,
        typer.Option(
            "--min-iou",
            metavar="X",
            help="Go on where every object is written and DST's usual reader gets each mask back at this IoU or more.",
            show_default="not asked for",
        ),
    ] = None,
    segmentation: Annotated[
        str | None,
        typer.Option(metavar="rle|polygons", help="How COCO masks are written.", show_default="rle"),
    ] = None,
    outline: Annotated[
        str | None,
        typer.Option(
            metavar="given|traced",
            help="YOLO rows: polygons with the points that they have in SRC, or traced, slower, so that ultralytics "
            "fills the mask's own pixels.",
            show_default="given",
        ),
    ] = None,
    max_points: Annotated[
        int | None,
        typer.Option("--max-points", metavar="N", help="Most points of a polygon.", show_default="as many as it takes"),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(metavar="PIXELS", help="How far a polygon may leave the mask's outline.", show_default="0"),
    ] = None,
    option: Option = None,
    lenient: LenientFlag = False,
    measure: Annotated[
        str,
        typer.Option(
            metavar="auto|all|none",
            help="Masks measured for the receipt: 1,000 and then those of every hundredth image, all, or none.",
        ),
    ] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace labels that are at DST.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the receipt, write nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the receipt as JSON.")] = False,
    quiet: Quiet = False,
) -> None:
    """Convert labels; what the target cannot hold is named, and refused unless allowed."""
    from ..formats import Policy, Receipt, get, transfer
    from ._counted import counted

    given = {"segmentation": segmentation, "outline": outline, "max_points": max_points, "tolerance": tolerance}
    given = {name: value for name, value in given.items() if value is not None}
    write_as = get(to)
    options = options_of(write_as, option, images=images, overwrite=overwrite, given=given)
    pictures = not dry_run and write_as.needs_images(options)
    dataset = opened(source, from_, image_root, lenient=lenient, pictures=pictures, follow_links=follow_links)
    with Shown(quiet=quiet) as shown:
        receipt = transfer(
            counted(dataset, shown),
            target,
            to=write_as,
            options=options,
            receipt=Receipt(str(dataset.labels), str(target), dataset.format.name, dataset.why, write_as.name),
            policy=Policy(allow_lossy, min_iou, measure),
            skipped=[dataset.skipped] if dataset.skipped else [],
            dry_run=dry_run,
        )
    show(receipt, as_json=as_json)
