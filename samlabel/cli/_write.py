"""Options that every command has which writes a dataset, and the writing itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._console import print_json, say
from ._dataset import find
from ._dataset import image_root as own_root

if TYPE_CHECKING:
    from converters import Lenient, Receipt

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
ShownImages = Annotated[
    Path | None,
    typer.Option(
        "--images",
        "--image-root",
        metavar="DIR",
        help="Folder of the images.",
        show_default="the one that the labels came from",
    ),
]
FollowLinks = Annotated[
    bool, typer.Option("--follow-links", help="Read what links and folders in data.yaml lead to outside the dataset.")
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
LenientFlag = Annotated[
    bool, typer.Option("--lenient", help="Leave out what is broken in SRC, counted by code, instead of ending there.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done, write nothing.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(frozen=True)
class Opened:
    """What a source is, and how that was told; called, it reads the dataset from the start."""

    labels: Path
    format: str
    why: str
    image_root: Path | None
    noted: Path | None  # the folder of the pictures that an annotate run noted, whatever the format
    skipped: Lenient | None  # what is broken and left out, where that was asked for
    pictures: bool  # whether those inside label files are wanted
    follow_links: bool  # whether what it reads may lie outside the dataset

    @property
    def told(self) -> str:
        """The line that says what is read, why, and which label files below are not."""
        return f"{self.format} ({' '.join(self.why.split())})"

    def __call__(self) -> Dataset:
        import converters

        return converters.read(
            self.labels,
            self.format,
            image_root=self.image_root,
            lenient=self.skipped,
            pictures=self.pictures,
            follow_links=self.follow_links,
        )


def opened(
    source: Path,
    format: str | None,
    image_root: Path | None = None,
    *,
    lenient: bool = False,
    pictures: bool = True,
    follow_links: bool = False,
) -> Opened:
    """The dataset at `source`, not read yet."""
    import converters

    labels, noted = find(source, format)
    name, why = (format, "as told") if format else converters.detect_format(labels)
    root = own_root(name, noted) if image_root is None else image_root
    return Opened(labels, name, why, root, noted, converters.Lenient() if lenient else None, pictures, follow_links)


def write(
    source: Callable[[], Dataset],
    target: Path,
    *,
    receipt: Receipt,
    skipped: Sequence[Lenient | None],
    images: str | None,
    allow_lossy: bool,
    overwrite: bool,
    dry_run: bool,
    option: list[str] | None = None,
    **further: Any,
) -> Receipt:
    """Write the dataset with a receipt; `further` are options of `converters.transfer` and of the format."""
    import converters

    return converters.transfer(
        source,
        target,
        to=receipt.target_format,
        receipt=receipt,
        skipped=[lenient for lenient in skipped if lenient is not None],
        allow_lossy=allow_lossy,
        overwrite=overwrite,
        dry_run=dry_run,
        images=images,
        **further,
        **converters.parsed_options(receipt.target_format, option or ()),
    )


def show(receipt: Receipt, *, as_json: bool) -> None:
    if as_json:
        print_json(receipt.to_dict())
    else:
        for line in receipt.lines():
            say(line)
