"""`samlabel split`: a dataset divided into parts for training and judging."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UsageError
from ..files import OutputFolder
from ._console import print_json, say
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
    To,
    opened,
    write,
)

if TYPE_CHECKING:
    from ..formats import Receipt
    from ..types import Category, Dataset

DEFAULT = ["train=0.8", "val=0.2"]


def split(
    source: Source,
    out: Annotated[Path, typer.Argument(metavar="DST", help="Folder for the parts, one folder each.")],
    part: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=SHARE", help="A part and its share of the images.", show_default="train=0.8 val=0.2"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed, another division.")] = 0,
    to: To = None,
    from_: From = None,
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
    """Divide a dataset: the same for the same seed, classes spread evenly, photos that look alike kept together."""
    from ..datasets import plan
    from ..formats import Lenient, Receipt, begun, get, note_images
    from ..lock import Lock
    from ..walk import is_link
    from ._counted import counted

    shares = _shares(part or DEFAULT)
    parts = [out / label for label in shares]
    for one in parts:
        if one.is_symlink():
            raise is_link(one)
    dataset = opened(source, from_, image_root, lenient=lenient, follow_links=follow_links)
    write_as = get(to) if to else dataset.format

    def written(label: str, *, dry: bool, overwrite: bool) -> Receipt:
        return write(
            partial(_part_of, read, found.part_of, label),
            out / label,
            to=write_as,
            receipt=Receipt(str(source), str(out / label), dataset.format.name, dataset.why, write_as.name),
            skipped=(),
            images=images,
            allow_lossy=allow_lossy,
            overwrite=overwrite,
            dry_run=dry,
            option=option,
        )

    with nullcontext() if dry_run else Lock(out) as lock, Shown(quiet=quiet) as shown:
        read = counted(dataset, shown)
        whole = read()
        found = plan(whole, shares, seed=seed, image_root=image_root)
        skipped = dataset.skipped or Lenient()  # of the whole, and so told once
        if lock is None or not allow_lossy:  # every part, before the first is written: a refusal leaves nothing behind
            receipts = {label: written(label, dry=True, overwrite=overwrite) for label in shares}
        if lock is not None:
            if not allow_lossy:
                _refuse(receipts)
            what = f"split {source} to {write_as.name}, {shares}, seed {seed}, images {images}, {option}"
            with begun(lock, what, write_as, parts, overwrite=overwrite) as may_replace:
                receipts = {label: written(label, dry=False, overwrite=may_replace) for label in shares}
                if all((one / "data.yaml").is_file() for one in parts):
                    _write_data_yaml(OutputFolder(out), list(shares), whole.categories)
                    if images == "symlink":
                        note_images(out, whole)
    if as_json:
        print_json(
            {
                "seed": seed,
                "groups_kept_together": found.groups,
                "images_in_groups": found.grouped,
                "pictures_compared": found.compared,
                **skipped.to_dict(),
                "parts": {label: receipt.to_dict() for label, receipt in receipts.items()},
            }
        )
        return
    for line in (f"{dataset.format.name} ({dataset.why})", *skipped.lines()):
        say(line)
    for label, receipt in receipts.items():
        say(f"{label}: {receipt.images_out} images, {receipt.objects_out} objects: {out / label}")
        for line in receipt.lines():
            if line.startswith(("lost", "note")):
                say(f"  {line}")
    say(f"{found.groups} groups of like photos kept together ({found.grouped} of {found.compared} compared)")


def _refuse(receipts: Mapping[str, Receipt]) -> None:
    """LossyConversion where a part would lose something."""
    from ..errors import LossyConversion

    for label, receipt in receipts.items():
        if receipt.losses:
            summary = ", ".join(f"{count} {code}" for code, count in receipt.losses.items())
            raise LossyConversion(f"the part {label} would lose something: {summary}; --allow-lossy accepts that")


def _shares(parts: list[str]) -> dict[str, float]:
    from ..datasets.split import check_shares

    shares: dict[str, float] = {}
    for text in parts:
        name, _, share = text.partition("=")
        try:
            if name in shares:
                raise ValueError
            shares[name] = float(share)
        except ValueError:
            raise UsageError(f"--part {text!r} is not NAME=SHARE, each name once, for example train=0.8") from None
    check_shares(shares)
    return shares


def _write_data_yaml(out: OutputFolder, parts: list[str], categories: tuple[Category, ...]) -> None:
    """One data.yaml over YOLO parts, so that a single file names them all."""
    import yaml

    names = {index: c.name for index, c in enumerate(sorted(categories, key=lambda c: c.id))}
    content = {**{part: f"{part}/images" for part in parts}, "names": names}
    text = yaml.safe_dump(content, allow_unicode=True, sort_keys=False, width=1 << 30)
    out.write("data.yaml", text, durable=True)


def _part_of(read: Callable[[], Dataset], part_of: Mapping[str, str], part: str) -> Dataset:
    """One part of the dataset, read again from its start."""
    from ..datasets import take

    return take(read(), part_of, part)
