"""What is wrong with a label dataset: findings with stable codes, and whether it passes.

A code never changes its meaning; new checks get new codes. Nothing is written and no picture is decoded: sizes come
from headers, masks are measured from their runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..errors import FormatError, ImageError, LeadsOutside, UnknownName, UsageError
from ..formats import Format, Lenient, detect_format, get, read
from ..image_files import ImageFiles
from ..progress import SILENT, Progress
from ..types import Annotation, Dataset, ImageRecord
from .near_duplicates import TooManyPairs, duplicates

LISTED = 1000  # broken things of a kind that are listed one by one
SEVERITIES = ("error", "warning", "note", "off")
# Code -> (severity unless the caller says otherwise, what it means).
CODES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "format": ("error", "the file breaks a rule of its format"),
        "outside": ("error", "a label file, a folder of data.yaml or an image leads out of the dataset"),
        "no-images": ("error", "the dataset lists no image"),
        "image-missing": ("error", "a listed image is not in the folder of pictures"),
        "image-unreadable": ("error", "a listed image cannot be read"),
        "image-size": ("error", "the labels were made for another size of the image"),
        "image-twice": ("error", "an image is listed twice"),
        "unknown-category": ("error", "an object is of a category that the dataset does not list"),
        "category-twice": ("error", "two categories have one name"),
        "box-outside": ("error", "a box reaches out of its image by more than a pixel"),
        "box-empty": ("error", "a box without width or height"),
        "box-mask": ("warning", "a box that is not around its mask, by more than two pixels"),
        "mask-empty": ("error", "a mask without a pixel"),
        "mask-tiny": ("warning", "a mask smaller than the threshold min_area"),
        "duplicate": ("warning", "an object overlaps an earlier one of its category more than duplicate_iou"),
        "duplicate-other": ("note", "an object overlaps an earlier one of another category more than that"),
        "not-compared": ("note", "an image with more overlapping objects than are compared for duplicates"),
        "refused": ("warning", "an image that the usual reader of the format leaves out, labels and all"),
        "skipped": ("warning", "something broken that --lenient leaves out"),
        "left-out": ("warning", "what became no object or lost its id: shapes, another annotator's objects"),
        "category-unused": ("note", "a category without an object"),
        "imbalance": ("warning", "the largest category has more objects than max_imbalance times the smallest"),
        "no-objects": ("note", "an image without objects"),
    }
)


@dataclass(frozen=True, slots=True)
class Limits:
    """Thresholds of the checks, and what makes a dataset fail."""

    min_area: int = 4  # pixels
    duplicate_iou: float = 0.95
    max_imbalance: float = 100.0
    fail_on: str = "error"  # findings of this severity or a worse one fail; "off": none does
    allow: Mapping[str, int] = field(default_factory=dict)  # so many findings of a code are accepted
    severity: Mapping[str, str] = field(default_factory=dict)  # other severities than those of CODES

    def __post_init__(self) -> None:
        for code in (*self.allow, *self.severity):
            if code not in CODES:
                raise UnknownName("code", code, list(CODES))
        for word in (self.fail_on, *self.severity.values()):
            if word not in SEVERITIES:
                raise UnknownName("severity", word, list(SEVERITIES))
        if not 0 < self.duplicate_iou <= 1:
            raise UsageError(f"duplicate_iou is {self.duplicate_iou}; wanted a number above 0, up to 1")

    def of(self, code: str) -> str:
        return self.severity.get(code, CODES[code][0])


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, and where."""

    code: str
    severity: str
    message: str
    image: str | None = None
    object: int | None = None  # place in the image, from 1


@dataclass(slots=True)
class Report:
    """What a check found; `failed` names the codes that a gate did not let pass."""

    dataset: str
    images: int = 0
    objects: int = 0
    categories: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 passed, 4 a gate failed."""
        return 4 if self.failed else 0

    def to_json(self) -> dict[str, Any]:
        found = [{name: getattr(one, name) for name in one.__dataclass_fields__} for one in self.findings]
        return {
            "dataset": self.dataset,
            "passed": not self.failed,
            "failed": self.failed,
            "images": self.images,
            "objects": self.objects,
            "categories": self.categories,
            "counts": dict(sorted(self.counts.items())),
            "findings": found,
        }


def check(
    path: Path,
    *,
    format: str | Format[Any] | None = None,
    image_root: Path | None = None,
    limits: Limits | None = None,
    follow_links: bool = False,
    lenient: bool = False,
    progress: Progress = SILENT,
) -> Report:
    """Every finding in the dataset at `path`, in order of its images; images are looked for in `image_root`.

    What leads out of the dataset is a finding and not opened, unless `follow_links`. All that is broken is listed, as
    an error of the format, or as a warning where `lenient` says that it is to be left out.
    """
    limits = limits or Limits()
    report = Report(str(path))
    try:
        read_as = detect_format(path)[0] if format is None else get(format)
        broken = Lenient(examples=LISTED)
        dataset = read(path, read_as, image_root=image_root, lenient=broken, pictures=True, follow_links=follow_links)
        _collect(_findings(dataset, read_as, report, limits, progress), report, limits)
        _collect(_broken(broken, "skipped" if lenient else "format"), report, limits)
    except (FormatError, LeadsOutside) as error:
        code = "outside" if isinstance(error, LeadsOutside) else "format"
        _collect(iter([(code, " ".join(str(error).split()), None, None)]), report, limits)
    _judge(report, limits)
    return report


_Raw = tuple[str, str, "str | None", "int | None"]


def _collect(found: Iterator[_Raw], report: Report, limits: Limits) -> None:
    for code, message, image, number in found:
        severity = limits.of(code)
        if severity != "off":
            report.counts[code] += 1
            report.findings.append(Finding(code, severity, message, image, number))


def _judge(report: Report, limits: Limits) -> None:
    worst = SEVERITIES.index(limits.fail_on)
    for code, count in sorted(report.counts.items()):
        fails = limits.fail_on != "off" and SEVERITIES.index(limits.of(code)) <= worst
        if (fails or code in limits.allow) and count > limits.allow.get(code, 0):
            report.failed.append(code)


def _broken(lenient: Lenient, code: str) -> Iterator[_Raw]:
    for kind, messages in lenient.examples.items():
        for message in messages:
            yield code, " ".join(message.split()), None, None
        if lenient.counts[kind] > len(messages):
            yield code, f"{lenient.counts[kind] - len(messages)} more of {kind}", None, None


def _findings(
    dataset: Dataset, read_as: Format[Any], report: Report, limits: Limits, progress: Progress
) -> Iterator[_Raw]:
    names = {category.id: category.name for category in dataset.categories}
    for name, count in Counter(names.values()).items():
        if count > 1:
            yield "category-twice", f"{count} categories are called {name!r}", None, None
    used: Counter[str] = Counter({name: 0 for name in names.values()})
    seen: set[str] = set()
    files = dataset.images_in()
    for record in progress.over(dataset.records, "checking"):
        report.images += 1
        report.objects += len(record.annotations)
        if record.path in seen:
            yield "image-twice", "listed twice", record.path, None
        seen.add(record.path)
        if files.root is not None:
            yield from _picture(record, files)
        if reason := read_as.refused(record):
            yield "refused", reason, record.path, None
        for reason, count in record.left_out.items():
            yield "left-out", f"{count} {reason}", record.path, None
        if not record.annotations:
            yield "no-objects", "has no objects", record.path, None
        for number, one in enumerate(record.annotations, start=1):
            if one.category_id in names:
                used[names[one.category_id]] += 1
            else:
                yield "unknown-category", f"category {one.category_id} is not listed", record.path, number
            for code, message in _geometry(one, record.size, limits):
                yield code, message, record.path, number
        yield from _duplicates(record, limits)
    report.categories.update(used)
    if not report.images:
        yield "no-images", "lists no image", None, None
    for name, count in used.items():
        if not count:
            yield "category-unused", f"{name!r} has no object", None, None
    present = {name: count for name, count in used.items() if count}
    if present and max(present.values()) > limits.max_imbalance * min(present.values()):
        most, least = max(present, key=present.__getitem__), min(present, key=present.__getitem__)
        counts = f"{present[most]} objects of {most!r}, {present[least]} of {least!r}"
        yield "imbalance", f"{counts}; {limits.max_imbalance:g} times is allowed", None, None


def _picture(record: ImageRecord, files: ImageFiles) -> Iterator[_Raw]:
    from ..sources.images import header_size

    assert files.root is not None
    try:
        files.find(record.path)
        size = header_size(files.root, record.path)
    except FileNotFoundError:
        yield "image-missing", f"not in {files.root}", record.path, None
    except LeadsOutside as error:
        yield "outside", str(error), record.path, None
    except ImageError as error:
        yield "image-unreadable", str(error), record.path, None
    else:
        if size != tuple(record.size):
            says, has = (f"{width}x{height}" for height, width in (record.size, size))
            yield "image-size", f"labels for {says}, the picture has {has}", record.path, None


def _geometry(one: Annotation, size: tuple[int, int], limits: Limits) -> Iterator[tuple[str, str]]:
    height, width = size
    x0, y0, x1, y1 = one.box
    if x1 <= x0 or y1 <= y0:
        yield "box-empty", f"box {one.box} has no area"
    if min(x0, y0) < -1 or x1 > width + 1 or y1 > height + 1:
        yield "box-outside", f"box {one.box} on an image of {width}x{height}"
    if one.mask is None:
        return
    area = one.mask.area
    if area == 0:
        yield "mask-empty", "the mask has no pixel"
        return
    if area < limits.min_area:
        yield "mask-tiny", f"{area} pixels; at least {limits.min_area} are wanted"
    if max(abs(a - b) for a, b in zip(one.box, one.mask.box, strict=True)) > 2:
        yield "box-mask", f"box {one.box}, mask in {one.mask.box}"


def _duplicates(record: ImageRecord, limits: Limits) -> Iterator[_Raw]:
    """Objects that are nearly one with an earlier one."""
    try:
        for found in duplicates(record.annotations, limits.duplicate_iou):
            code = "duplicate" if found.same_category else "duplicate-other"
            message = f"overlaps object {found.first + 1} by {found.overlap:.3f}"
            yield code, message, record.path, found.second + 1
    except TooManyPairs:
        yield "not-compared", "so many objects overlap that not all were compared", record.path, None
