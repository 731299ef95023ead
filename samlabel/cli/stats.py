"""`samlabel stats`: what is in a dataset."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from ..errors import UsageError
from ._console import print_json, print_table, say
from ._progress import Quiet, Shown
from ._write import FollowLinks, From, ImageRoot, Json, LenientFlag, Source, opened


def stats(
    source: Source,
    from_: From = None,
    image_root: ImageRoot = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw counts and sizes, as .svg or .png.", show_default="no picture"),
    ] = None,
    pictures: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="Compare the photos, to find those that look alike.")
    ] = True,
    follow_links: FollowLinks = False,
    lenient: LenientFlag = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the drawing.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Count objects, classes, sizes and repetitions."""
    from ..datasets import collect
    from ..datasets.plot import FORMATS, as_png, as_svg
    from ..errors import OutputExists
    from ..files import OutputFolder
    from ..formats import Lenient
    from ..lock import Lock
    from ._counted import counted

    if plot is not None and plot.suffix.lower() not in FORMATS:
        raise UsageError(f"{plot}: wanted a name that ends in {' or '.join(FORMATS)}")
    if plot is not None and plot.exists() and not overwrite:
        raise OutputExists(f"{plot} exists already; choose another place, or --overwrite")
    dataset = opened(source, from_, image_root, lenient=lenient, follow_links=follow_links)
    with Lock(plot) if plot is not None else nullcontext():
        with Shown(quiet=quiet) as shown:
            whole = counted(dataset, shown, "counting")()
            found = collect(whole, image_root=image_root, pictures=pictures)
        if plot is not None:
            drawing = as_png(found) if plot.suffix.lower() == ".png" else as_svg(found).encode("utf-8")
            OutputFolder(plot.parent).write(plot.name, drawing, durable=True)
    skipped = dataset.skipped or Lenient()
    if as_json:
        print_json({"source": str(source), "format": dataset.format.name, **found.to_dict(), **skipped.to_dict()})
        return
    say(dataset.told)
    for line in (*found.lines(), *skipped.lines()):
        say(line)
    print_table(
        ("class", "objects", "images", "median area"),
        [(c.name, c.objects, c.images, "" if c.median_area is None else f"{c.median_area:.0f}") for c in found.classes],
    )
