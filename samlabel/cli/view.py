"""`samlabel view`: labels drawn over their pictures, and a page to look through them."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._console import print_json, print_table, say
from ._progress import Quiet, Shown
from ._write import FollowLinks, ShownImages, opened

if TYPE_CHECKING:
    from ..types import Dataset


def view(
    dataset: Annotated[
        Path, typer.Argument(metavar="DATASET", help="Label file, dataset folder, or the --out of samlabel annotate.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the pictures and index.html.")],
    images: ShownImages = None,
    format: Annotated[
        str | None, typer.Option("--from", help="Format of DATASET.", show_default="told from the files")
    ] = None,
    follow_links: FollowLinks = False,
    limit: Annotated[int | None, typer.Option(help="Most images shown.", show_default="all")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    quiet: Quiet = False,
) -> None:
    """Draw labels over their pictures and make one static page of them."""
    from ..formats import read
    from ..review.view import write_view
    from ._counted import counted

    source = opened(dataset, format)
    with Shown(quiet=quiet) as shown:
        whole = counted(
            partial(read, source.labels, source.format, pictures=True, follow_links=follow_links), shown, "drawing"
        )
        found, own = _with_root(whole(), images or source.image_root)
        say(source.told, err=as_json)
        report = write_view(found, out, image_root=own, limit=limit)
    if as_json:
        print_json({**asdict(report), "index": str(report.index)})
    else:
        say(f"{report.images} images, {report.objects} objects, {report.failed} without a picture: {report.index}")
        print_table(("why",), [(reason,) for reason in report.failures])
    raise typer.Exit(3 if report.failed else 0)


def _with_root(dataset: Dataset, candidate: Path | None) -> tuple[Dataset, Path | None]:
    """The dataset, and the first folder in which its first picture lies: `candidate`, or its own."""
    records = iter(dataset.records)
    first = list(islice(records, 1))
    folders = [folder for folder in (candidate, dataset.image_root) if folder is not None]
    fitting = [folder for folder in folders if first and (folder / first[0].path).exists()]
    return replace(dataset, records=chain(first, records)), next(iter(fitting or folders), None)
