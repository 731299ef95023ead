"""`samlabel convert`: one label format into another, with a receipt."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated

import typer

from ._console import print_json
from ._dataset import find


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
    allow_lossy: Annotated[
        bool, typer.Option("--allow-lossy", help="Go on where the format cannot hold everything.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace labels that are at DST.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the receipt, write nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the receipt as JSON.")] = False,
) -> None:
    """Convert labels; what the target cannot hold is named, and refused unless allowed."""
    import converters

    labels, noted = find(source)
    if image_root is None and noted is not None:
        name = from_ or converters.detect_format(labels)[0]
        if "image_root" in inspect.signature(converters.get(name).read).parameters:  # it keeps no pictures of its own
            image_root = noted
    receipt = converters.convert(
        labels,
        target,
        to=to,
        from_=from_,
        allow_lossy=allow_lossy,
        overwrite=overwrite,
        dry_run=dry_run,
        images=images,
        image_root=image_root,
    )
    if as_json:
        print_json(receipt.to_dict())
    else:
        print("\n".join(receipt.lines()))
