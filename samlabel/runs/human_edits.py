"""What people made: labels edited in place or brought in are found, marked, and never redone.

An edit is found by hash. What we wrote is made again from the journal and read back, and so is the edited file: the
images whose objects differ are a person's from then on. Objects that the person left alone keep their scores and
their source; the others are of source "human". What cannot be decided is a conflict, listed and left to the person.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from .. import formats
from ..errors import Conflicted, ImageError, SamlabelError
from ..files import OutputFolder
from ..progress import SILENT, Progress
from ..sources.name_index import NameIndex
from ..sources.source import Source
from ..types import Annotation, Category, Dataset, ImageRecord
from .hidden import HIDDEN
from .journal import HUMAN, Journal, record_to_json
from .outputs import Outputs

CONFLICTS = "conflicts.jsonl"
PRISTINE = f"{HIDDEN}-pristine.new"  # removed when the next run starts, if we are killed
Write = Callable[[str, Dataset, Path], Any]


@dataclass(frozen=True, slots=True)
class Conflict:
    """Something about a person's labels that only the person can decide."""

    path: str
    kind: str  # two-edits, two-persons, two-labels, picture-changed, unknown-image, image-missing, other-size
    message: str


@dataclass(frozen=True, slots=True)
class Made:
    """A person's labels of one image; `names` are the categories that its ids mean."""

    record: ImageRecord
    names: Mapping[int, str]
    origin: str

    def says(self) -> str:
        """Equal for two of the same objects, whatever ids their categories have."""
        found = record_to_json(self.record)
        for one, annotation in zip(found.get("annotations", ()), self.record.annotations, strict=True):
            one["category_id"] = self.names.get(annotation.category_id)
            one.pop("id", None)
        return json.dumps([found["size"], found.get("annotations", [])], sort_keys=True)


def edits(
    outputs: Outputs, journal: Path, settings: str, source: Source, write: Write, progress: Progress = SILENT
) -> tuple[dict[str, Made], list[Conflict], set[str]]:
    """Labels that a person changed in the files we wrote, conflicts, and the formats whose edits were understood."""
    found: dict[str, Made] = {}
    conflicts: list[Conflict] = []
    understood: set[str] = set()
    for name in outputs.formats:
        if not outputs.edited(name):
            continue
        try:
            mine, theirs = _both(outputs, name, journal, settings, source, write, progress)
        except SamlabelError:  # no longer a file of its format, or not made from this journal: it stays in the way
            continue
        understood.add(name)
        for path, made in theirs.items():
            if path in mine and mine[path].says() == made.says():
                continue
            if path in found and found[path].says() != made.says():
                message = f"{found[path].origin} and {name} were both edited, and differ; undo one of the two"
                conflicts.append(Conflict(path, "two-edits", message))
            elif path not in source.paths:
                conflicts.append(
                    Conflict(path, "unknown-image", f"{name} has labels for it, but there is no such picture")
                )
            else:
                found[path] = _marked(made, mine.get(path), name)
        gone = [path for path in mine if path not in theirs]
        conflicts += [
            Conflict(path, "image-missing", f"it was taken out of {name}, but the picture is here; delete the picture")
            for path in gone
        ]
    return found, conflicts, understood


def _both(
    outputs: Outputs, name: str, journal: Path, settings: str, source: Source, write: Write, progress: Progress
) -> tuple[dict[str, Made], dict[str, Made]]:
    """By image: what we wrote, as the format gives it back with the journal's own fields, and what is there now."""
    origin = outputs.origin(name)
    if origin is None:
        raise SamlabelError(f"{name}: not known what it was made from")
    categories = tuple(Category(key, text, above) for key, text, above in origin["categories"])
    below = outputs.folder
    with Journal(journal, settings, categories=categories, until=origin["end"], below=below) as before:
        images = [path for path in origin["images"] if path in before.entries]
        if len(images) != len(origin["images"]) or before.totals(images).digest != origin["records"]:
            raise SamlabelError(f"{name}: the journal has moved on")
        images = [path for path in images if (source.root / path).is_file()]
        originals = {path: before.record(path) for path in images}
        below.remove_tree(PRISTINE)
        below.mkdir(PRISTINE)
        folder = outputs.out / PRISTINE
        try:
            write(name, Dataset(categories, list(originals.values()), source.root), folder)
            mine = _read(formats.read(folder, name, follow_links=True), name, progress)  # it is ours
        finally:
            below.remove_tree(PRISTINE)
    theirs = _read(formats.read(outputs.out / name, name), name, progress)
    names = {one.id: one.name for one in categories}
    for path, made in mine.items():
        original = originals.get(path)
        if original is not None and len(original.annotations) == len(made.record.annotations):
            mine[path] = _Paired(made.record, made.names, name, original, names)
    return mine, theirs


@dataclass(frozen=True, slots=True)
class _Paired(Made):
    """What a format gives back of an image, beside the record it was written from."""

    original: ImageRecord
    original_names: Mapping[int, str]


def _marked(made: Made, mine: Made | None, name: str) -> Made:
    """`made` with every object that the person left alone as it was before, and every other of source "human"."""
    names = dict(made.names)
    before: dict[str, Annotation] = {}
    if isinstance(mine, _Paired):
        ids = {text: key for key, text in names.items()}
        for given_back, original in zip(mine.record.annotations, mine.original.annotations, strict=True):
            text = mine.original_names.get(original.category_id, "")
            key = ids.get(text, original.category_id)
            before[_key(given_back, mine.names)] = replace(original, category_id=key)
    annotations = []
    for one in made.record.annotations:
        known = before.pop(_key(one, names), None)
        annotations.append(known if known is not None else replace(one, source=HUMAN, id=None))
    used = {one.category_id for one in annotations}
    size = mine.original.size if isinstance(mine, _Paired) else made.record.size
    record = ImageRecord(made.record.path, size, tuple(annotations))
    return Made(record, {key: text for key, text in names.items() if key in used}, name)


def _key(annotation: Annotation, names: Mapping[int, str]) -> str:
    record = ImageRecord("x", annotation.mask.size if annotation.mask else (1, 1), (replace(annotation, id=None),))
    return Made(record, names, "").says()


def _read(dataset: Dataset, name: str, progress: Progress) -> dict[str, Made]:
    names = {one.id: one.name for one in dataset.categories}
    records = progress.over(dataset.records, "reading labels")
    return {record.path: Made(replace(record, id=None, extra={}), names, name) for record in records}


def accepted(
    dataset: Path, source: Source, *, follow_links: bool = False, progress: Progress = SILENT
) -> tuple[dict[str, Made], list[Conflict]]:
    """Labels of a dataset in any format, as a person's: without a model's scores.

    An image is found by its path, else by its file name where one image alone has it, else by its name without the
    suffix where one image of that size alone has it. Raises Conflicted where no image at all is found.
    """
    find = _Finder(source)
    found: dict[str, Made] = {}
    conflicts: list[Conflict] = []
    brought = _read(formats.read(dataset, follow_links=follow_links), str(dataset), progress)
    for path, made in progress.over(brought.items(), "comparing with images"):
        wanted = (int(made.record.size[0]), int(made.record.size[1]))
        name = find(path, wanted)
        if name is None:
            conflicts.append(Conflict(path, "unknown-image", f"{dataset} has labels for it, but no image is just it"))
            continue
        size = find.size(name) or wanted
        if size != wanted:
            message = f"{dataset} has labels for {wanted}, the image is {size} (height, width)"
            conflicts.append(Conflict(name, "other-size", message))
            continue
        if name in found:
            conflicts.append(Conflict(path, "two-labels", f"{dataset} has other labels for the same image, {name}"))
            continue
        annotations = tuple(map(_by_hand, made.record.annotations))
        used = {one.category_id for one in annotations}
        names = {key: text for key, text in made.names.items() if key in used}
        found[name] = Made(ImageRecord(name, made.record.size, annotations), names, made.origin)
    if brought and not found and not any(one.kind == "other-size" for one in conflicts):
        raise Conflicted(
            f"{dataset}: none of its {len(brought)} images is in {source.root}, the first is {next(iter(brought))}; "
            f"expected the same relative paths or file names"
        )
    return found, conflicts


def _by_hand(annotation: Annotation) -> Annotation:
    """The object as a person's; scores of a model say nothing of it."""
    return replace(annotation, source=HUMAN, id=None, score=None, predicted_iou=None, stability_score=None)


class _Finder:
    """Finds the image that a label is of."""

    def __init__(self, source: Source) -> None:
        self._source, self._paths = source, frozenset(source.paths)
        self._index = NameIndex(source.paths)

    def __call__(self, path: str, size: tuple[int, int]) -> str | None:
        if path in self._paths:
            return path
        same = self._index.like(PurePosixPath(path).name, lambda other: self.size(other) == size)
        return same[0] if len(same) == 1 else None

    def size(self, path: str) -> tuple[int, int] | None:
        """(height, width) of an image; None where it cannot be read."""
        try:
            return self._source.size(path)
        except (ImageError, OSError):
            return None


def take(
    journal: Journal, found: Mapping[str, Made], source: Source, *, replacing: bool, progress: Progress = SILENT
) -> list[Conflict]:
    """Put a person's labels into the journal; another person's that are there already stay, as a conflict."""
    conflicts, taken = [], []
    for path in progress.over(sorted(found), "accepting labels"):
        made, entry = found[path], journal.entries.get(path)
        state = source.state(path)
        sha256 = source.sha256(path)
        if entry is not None and entry.human:
            before = Made(journal.record(path), {one.id: one.name for one in journal.categories}, "")
            if before.says() == made.says():
                continue
            if not replacing and entry.sha256 == sha256:
                conflicts.append(
                    Conflict(path, "two-persons", f"a person's labels are here already; {made.origin} differs")
                )
                continue
        taken.append((made, sha256, state))
    if not conflicts:
        for made, sha256, state in progress.over(taken, "keeping labels"):
            journal.append_human(made.record, made.names, sha256, state)
    return conflicts


def list_conflicts(out: OutputFolder, conflicts: list[Conflict], *, stop: bool) -> None:
    """Write `OUT/conflicts.jsonl`, or remove an old one; with `stop` raise Conflicted when there is any."""
    if not conflicts:
        out.remove(CONFLICTS)
        return
    rows = sorted(json.dumps(asdict(one), ensure_ascii=False, sort_keys=True) for one in conflicts)
    out.write(CONFLICTS, "".join(row + "\n" for row in rows), durable=True)
    if stop:
        first = conflicts[0]
        raise Conflicted(
            f"{first.path}: {first.message}; {len(conflicts)} such conflict{'s' * (len(conflicts) > 1)} with what a "
            f"person made, all in {out.named / CONFLICTS}; nothing was changed"
        )
