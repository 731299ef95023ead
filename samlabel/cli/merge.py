"""`samlabel merge`: several datasets as one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import UsageError
from ..types import Dataset
from ._progress import Quiet, Shown
from ._write import (
    AllowLossy,
    DryRun,
    FollowLinks,
    From,
    Images,
    Json,
    LenientFlag,
    Option,
    Overwrite,
    opened,
    show,
    write,
)


def merge(
    sources: Annotated[
        list[Path], typer.Argument(metavar="SRC...", help="Label files or dataset folders, two or more.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DST", help="Label file or folder to write.")],
    to: Annotated[str | None, typer.Option(help="Format to write.", show_default="that of the first SRC")] = None,
    from_: From = None,
    rename: Annotated[
        list[str] | None,
        typer.Option(metavar="OLD=NEW", help="Rename a class wherever it is; OLD= leaves it out.", show_default="none"),
    ] = None,
    map_: Annotated[
        Path | None,
        typer.Option(
            "--map", metavar="FILE", help="Renames from YAML, JSON (old: new) or CSV (old,new).", show_default="none"
        ),
    ] = None,
    image_root: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR",
            help="Folder of the pictures, once for all or once a SRC.",
            show_default="the ones that the labels came from",
        ),
    ] = None,
    images: Images = None,
    option: Option = None,
    follow_links: FollowLinks = False,
    lenient: LenientFlag = False,
    allow_lossy: AllowLossy = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Join datasets; classes of one name become one, pictures of one name in several folders stay apart."""
    from ..datasets import merge as joined
    from ..datasets import read_class_map
    from ..datasets import rename as renamed
    from ..formats import Receipt, get
    from ._counted import counted

    if len(sources) < 2:
        raise UsageError("merge joins two datasets or more; for one there is samlabel convert")
    roots: list[Path | None] = [*image_root] if image_root else [None]
    if len(roots) not in (1, len(sources)):
        raise UsageError(f"{len(roots)} --image-root for {len(sources)} datasets; wanted one, or one for each")
    roots = roots * len(sources) if len(roots) == 1 else roots
    found = [
        opened(source, from_, root, lenient=lenient, follow_links=follow_links)
        for source, root in zip(sources, roots, strict=True)
    ]
    names = read_class_map(map_, rename or ())

    def all_of_them() -> Dataset:
        whole = joined([dataset() for dataset in found], names=[source.stem for source in sources])
        return renamed(whole, names)

    formats = " + ".join(dataset.format.name for dataset in found)
    why = "merged by class name: " + ", ".join(dict.fromkeys(dataset.why for dataset in found))
    write_as = get(to) if to else found[0].format
    receipt = Receipt(" + ".join(map(str, sources)), str(out), formats, why, write_as.name)
    with Shown(quiet=quiet) as shown:
        write(
            counted(all_of_them, shown),
            out,
            to=write_as,
            receipt=receipt,
            skipped=[dataset.skipped for dataset in found],
            images=images,
            allow_lossy=allow_lossy,
            overwrite=overwrite,
            dry_run=dry_run,
            option=option,
            note=f"{names}",
        )
    show(receipt, as_json=as_json)
