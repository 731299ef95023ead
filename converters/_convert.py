"""Read, write and convert by the name of a format; a conversion ends with a receipt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from samlabel.errors import LossyConversion, UsageError
from samlabel.types import Dataset

from ._registry import checked_options, detect_format, get
from ._report import NOTED, REFUSED, Receipt, Tally, WriteReport, losses_of


def read(path: Path | str, format: str | None = None, *, image_root: Path | str | None = None) -> Dataset:
    """The dataset at `path`; its format is recognised from the files when not given.

    `image_root` is the folder that image names start from, for formats that keep images elsewhere.
    """
    name = format or detect_format(path)[0]
    options = {} if image_root is None else {"image_root": Path(image_root)}
    function = get(name).read
    if not Path(path).exists():
        raise UsageError(f"{path}: no such file or folder")
    return function(Path(path), **checked_options(function, name, options))


def write(
    dataset: Dataset,
    path: Path | str,
    format: str,
    *,
    overwrite: bool = False,
    images: str | None = None,
    **options: Any,
) -> WriteReport:
    """Write `dataset` at `path`; OutputExists when labels are there and `overwrite` is not set.

    `images` says how pictures come along: copy, hardlink, symlink or none; None is the format's own way.
    `options` are further keyword arguments of that format's `write`; one that it does not take is a UsageError.
    """
    function = get(format).write
    chosen = dict(options, overwrite=overwrite)
    if images is not None:
        chosen["images"] = images
    return function(dataset, Path(path), **checked_options(function, format, chosen))


def convert(
    source: Path | str,
    target: Path | str,
    *,
    to: str,
    from_: str | None = None,
    allow_lossy: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    images: str | None = None,
    image_root: Path | str | None = None,
    **options: Any,
) -> Receipt:
    """Labels at `source` written at `target` in the format `to`, and a receipt of what was lost.

    Raises LossyConversion, with nothing written, when something would be lost and `allow_lossy` is not set. A dry run
    gives the receipt alone. Codes: `converters.CODES`.
    """
    name, why = (from_, "as told") if from_ else detect_format(source)
    module = get(to)
    chosen = checked_options(module.write, to, options)
    before = _expected_losses(read(source, name, image_root=image_root), module, chosen)
    receipt = Receipt(str(source), str(target), name, why, to)
    receipt.losses, receipt.notes = _split(before)
    if receipt.losses and not (allow_lossy or dry_run):
        summary = ", ".join(f"{count} {code}" for code, count in receipt.losses.items())
        raise LossyConversion(f"{name} to {to} would lose something: {summary}; --allow-lossy accepts that")
    dataset = receipt.found.watch(read(source, name, image_root=image_root))
    if dry_run:
        for _ in dataset.records:
            pass
        return _close(receipt, Counter(), receipt.found.images, receipt.found.objects - _dropped(receipt.losses))
    report = write(dataset, target, to, overwrite=overwrite, images=images, **chosen)
    return _close(receipt, report.losses, report.images, report.objects)


def _expected_losses(dataset: Dataset, module: Any, options: Mapping[str, Any]) -> Counter[str]:
    """What writing will lose, known before anything is written."""
    keeps = module.keeps(**options) if hasattr(module, "keeps") else module.KEEPS
    expected: Counter[str] = Counter()
    if "supercategories" not in keeps:
        expected["supercategory-lost"] += sum(c.supercategory is not None for c in dataset.categories)
    audit = module.Audit(dataset.categories) if hasattr(module, "Audit") else None
    for record in dataset.records:
        expected.update(losses_of(record, keeps))
        if audit is not None:
            audit.add(record)
    if audit is not None:
        expected.update(audit.losses())
    return +expected


def _split(found: Mapping[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    lost = {code: found[code] for code in REFUSED if found.get(code)}
    noted = {code: found[code] for code in NOTED if found.get(code)}
    return lost, noted


def _dropped(losses: Mapping[str, int]) -> int:
    return sum(losses.get(code, 0) for code in ("object-lost", "empty-mask-lost", "no-mask-lost"))


def _close(receipt: Receipt, written: Mapping[str, int], images: int, objects: int) -> Receipt:
    """The receipt with what the writer reported; it saw the same records, so the larger count of a code holds."""
    lost, noted = _split(written)
    for mine, theirs in ((receipt.losses, lost), (receipt.notes, noted)):
        for code, count in theirs.items():
            mine[code] = max(mine.get(code, 0), count)
    receipt.images_in, receipt.objects_in = receipt.found.images, receipt.found.objects
    receipt.images_out, receipt.objects_out = images, objects
    return receipt
