"""`samlabel filter`: some of the objects of a dataset, classes renamed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ..types import Dataset, ImageRecord
from ._console import print_json, say, split
from ._progress import Quiet, Shown
from ._write import (
    AllowLossy,
    DryRun,
    FollowLinks,
    From,
    ImageRoot,
    Images,
    Json,
    LenientFlag,
    Option,
    Overwrite,
    Source,
    Target,
    To,
    opened,
    show,
    write,
)


def filter_(
    source: Source,
    target: Target,
    to: To = None,
    from_: From = None,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            help='Names of classes that stay, by comma or repeated; "a, b" in quotes is one.', show_default="all"
        ),
    ] = None,
    without: Annotated[list[str] | None, typer.Option(help="Names of classes that go.", show_default="none")] = None,
    rename: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OLD=NEW",
            help="Rename a class; two of one name become one; OLD= leaves it out.",
            show_default="none",
        ),
    ] = None,
    map_: Annotated[
        Path | None,
        typer.Option(
            "--map", metavar="FILE", help="Renames from YAML, JSON (old: new) or CSV (old,new).", show_default="none"
        ),
    ] = None,
    min_area: Annotated[float, typer.Option(help="Least pixels of an object's mask, or box without one.")] = 0.0,
    max_area: Annotated[float | None, typer.Option(help="Most pixels.", show_default="no limit")] = None,
    min_score: Annotated[
        float | None, typer.Option(help="Least score of the detector.", show_default="no limit")
    ] = None,
    unscored: Annotated[
        bool, typer.Option("--unscored/--no-unscored", help="Keep objects without a score under --min-score.")
    ] = True,
    crowds: Annotated[bool, typer.Option("--crowds/--no-crowds", help="Keep crowds.")] = True,
    drop_empty: Annotated[bool, typer.Option("--drop-empty", help="Leave out images without objects.")] = False,
    images: Images = None,
    image_root: ImageRoot = None,
    option: Option = None,
    follow_links: FollowLinks = False,
    lenient: LenientFlag = False,
    allow_lossy: AllowLossy = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write those objects of a dataset that stay; --classes and --without mean the names after --rename."""
    from ..datasets import Limits, narrow, read_class_map
    from ..datasets import rename as renamed
    from ..formats import Receipt, get
    from ._counted import counted

    limits = Limits(
        split(classes) if classes else None, split(without), min_area, max_area, min_score, unscored, crowds
    )
    names = read_class_map(map_, rename or ())
    dataset = opened(source, from_, image_root, lenient=lenient, follow_links=follow_links)

    seen: Counter[str] = Counter()

    def changed() -> Dataset:
        return narrow(renamed(_with_counts(read(), seen), names), limits, drop_empty=drop_empty)

    write_as = get(to) if to else dataset.format
    receipt = Receipt(str(source), str(target), dataset.format.name, dataset.why, write_as.name)
    with Shown(quiet=quiet) as shown:
        read = counted(dataset, shown)
        write(
            changed,
            target,
            to=write_as,
            receipt=receipt,
            skipped=[dataset.skipped],
            images=images,
            allow_lossy=allow_lossy,
            overwrite=overwrite,
            dry_run=dry_run,
            option=option,
            note=f"{limits} {names} {drop_empty}",
        )
    if as_json:
        print_json({"source_images": seen["images"], "source_objects": seen["objects"], **receipt.to_dict()})
        return
    say(f"stay    {receipt.images_in} of {seen['images']} images, {receipt.objects_in} of {seen['objects']} objects")
    show(receipt, as_json=False)


def _with_counts(dataset: Dataset, seen: Counter[str]) -> Dataset:
    """The same dataset; `seen` tells what passed by when it was last read."""
    from ..datasets.records import Records

    def records() -> Iterator[ImageRecord]:
        seen.clear()
        for record in dataset.records:
            seen["images"] += 1
            seen["objects"] += len(record.annotations)
            yield record

    return replace(dataset, records=Records(records))
