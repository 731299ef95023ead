"""Options that every command has which writes a dataset, and the writing itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._console import print_json
from ._dataset import find

if TYPE_CHECKING:
    from converters import Receipt

    from ..types import Dataset

Source = Annotated[
    Path, typer.Argument(metavar="SRC", help="Label file, dataset folder, or the --out of samlabel annotate.")
]
Target = Annotated[Path, typer.Argument(metavar="DST", help="Label file or folder to write.")]
From = Annotated[str | None, typer.Option("--from", help="Format of SRC.", show_default="told from the files")]
To = Annotated[str | None, typer.Option(help="Format to write.", show_default="that of SRC")]
Images = Annotated[
    str | None,
    typer.Option(
        metavar="copy|hardlink|symlink|none",
        help="How formats that hold pictures get them.",
        show_default="each format's own way",
    ),
]
ImageRoot = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Folder of the pictures.", show_default="the one that the labels came from"),
]
AllowLossy = Annotated[bool, typer.Option("--allow-lossy", help="Go on where the format cannot hold everything.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace labels that are at DST.")]
Option = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        metavar="NAME=VALUE",
        help="An option of the format that is written, as samlabel formats lists them; may be repeated.",
        show_default="none",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done, write nothing.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def opened(source: Path, format: str | None, image_root: Path | None) -> tuple[Callable[[], Dataset], str, str]:
    """What opens the dataset at `source`, its format, and how that was told."""
    import converters

    labels, noted = find(source)
    name, why = (format, "as told") if format else converters.detect_format(labels)
    root = image_root
    if root is None and noted is not None:
        if "image_root" in inspect.signature(converters.get(name).read).parameters:  # it keeps no pictures of its own
            root = noted
    return lambda: converters.read(labels, name, image_root=root, pictures=True), name, why


def write(
    source: Callable[[], Dataset],
    target: Path,
    *,
    receipt: Receipt,
    images: str | None,
    allow_lossy: bool,
    overwrite: bool,
    dry_run: bool,
    option: list[str] | None = None,
) -> Receipt:
    """Write the dataset with a receipt; masks that go from a format to itself are not measured again."""
    import converters

    return converters.transfer(
        source,
        target,
        to=receipt.target_format,
        receipt=receipt,
        allow_lossy=allow_lossy,
        overwrite=overwrite,
        dry_run=dry_run,
        images=images,
        **converters.parsed_options(receipt.target_format, option or ()),
    )


def show(receipt: Receipt, *, as_json: bool) -> None:
    if as_json:
        print_json(receipt.to_dict())
    else:
        print("\n".join(receipt.lines()))
