"""Read, write and convert by the name of a format; a conversion ends with a receipt."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from samlabel.errors import LossyConversion, UsageError, about
from samlabel.files import OutputFolder
from samlabel.lock import Lock
from samlabel.reach import HIDDEN, NOTE, Reach, note_for
from samlabel.types import Dataset, ImageRecord

from .lenient import Lenient
from .loss_preview import Passing, Watch
from .parallel import Part, in_parts
from .receipt import NOTED, REFUSED, Receipt, WriteReport
from .registry import check_place, checked_options, detect_format, existing, get
from .round_trip import MaskIou, down


def read(
    path: Path | str,
    format: str | None = None,
    *,
    image_root: Path | str | None = None,
    lenient: Lenient | None = None,
    pictures: bool = False,
    follow_links: bool = False,
) -> Dataset:
    """The dataset at `path`; its format is recognised from the files when not given.

    `image_root` is the folder that image names start from, for formats that keep images elsewhere. With `lenient`,
    broken objects are left out and counted there instead of ending in a FormatError. `pictures` says that those
    inside label files are wanted too: they lie in `image_root` while their record passes by.

    Only files of the dataset are read: LeadsOutside is raised for a link, or a folder that data.yaml names, that leads
    out of it, unless into `image_root` or where samlabel noted that its images came from. `follow_links` allows it. An
    image name that is absolute or holds '..' is taken only where it leads into `image_root`.
    """
    name = format or detect_format(path)[0]
    options: dict[str, Any] = {} if image_root is None else {"image_root": Path(image_root)}
    if lenient is not None:
        options["lenient"] = lenient
    function = get(name).read
    if pictures and "pictures" in inspect.signature(function).parameters:
        options["pictures"] = True
    check_place(Path(path))
    reach = Reach.of(Path(path), image_root=options.get("image_root"), follow_links=follow_links)
    dataset: Dataset
    with about(path):
        if "reach" in inspect.signature(function).parameters:
            dataset = function(Path(path), reach=reach, **checked_options(function, name, options))
        else:
            dataset = function(Path(path), **checked_options(function, name, options))
            dataset = replace(dataset, reach=reach.plus(dataset.image_root))
    if isinstance(dataset.records, Iterator):  # they can be had once, which a caller must be able to see
        return dataset
    return replace(dataset, records=_Guarded(dataset.records, str(path)))


@dataclass(frozen=True)
class _Guarded(Part):
    """Records whose reading ends in a line about their file, whatever a library below it raises."""

    records: Iterable[ImageRecord]
    path: str
    paths_before: Sequence[str] = ()
    masks_before: int = 0
    files: Sequence[int] = ()

    def __iter__(self) -> Iterator[ImageRecord]:
        records = iter(self.records)
        while True:
            with about(self.path):
                record = next(records, None)
            if record is None:
                return
            yield record

    def divided(self, count: int) -> list[_Guarded]:
        parts = self.records.divided(count) if isinstance(self.records, Part) else []
        return [_Guarded(part, self.path, part.paths_before, part.masks_before, part.files) for part in parts]

    def seen(self) -> Any:
        return self.records.seen() if isinstance(self.records, Part) else None

    def join(self, seen: Sequence[Any]) -> None:
        if isinstance(self.records, Part):
            self.records.join(seen)


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
    report: WriteReport = function(dataset, Path(path), **checked_options(function, format, chosen))
    usual = inspect.signature(function).parameters.get("images")
    if (images or (usual.default if usual else "none")) == "symlink":
        note_images(Path(path) if Path(path).is_dir() else Path(path).parent, dataset)
    return report


def note_images(folder: Path, dataset: Dataset) -> None:
    """Note in `folder` where its links to images lead, so that it can be read back."""
    files = dataset.images_in()
    noted = note_for(folder, files.reach, files.root) if files.root is not None else None
    if noted is not None:
        OutputFolder(folder).write(f"{HIDDEN}/{NOTE}", noted)


def convert(
    source: Path | str,
    target: Path | str,
    *,
    to: str,
    from_: str | None = None,
    allow_lossy: bool = False,
    min_iou: float | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    lenient: bool = False,
    measure: str = "auto",
    images: str | None = None,
    image_root: Path | str | None = None,
    follow_links: bool = False,
    **options: Any,
) -> Receipt:
    """Labels at `source` written at `target` in the format `to`, and a receipt of what was lost.

    Raises LossyConversion, with nothing written, when something would be lost and neither `allow_lossy` is set nor
    `min_iou` permits it: every object is written and the format's usual reader gets each mask back at that IoU or
    above. With both, objects may be left out, and `min_iou` holds for those that are written. A dry run gives the
    receipt alone. `lenient` leaves out and counts what is broken in the source. `measure` says which masks are
    measured: "auto" (1,000 objects, then those of every hundredth image), "all", "none"; `min_iou` measures all.
    `follow_links` reads what links lead to outside the source, see `read`.
    `options` are those of the format's `write`. Codes: `converters.CODES`.
    """
    name, why = (from_, "as told") if from_ else detect_format(source)
    skipped = Lenient() if lenient else None
    pictures = not dry_run and wants_pictures(to, images, options)
    return transfer(
        lambda: read(
            source, name, image_root=image_root, lenient=skipped, pictures=pictures, follow_links=follow_links
        ),
        target,
        to=to,
        receipt=Receipt(str(source), str(target), name, why, to),
        allow_lossy=allow_lossy,
        min_iou=min_iou,
        overwrite=overwrite,
        dry_run=dry_run,
        skipped=[skipped] if skipped else [],
        measure=measure,
        images=images,
        **options,
    )


def wants_pictures(to: str, images: str | None, options: Mapping[str, Any]) -> bool:
    """Whether writing will ask for the images themselves."""
    usual = inspect.signature(get(to).write).parameters.get("images")
    return (images or (usual.default if usual else "none")) != "none" or options.get("pictures") == "embed"


def transfer(
    source: Callable[[], Dataset],
    target: Path | str,
    *,
    to: str,
    receipt: Receipt,
    allow_lossy: bool = False,
    min_iou: float | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    skipped: Sequence[Lenient] = (),
    measure: str = "auto",
    images: str | None = None,
    note: str = "",
    **options: Any,
) -> Receipt:
    """The dataset that `source()` opens, written at `target`, and `receipt` filled in; see `convert` for the rest.

    `source` is called again where its records cannot be iterated twice; `skipped` is what its readers left out. The
    target is locked meanwhile: UsageError at once where another command writes there. What the same command left
    unfinished there is replaced unasked; `note` says what it does to the records on the way.
    """
    with nullcontext() if dry_run else Lock(target) as lock:
        return _transfer(
            source,
            Path(target),
            lock,
            to=to,
            receipt=receipt,
            allow_lossy=allow_lossy,
            min_iou=min_iou,
            overwrite=overwrite,
            skipped=skipped,
            measure=measure,
            images=images,
            note=note,
            **options,
        )


def _transfer(
    source: Callable[[], Dataset],
    target: Path,
    lock: Lock | None,
    *,
    to: str,
    receipt: Receipt,
    allow_lossy: bool,
    min_iou: float | None,
    overwrite: bool,
    skipped: Sequence[Lenient],
    measure: str,
    images: str | None,
    note: str,
    **options: Any,
) -> Receipt:
    """What `transfer` does while it holds the target; without a lock it is a dry run."""
    dry_run = lock is None
    if min_iou is not None and not 0 <= min_iou <= 1:
        raise UsageError(f"min_iou (--min-iou) is {min_iou}; wanted a number from 0 to 1")
    module = get(to)
    chosen = checked_options(module.write, to, options)
    dataset = source()
    receipt.dry_run = dry_run
    watch = Watch(to, chosen, dataset.categories, "all" if min_iou is not None else measure)
    before: Counter[str] | None = None
    # A file that appears whole or not at all, in a format that loses nothing, need not be foretold.
    sure = getattr(module, "ONE_FILE", False) and images in (None, "none") and watch.loses_nothing
    if dry_run or min_iou is not None or not (allow_lossy or sure):
        in_parts(_go_by, Passing(dataset.records, watch))
        before = watch.losses(dataset)
        if not dry_run:
            way = f"{receipt.source_format} to {to}"
            _refuse(way, _split(before)[0], watch.mask_iou(), allow_lossy=allow_lossy, min_iou=min_iou)
            if isinstance(dataset.records, Iterator):
                dataset = source()
    if lock is None:
        assert before is not None
        images_out, objects_out = watch.found.images, watch.found.objects - sum(before[code] for code in DROPPED)
        written: Counter[str] = Counter()
    else:
        passing = dataset if before is not None else replace(dataset, records=Passing(dataset.records, watch))
        what = f"{receipt.source} to {to}, images {images}, {sorted(options.items())}, {note}"
        with begun(lock, what, to, [target], overwrite=overwrite) as may_replace:
            report = write(passing, target, to, overwrite=may_replace, images=images, **chosen)
        images_out, objects_out, written = report.images, report.objects, report.losses
        before = watch.losses(dataset) if before is None else before
    receipt.found, receipt.mask_iou = watch.found, watch.mask_iou()
    receipt.images_in, receipt.objects_in = watch.found.images, watch.found.objects
    receipt.images_out, receipt.objects_out = images_out, objects_out
    # The writer saw the same records, so of each code the larger count holds.
    receipt.losses, receipt.notes = _split(before | written)
    left_out = Lenient.joined(skipped)
    receipt.skipped, receipt.skipped_examples = left_out.counts, left_out.examples
    return receipt


@contextmanager
def begun(lock: Lock, what: str, to: str, targets: Sequence[Path], *, overwrite: bool) -> Iterator[bool]:
    """Whether labels at `targets` may be replaced: the caller says so, or they are what `what` left unfinished.

    `what` tells one command from another. Until the block ends well, what it writes in the format `to` counts as
    unfinished, unless labels of somebody's were there before.
    """
    what = " ".join(what.split())
    goes_on = lock.unfinished == what
    if goes_on or not any(existing(to, target) for target in targets):
        lock.begin(what)
    try:
        yield overwrite or goes_on
    except BaseException:
        if not any(existing(to, target) for target in targets):
            lock.forget()
        raise


def _go_by(records: Iterable[ImageRecord]) -> None:
    for _ in records:
        pass


DROPPED = ("object-lost", "empty-mask-lost", "no-mask-lost")


def _refuse(way: str, losses: Mapping[str, int], iou: MaskIou, *, allow_lossy: bool, min_iou: float | None) -> None:
    """LossyConversion unless what is lost was permitted."""
    if min_iou is not None:
        if iou.measured < iou.masks:
            raise LossyConversion(
                f"{way}: only {iou.measured} of {iou.masks} masks can be measured, so that --min-iou says nothing; "
                "--allow-lossy without it goes on"
            )
        if iou.min is not None and iou.min < min_iou:
            low = iou.worst[0] if iou.worst else None
            which = f", {low['image']} object {low['place']}" if low else ""
            found = f"the lowest mask IoU is {down(iou.min)}{which}"
            raise LossyConversion(f"{way}: {found}; --min-iou asks for {min_iou:g}")
        if not allow_lossy:
            losses = {code: losses[code] for code in DROPPED if losses.get(code)}
    if losses and not allow_lossy:
        summary = ", ".join(f"{count} {code}" for code, count in losses.items())
        raise LossyConversion(
            f"{way} would lose something: {summary}; --allow-lossy accepts that, --dry-run shows the receipt"
        )


def _split(found: Mapping[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    lost = {code: found[code] for code in REFUSED if found.get(code)}
    noted = {code: found[code] for code in NOTED if found.get(code)}
    return lost, noted
