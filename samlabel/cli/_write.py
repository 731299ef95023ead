"""Options that every command has which writes a dataset, and the writing itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._console import print_json, say
from ._dataset import find

if TYPE_CHECKING:
    from ..formats import Format, FormatOptions, Lenient, Receipt
    from ..types import Dataset

_LABEL_PICTURES = ("SegmentationClass", "SegmentationObject", "masks")  # folders of VOC and PNG
NOTHING: Mapping[str, Any] = MappingProxyType({})

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
    format: Format[Any]
    why: str
    image_root: Path | None
    skipped: Lenient | None  # what is broken and left out, where that was asked for
    pictures: bool  # whether those inside label files are wanted
    follow_links: bool  # whether what it reads may lie outside the dataset

    @property
    def told(self) -> str:
        """The line that says what is read, why, and which label files below are not."""
        return f"{self.format.name} ({' '.join(self.why.split())})"

    def __call__(self) -> Dataset:
        from ..formats import read

        return read(
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
    from ..formats import Lenient, detect_format, get

    labels, noted = find(source, format)
    found, why = (get(format), "as told") if format else detect_format(labels)
    root = image_root
    if root is None and noted is not None:
        root = None if _holds_images(labels) else noted
    return Opened(labels, found, why, root, Lenient() if lenient else None, pictures, follow_links)


def _holds_images(labels: Path) -> bool:
    """Whether a run placed images beside its labels; pictures that are labels do not count."""
    from ..sources.images import SUFFIXES

    for _, folders, files in os.walk(labels if labels.is_dir() else os.devnull):
        folders[:] = [name for name in folders if name not in _LABEL_PICTURES and not name.startswith(".")]
        if any(os.path.splitext(name)[1].lower() in SUFFIXES for name in files):
            return True
    return False


def write(
    source: Callable[[], Dataset],
    target: Path,
    *,
    to: Format[Any],
    receipt: Receipt,
    skipped: Sequence[Lenient | None],
    images: str | None,
    allow_lossy: bool,
    overwrite: bool,
    dry_run: bool,
    option: list[str] | None = None,
    note: str = "",
) -> Receipt:
    """Write the dataset in the format `to`, with a receipt; `note` says what the command does to the records."""
    from ..formats import Policy, transfer

    return transfer(
        source,
        target,
        to=to,
        options=options_of(to, option, images=images, overwrite=overwrite),
        receipt=receipt,
        policy=Policy(allow_lossy),
        skipped=[lenient for lenient in skipped if lenient is not None],
        dry_run=dry_run,
        note=note,
    )


def options_of(
    to: Format[Any],
    option: Iterable[str] | None,
    *,
    images: str | None,
    overwrite: bool,
    given: Mapping[str, Any] = NOTHING,
) -> FormatOptions:
    """How `to` is written: `NAME=VALUE` texts of --option, and what options of their own give by name."""
    placed = {} if images is None else {"images": images}
    chosen: FormatOptions = to.chosen({**given, **to.parsed(option or ()), **placed, "overwrite": overwrite})
    return chosen


def show(receipt: Receipt, *, as_json: bool) -> None:
    if as_json:
        print_json(receipt.to_dict())
    else:
        for line in receipt.lines():
            say(line)
