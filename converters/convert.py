"""Read, write and convert by the name of a format; a conversion ends with a receipt."""

from __future__ import annotations

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

from .features import NOTED, REFUSED
from .format import Format, WriteReport
from .imagewise import ImagewiseFormat, Update
from .lenient import Lenient
from .loss_preview import Passing, Watch
from .options import FormatOptions, ReadOptions
from .parallel import Part, in_parts
from .receipt import Receipt
from .recognition import check_place, detect_format
from .registry import get
from .round_trip import CHOICES, MaskIou, down


def read(
    path: Path | str,
    format: str | Format[Any] | None = None,
    *,
    image_root: Path | str | None = None,
    lenient: Lenient | None = None,
    pictures: bool = False,
    follow_links: bool = False,
) -> Dataset:
    """The dataset at `path`; its format is recognized from the files when not given.

    `image_root` is the folder that image names start from, for formats that keep images elsewhere. With `lenient`,
    broken objects are left out and counted there instead of ending in a FormatError. `pictures` says that those
    inside label files are wanted too: they lie in `image_root` while their record passes by.

    Only files of the dataset are read: LeadsOutside is raised for a link, or a folder that data.yaml names, that leads
    out of it, unless into `image_root` or where samlabel noted that its images came from. `follow_links` allows it. An
    image name that is absolute or holds '..' is taken only where it leads into `image_root`.
    """
    chosen = detect_format(path)[0] if format is None else get(format)
    path, root = Path(path), None if image_root is None else Path(image_root)
    check_place(path)
    reach = Reach.of(path, image_root=root, follow_links=follow_links)
    with about(path):
        dataset = chosen.read(path, ReadOptions(root, lenient, reach, pictures))
    if dataset.reach is None:
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
    descriptors: Sequence[int] = ()

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
        return [_Guarded(part, self.path, part.paths_before, part.masks_before, part.descriptors) for part in parts]

    def seen(self) -> Any:
        return self.records.seen() if isinstance(self.records, Part) else None

    def join(self, seen: Sequence[Any]) -> None:
        if isinstance(self.records, Part):
            self.records.join(seen)


def write(
    dataset: Dataset,
    path: Path | str,
    format: str | Format[Any],
    *,
    overwrite: bool = False,
    images: str | None = None,
    **options: Any,
) -> WriteReport:
    """Write `dataset` at `path`; OutputExists when labels are there and `overwrite` is not set.

    `images` says how image files come along: copy, hardlink, symlink or none; None is the format's own way. `options`
    are those of the format by name, as `samlabel formats` lists them; one that it does not have is a UsageError.
    """
    chosen = get(format)
    return _write(dataset, Path(path), chosen, _options(chosen, options, overwrite=overwrite, images=images))


def update(
    dataset: Dataset, path: Path | str, format: ImagewiseFormat[Any], update: Update, *, images: str | None = None
) -> WriteReport:
    """Write `dataset` at `path` as `write` does with `overwrite`, but the images are those that `update` has."""
    return _write(dataset, Path(path), format, _options(format, {}, overwrite=True, images=images), update)


def _options(format: Format[Any], given: Mapping[str, Any], *, overwrite: bool, images: str | None) -> FormatOptions:
    placed = {} if images is None else {"images": images}
    options: FormatOptions = format.chosen({**given, **placed, "overwrite": overwrite})
    return options


def _write(
    dataset: Dataset, path: Path, format: Format[Any], options: FormatOptions, update: Update | None = None
) -> WriteReport:
    if update is not None and isinstance(format, ImagewiseFormat):
        report = format.update(dataset, path, options, update)
    else:
        report = format.write(dataset, path, options)
    if options.images == "symlink":
        note_images(path if path.is_dir() else path.parent, dataset)
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
    to: str | Format[Any],
    from_: str | Format[Any] | None = None,
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
    `options` are those of the target format, see `write`. Codes: `converters.CODES`.
    """
    read_as, why = (get(from_), "as told") if from_ else detect_format(source)
    write_as = get(to)
    chosen = _options(write_as, options, overwrite=overwrite, images=images)
    skipped = Lenient() if lenient else None
    pictures = not dry_run and write_as.needs_images(chosen)
    return transfer(
        lambda: read(
            source, read_as, image_root=image_root, lenient=skipped, pictures=pictures, follow_links=follow_links
        ),
        target,
        to=write_as,
        options=chosen,
        receipt=Receipt(str(source), str(target), read_as.name, why, write_as.name),
        policy=Policy(allow_lossy, min_iou, measure),
        dry_run=dry_run,
        skipped=[skipped] if skipped else [],
    )


@dataclass(frozen=True)
class Policy:
    """Which losses are permitted, and which masks are measured; see `convert`."""

    allow_lossy: bool = False
    min_iou: float | None = None
    measure: str = "auto"

    def __post_init__(self) -> None:
        if self.min_iou is not None and not 0 <= self.min_iou <= 1:
            raise UsageError(f"min_iou (--min-iou) is {self.min_iou}; wanted a number from 0 to 1")
        if self.measure not in CHOICES:
            raise UsageError(f"unknown choice of what to measure {self.measure!r}; known: {', '.join(CHOICES)}")


def transfer(
    source: Callable[[], Dataset],
    target: Path | str,
    *,
    to: Format[Any],
    options: FormatOptions,
    receipt: Receipt,
    policy: Policy,
    dry_run: bool = False,
    skipped: Sequence[Lenient] = (),
    note: str = "",
) -> Receipt:
    """The dataset that `source()` opens, written at `target`, and `receipt` filled in; see `convert` for the rest.

    `source` is called again where its records cannot be iterated twice; `skipped` is what its readers left out. The
    target is locked meanwhile: UsageError at once where another command writes there. What the same command left
    unfinished there is replaced unasked; `note` says what it does to the records on the way.
    """
    receipt.dry_run = dry_run
    with nullcontext() if dry_run else Lock(target) as lock:
        watch, report, lost = _transfer(source, Path(target), lock, to, options, receipt, policy, note)
    receipt.found, receipt.mask_iou = watch.found, watch.mask_iou()
    receipt.images_in, receipt.objects_in = watch.found.images, watch.found.objects
    receipt.images_out, receipt.objects_out = report.images, report.objects
    # The writer saw the same records, so of each code the larger count holds.
    receipt.losses, receipt.notes = _split(lost | report.losses)
    left_out = Lenient.joined(skipped)
    receipt.skipped, receipt.skipped_examples = left_out.counts, left_out.examples
    return receipt


def _transfer(
    source: Callable[[], Dataset],
    target: Path,
    lock: Lock | None,
    to: Format[Any],
    options: FormatOptions,
    receipt: Receipt,
    policy: Policy,
    note: str,
) -> tuple[Watch, WriteReport, Counter[str]]:
    """What went by, what was written, and what was foretold to be lost; without a lock it is a dry run."""
    dataset = source()
    watch = Watch(to, options, dataset.categories, "all" if policy.min_iou is not None else policy.measure)
    # A file that appears whole or not at all, in a format that loses nothing, need not be foretold: what the reader
    # left out is known before it appears.
    sure = to.capabilities.one_file and options.images == "none" and watch.loses_nothing
    lost: Counter[str] | None = None
    if lock is None or policy.min_iou is not None or not (policy.allow_lossy or sure):
        in_parts(_go_by, Passing(dataset.records, watch))
        lost = watch.losses(dataset)
        if lock is None:
            left = watch.found.objects - sum(lost[code] for code in DROPPED)
            return watch, WriteReport(to.name, str(target), watch.found.images, left), lost
        _refuse(f"{receipt.source_format} to {to.name}", _split(lost)[0], watch.mask_iou(), policy)
        if isinstance(dataset.records, Iterator):
            dataset = source()

    def refuse() -> None:
        if not policy.allow_lossy:
            _refuse(f"{receipt.source_format} to {to.name}", _split(watch.losses(dataset))[0], watch.mask_iou(), policy)

    passing = dataset if lost is not None else replace(dataset, records=Passing(dataset.records, watch, at_end=refuse))
    what = f"{receipt.source} to {to.name}, {replace(options, overwrite=False)}, {note}"
    with begun(lock, what, to, [target], overwrite=options.overwrite) as may_replace:
        report = _write(passing, target, to, replace(options, overwrite=may_replace))
    return watch, report, watch.losses(dataset) if lost is None else lost


@contextmanager
def begun(lock: Lock, what: str, to: Format[Any], targets: Sequence[Path], *, overwrite: bool) -> Iterator[bool]:
    """Whether labels at `targets` may be replaced: the caller says so, or they are what `what` left unfinished.

    `what` tells one command from another. Until the block ends well, what it writes in the format `to` counts as
    unfinished, unless labels of somebody's were there before.
    """
    what = " ".join(what.split())
    goes_on = lock.unfinished == what
    if goes_on or not any(to.existing(target) for target in targets):
        lock.begin(what)
    try:
        yield overwrite or goes_on
    except BaseException:
        if not any(to.existing(target) for target in targets):
            lock.forget()
        raise


def _go_by(records: Iterable[ImageRecord]) -> None:
    for _ in records:
        pass


DROPPED = ("object-lost", "empty-mask-lost", "no-mask-lost")


def _refuse(way: str, losses: Mapping[str, int], iou: MaskIou, policy: Policy) -> None:
    """LossyConversion unless what is lost was permitted."""
    if policy.min_iou is not None:
        if iou.measured < iou.masks:
            raise LossyConversion(
                f"{way}: only {iou.measured} of {iou.masks} masks can be measured, so that --min-iou says nothing; "
                "--allow-lossy without it goes on"
            )
        if iou.min is not None and iou.min < policy.min_iou:
            low = iou.worst[0] if iou.worst else None
            which = f", {low['image']} object {low['place']}" if low else ""
            found = f"the lowest mask IoU is {down(iou.min)}{which}"
            raise LossyConversion(f"{way}: {found}; --min-iou asks for {policy.min_iou:g}")
        if not policy.allow_lossy:
            losses = {code: losses[code] for code in DROPPED if losses.get(code)}
    if losses and not policy.allow_lossy:
        summary = ", ".join(f"{count} {code}" for code, count in losses.items())
        raise LossyConversion(
            f"{way} would lose something: {summary}; --allow-lossy accepts that, --dry-run shows the receipt"
        )


def _split(found: Mapping[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    lost = {code: found[code] for code in REFUSED if found.get(code)}
    noted = {code: found[code] for code in NOTED if found.get(code)}
    return lost, noted
