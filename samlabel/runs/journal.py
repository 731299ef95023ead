"""The run's journal: one checksummed line an image, appended, recovered after a torn write.

A line is `crc32 head TAB record`: the CRC (8 hex digits) covers what follows it, the head is a
small JSON object that is read for every line when a run starts, the record is read only when label
files are written. Memory holds one short entry an image.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from ..errors import FormatError, SamlabelError
from ..file_state import State
from ..files import OutputFolder
from ..geometry import PIXELS_MAX, mask_from_counts
from ..options import WEAK_SCORE
from ..pipeline.context import Labeled
from ..types import Annotation, Category, ImageRecord, Mask

Choice = Callable[[dict[str, Any], bytes], "tuple[dict[str, Any], ImageRecord | None] | None"]
HUMAN = "human"  # the source of what people made, and the settings of their lines in the journal
_SYNC_SECONDS = 1.0  # a power cut costs at most this much work; a killed process costs none


class Entry(NamedTuple):
    """Where a finished image lies in the journal, and which file it was made from."""

    offset: int
    sha256: str
    stat: State
    human: bool = False  # a person made these labels; lines of models, earlier or later, do not count


@dataclass(slots=True)
class Totals:
    """Counts over finished images; `digest` identifies their records exactly."""

    images: int = 0
    objects: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    categories: Counter[int] = field(default_factory=Counter)
    weak: int = 0  # objects whose detector score is under WEAK_SCORE
    digest: str = ""
    records: dict[str, str] = field(default_factory=dict)  # of each image, what identifies its record


class Journal:
    """Finished images by path, on disk; a context manager that opens, recovers and appends."""

    def __init__(
        self,
        path: Path,
        settings: str,
        *,
        categories: Iterable[Category] = (),
        until: int | None = None,
        below: OutputFolder | None = None,
    ) -> None:
        """`settings` is a short hash; lines that were written under another one do not count, but for a person's.

        Categories of a person's labels are known by name: they get the id of the one in `categories`, or a new one.
        With `until` the journal is as it was when it had so many bytes, and nothing may be appended. `below` is the
        folder below which no link is followed to `path`; without it the one that `path` lies in.
        """
        self.path = path
        self.settings = settings
        self.entries: dict[str, Entry] = {}
        self.discarded = 0  # damaged lines, whose images are done again
        self._given = tuple(categories)
        self._new: set[str] = set()  # names that only people use
        self._until = until
        self._folder = below or OutputFolder(path.parent)
        self._name = self._folder.name_of(path)

    def __enter__(self) -> Journal:
        self._file = self._folder.append(self._name) if self._until is None else self._folder.open(self._name)
        self._synced = time.monotonic()
        self._end = self._recover()
        return self

    @property
    def end(self) -> int:
        """Bytes of the journal."""
        return self._end

    @property
    def categories(self) -> tuple[Category, ...]:
        """The categories given, and after them those that only people use, by name."""
        highest = max((one.id for one in self._given), default=0)
        known = {one.name for one in self._given}
        new = sorted(self._new - known)
        return (*self._given, *(Category(highest + place, name) for place, name in enumerate(new, start=1)))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if self._until is None:
                os.fsync(self._file.fileno())
        finally:
            self._file.close()

    def append_human(self, record: ImageRecord, names: Mapping[int, str], sha256: str, stat: State) -> None:
        """Add a person's labels of one image; `names` says what the ids of its categories mean."""
        head = {
            "path": record.path,
            "sha256": sha256,
            "stat": list(stat),
            "settings": HUMAN,
            "dropped": {},
            "categories": count_objects(record),
            "names": {str(key): names[key] for key in sorted(names)},
        }
        self._add(seal(head, record_to_json(record)))
        self.entries[record.path] = Entry(self._written_at, sha256, stat, human=True)
        self._new.update(names.values())

    def append(self, done: Labeled) -> None:
        """Add one finished image; it counts from the moment this returns."""
        head = {
            "path": done.record.path,
            "sha256": done.sha256,
            "stat": list(done.stat),
            "settings": self.settings,
            "dropped": dict(sorted(done.dropped.items())),
            "categories": count_objects(done.record),
            "weak": count_weak(done.record),
        }
        self._add(seal(head, record_to_json(done.record)))
        self.entries[done.record.path] = Entry(self._written_at, done.sha256, done.stat)

    def _add(self, line: bytes) -> None:
        self._written_at = self._end
        try:
            written = self._file.write(line)
            if written != len(line):
                raise OSError(f"only {written} of {len(line)} bytes were written; the disk may be full")
        except OSError as error:
            os.ftruncate(self._file.fileno(), self._end)
            raise SamlabelError(
                f"{self.path}: cannot be written: {error.strerror or error}; "
                f"what is done so far is safe, make room and run the same command again"
            ) from error
        self._end += len(line)
        if time.monotonic() - self._synced > _SYNC_SECONDS:
            os.fsync(self._file.fileno())
            self._synced = time.monotonic()

    def record(self, path: str) -> ImageRecord:
        """The record of a finished image, equal to the one that was appended."""
        head, body = self._line(path)
        return self._renumbered(head, self._record(path, body))

    def _record(self, path: str, body: bytes) -> ImageRecord:
        """The record in a line; FormatError where somebody else wrote it, since a sum alone anybody can make."""
        try:
            record = record_from_json(json.loads(body))
            _check_record(record)
            if record.path != path:
                raise ValueError(f"it is of {record.path!r}")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise FormatError(
                f"{self.path}: the record of {path!r} is not one that samlabel wrote ({reason}); choose another --out, "
                f"or remove {self.path} to label its images again"
            ) from error
        return record

    def _renumbered(self, head: Mapping[str, Any], record: ImageRecord) -> ImageRecord:
        """A person's record with the ids that its categories have in this run."""
        if "names" not in head:
            return record
        ids = {one.name: one.id for one in reversed(self.categories)}
        names = {int(key): name for key, name in head["names"].items()}
        annotations = tuple(replace(one, category_id=ids[names[one.category_id]]) for one in record.annotations)
        return replace(record, annotations=annotations)

    def records(self, paths: Iterable[str]) -> Records:
        """The records of these images in the order given; may be iterated again and again."""
        return Records(self, tuple(paths))

    def totals(self, paths: Iterable[str]) -> Totals:
        """Counts over these images, without decoding one record."""
        import hashlib

        totals, digest = Totals(), hashlib.sha256()
        for path in paths:
            head, body = self._line(path)
            counts = head["categories"]
            if "names" in head:
                record = self._renumbered(head, self._record(path, body))
                body, counts = _json(record_to_json(record)).encode("ascii"), count_objects(record)
            digest.update(body)
            totals.records[path] = hashlib.sha256(body).hexdigest()[:32]
            totals.images += 1
            totals.dropped.update(head["dropped"])
            totals.weak += head.get("weak", 0)  # a person's labels have none
            for category, number in counts.items():
                totals.categories[int(category)] += number
                totals.objects += number
        totals.digest = digest.hexdigest()
        return totals

    def _line(self, path: str) -> tuple[dict[str, Any], bytes]:
        self._file.seek(self.entries[path].offset)
        opened = _open(self._file_line())
        if opened is None:
            raise SamlabelError(f"{self.path}: the line of {path} was changed while the run was reading it")
        return opened

    def _file_line(self) -> bytes:
        """The line at the current position; the file is unbuffered so that appends go straight to the system."""
        parts = []
        while chunk := self._file.read(1 << 16):
            end = chunk.find(b"\n")
            if end >= 0:
                parts.append(chunk[: end + 1])
                break
            parts.append(chunk)
        return b"".join(parts)

    def _recover(self) -> int:
        """Index the good lines, cut off a torn tail; gives where the next line starts."""
        end = good = 0
        with self._folder.open(self._name) as stream:
            for line in stream:
                if self._until is not None and end >= self._until:
                    return end
                opened = _open(line)
                if opened is None:
                    self.discarded += 1
                elif opened[0]["settings"] in (self.settings, HUMAN):
                    head = opened[0]
                    human = head["settings"] == HUMAN
                    known = self.entries.get(head["path"])
                    if human or known is None or not known.human:
                        self.entries[head["path"]] = Entry(end, head["sha256"], tuple(head["stat"]), human)
                    self._new.update(head.get("names", {}).values())
                end += len(line)
                if line.endswith(b"\n"):
                    good = end
        if good != end and self._until is None:
            os.ftruncate(self._file.fileno(), good)
        return good


class Records:
    """Records of a journal, streamed from disk each time it is iterated."""

    def __init__(self, journal: Journal, paths: tuple[str, ...]) -> None:
        self._journal, self._paths = journal, paths

    def __len__(self) -> int:
        return len(self._paths)

    def __iter__(self) -> Iterator[ImageRecord]:
        return (self._journal.record(path) for path in self._paths)


def rewrite(journal: Path, choose: Choice, *, below: OutputFolder | None = None) -> None:
    """Replace a journal by the lines that `choose` wants, atomically; `below` as for `Journal`.

    `choose(head, body)` gives the head to write and a new record, None for the same record; None drops the line.
    """
    folder = below or OutputFolder(journal.parent)
    name = folder.name_of(journal)
    with folder.open(name) as lines, folder.replacing(name, durable=True) as made:
        for line in lines:
            opened = _open(line)
            chosen = choose(*opened) if opened is not None else None
            if opened is None or chosen is None:
                continue
            head, record = chosen
            if record is None:
                made.write(_seal(_json(head).encode("ascii") + b"\t" + opened[1]))
            else:
                counts = {"categories": count_objects(record), "weak": count_weak(record)}
                made.write(seal({**head, **counts}, record_to_json(record)))


def record_to_json(record: ImageRecord) -> dict[str, Any]:
    """A record as JSON values that `record_from_json` turns back into an equal one."""
    found = _filled(record)
    found["size"] = [int(v) for v in record.size]
    found["annotations"] = [_annotation_to_json(annotation) for annotation in record.annotations]
    return found


def record_from_json(found: Mapping[str, Any]) -> ImageRecord:
    """The record that `record_to_json` was given."""
    values = dict(found)
    height, width = values["size"]
    values["size"] = (height, width)
    values["annotations"] = tuple(_annotation_from_json(one) for one in values["annotations"])
    return ImageRecord(**values)


def _annotation_to_json(annotation: Annotation) -> dict[str, Any]:
    found = _filled(annotation)
    found["category_id"] = int(annotation.category_id)
    for name in ("score", "predicted_iou", "stability_score"):
        if name in found:
            found[name] = float(found[name])  # json refuses numpy's float32
    for name in ("box", "prompt_box", "crop_box"):
        if name in found:
            found[name] = [float(v) for v in found[name]]
    if "point_coords" in found:
        found["point_coords"] = [[float(x), float(y)] for x, y in annotation.point_coords]
    if (mask := annotation.mask) is not None:
        found["mask"] = {"size": [int(v) for v in mask.size], "counts": mask.counts.decode("ascii")}
    return found


def _annotation_from_json(found: Mapping[str, Any]) -> Annotation:
    values = dict(found)
    for name in ("box", "prompt_box", "crop_box"):
        if name in values:
            values[name] = tuple(values[name])
    if "point_coords" in values:
        values["point_coords"] = tuple((x, y) for x, y in values["point_coords"])
    if "mask" in values:
        height, width = values["mask"]["size"]
        values["mask"] = Mask((height, width), values["mask"]["counts"].encode("ascii"))
    return Annotation(**values)


def _filled(value: Annotation | ImageRecord) -> dict[str, Any]:
    """The fields that say something: not None, not False, not empty. Scores may be numpy's, so nothing is compared."""
    found = {name: getattr(value, name) for name in value.__dataclass_fields__}
    for name in ("extra", "left_out"):
        if name in found:
            found[name] = dict(found[name])
    return {name: one for name, one in found.items() if one is not None and one is not False and not _is_empty(one)}


def _is_empty(value: Any) -> bool:
    return isinstance(value, (tuple, dict)) and not value


def count_weak(record: ImageRecord) -> int:
    """How many objects a detector was not sure of."""
    return sum(one.score is not None and one.score < WEAK_SCORE for one in record.annotations)


def count_objects(record: ImageRecord) -> dict[str, int]:
    counts = Counter(int(annotation.category_id) for annotation in record.annotations)
    return {str(category): counts[category] for category in sorted(counts)}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))


def seal(head: Mapping[str, Any], record: Mapping[str, Any]) -> bytes:
    """One line of a journal."""
    return _seal((_json(head) + "\t" + _json(record)).encode("ascii"))


def _seal(body: bytes) -> bytes:
    return f"{zlib.crc32(body):08x} ".encode("ascii") + body + b"\n"


def _open(line: bytes) -> tuple[dict[str, Any], bytes] | None:
    """Head and record bytes of a sealed line, None when it is torn, damaged, or not one of ours."""
    body = line[9:-1]
    if not line.endswith(b"\n") or line[:9] != f"{zlib.crc32(body):08x} ".encode("ascii"):
        return None
    head, _, record = body.partition(b"\t")
    try:
        found = json.loads(head)
    except (ValueError, RecursionError):
        return None
    return (found, record) if _is_head(found) else None


def _is_head(found: Any) -> bool:
    """Whether a value has the fields that every line begins with, each of its kind."""
    if not isinstance(found, dict):
        return False
    counts = [found.get("dropped"), found.get("categories")]
    stat, names = found.get("stat"), found.get("names", {})
    return (
        all(isinstance(found.get(key), str) for key in ("path", "sha256", "settings"))
        and isinstance(stat, list)
        and len(stat) in (2, 4)  # two where there is no change time, and from earlier versions
        and all(isinstance(value, int) for value in stat)
        and all(isinstance(one, dict) and all(isinstance(value, int) for value in one.values()) for one in counts)
        and isinstance(names, dict)
        and all(isinstance(name, str) for name in names.values())
        and all(key.lstrip("-").isdecimal() for key in (*found["categories"], *names))
    )


def _check_record(record: ImageRecord) -> None:
    """ValueError or TypeError where a value that label files are made from is none, beyond what its type checks."""
    height, width = record.size
    if not 0 < int(height) * int(width) <= PIXELS_MAX:
        raise ValueError(f"its size is {record.size}")
    for one in record.annotations:
        scores = [one.score, one.predicted_iou, one.stability_score]
        numbers = [*(score for score in scores if score is not None), *(one.prompt_box or ()), *(one.crop_box or ())]
        numbers += [value for point in one.point_coords for value in point]
        if not isinstance(one.category_id, int) or not all(map(isfinite, numbers)):
            raise ValueError("an object has no category, or a number that is none")
        if one.mask is not None:  # decoders in C trust that the runs cover the size
            mask_from_counts(one.mask.counts, one.mask.size)
