"""One run over one output folder: what is left to do, what failed, and the files at the end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..errors import ImageChanged, ImageError, OutputExists, TooManyFailures
from ..files import OutputFolder
from ..options import SPEC, RunSpec
from ..pipeline.context import Clock, Labeled
from ..progress import SILENT, Progress
from ..protocols import ImageRef
from ..sources.images import Failed
from ..sources.source import Source
from ..types import Category
from .hidden import HIDDEN, read_json
from .human_edits import Conflict, Made, accepted, edits, list_conflicts, take
from .invalidation import carry_over, describe_difference, settings_hash
from .journal import HUMAN, Journal, rewrite
from .outputs import Outputs, edited_message
from .unchanged import Unchanged
from .writing import Writing, write_links

SHOWN_FAILURES = 20
FAILURES, MANIFEST = "failed.jsonl", "manifest.json"
SETTINGS, OVERWRITING, JOURNAL = f"{HIDDEN}/settings.json", f"{HIDDEN}/overwriting.json", f"{HIDDEN}/journal.jsonl"
TIMINGS = f"{HIDDEN}/last_run.json"


@dataclass(frozen=True, slots=True)
class Event:
    """One picture done, for progress displays."""

    path: str
    done: int  # pictures finished in this run, this one included
    total: int  # pictures that this run has to do
    objects: int = 0
    failed: str | None = None  # `stage: reason`


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run did; counts cover the whole dataset, also what earlier runs had finished."""

    output: Path
    images: int  # pictures found
    annotated: int  # labelled by this run
    resumed: int  # labelled by an earlier run
    failed: int
    objects: int
    dropped: Mapping[str, int]  # candidates that became no label, by reason
    categories: Mapping[str, int]  # objects by class name, absent classes left out
    outputs: Mapping[str, Path]  # label file or folder by format
    losses: Mapping[str, Mapping[str, int]]  # what a format could not hold, by its code in `converters.CODES`
    failures: tuple[Failed, ...]  # the first ones; all are in `output/failed.jsonl`
    kept: tuple[str, ...] = ()  # copies of files that a person had edited and that were written anew
    human: int = 0  # images whose labels are a person's
    weak: int = 0  # objects of a detector score under WEAK_SCORE
    conflicts: tuple[Conflict, ...] = ()  # what only a person can decide; also in `output/conflicts.jsonl`
    unread: Mapping[str, int] = field(default_factory=dict)  # files among the images that are none, by suffix
    left_out: tuple[str, ...] = ()  # folders among the images that are outputs of earlier runs
    remarks: tuple[str, ...] = ()  # of labels that exist already: what found no partner
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """0 done, 1 nothing could be labelled, 3 some images failed."""
        if not self.failed:
            return 0
        return 3 if self.annotated + self.resumed else 1

    def to_json(self) -> dict[str, Any]:
        """The summary as JSON values."""
        found = {one.name: getattr(self, one.name) for one in fields(self)}
        found["output"] = str(self.output)
        found["dropped"], found["categories"] = dict(self.dropped), dict(self.categories)
        found["outputs"] = {name: str(path) for name, path in self.outputs.items()}
        found["losses"] = dict(self.losses)
        found["failures"] = [asdict(one) for one in self.failures]
        found["kept"], found["left_out"] = list(self.kept), list(self.left_out)
        found["unread"], found["remarks"] = dict(self.unread), list(self.remarks)
        found["conflicts"] = [asdict(one) for one in self.conflicts]
        found["seconds"] = round(self.seconds, 3)
        return found


@dataclass(slots=True)
class Run:
    """One run over one output folder: what is left to do, what failed, what was written."""

    out: Path
    source: Source
    settings: dict[str, Any]
    categories: tuple[Category, ...]
    formats: tuple[str, ...]
    images: str | None
    overwrite: bool
    update: bool = False
    max_failures: int | None = None
    accepted: Path | None = None
    follow_links: bool = False  # in the dataset that is accepted
    stages: Progress = SILENT
    spec: RunSpec = SPEC
    failed: list[Failed] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)
    understood: set[str] = field(default_factory=set)  # formats whose edits are in the journal now
    annotated: int = 0
    fresh: set[str] = field(default_factory=set)  # images that this run labeled
    written: bool = False  # whether this run wrote a format
    folder: OutputFolder = field(init=False)
    outputs: Outputs = field(init=False)
    unchanged: Unchanged = field(init=False)

    def __post_init__(self) -> None:
        self.folder = OutputFolder(self.out)

    @property
    def journal(self) -> Path:
        return self.out / JOURNAL

    @contextmanager
    def begin(self) -> Iterator[Begun]:
        """The run with its journal open, once its settings agree with those of the earlier run; under the lock.

        Raises OutputExists where they do not agree, Conflicted where people's work contradicts itself, and
        TooManyFailures.
        """
        self.folder.mkdir(HIDDEN)
        self._prepare()
        settings = settings_hash(self.settings)
        with Journal(self.journal, settings, categories=self.categories, below=self.folder) as journal:
            self._stop_when_too_many_failed()
            todo = self._todo(journal)
            self._refuse_edited(todo)
            yield Begun(tuple(todo), self, journal)

    def _prepare(self) -> None:
        """Compare the settings with those of the earlier run."""
        began = self.folder.kind(SETTINGS) is not None
        for name in () if began else (FAILURES, MANIFEST):
            if (self.out / name).exists():
                raise OutputExists(f"{self.out / name} exists and samlabel did not write it; choose another --out")
        self.outputs = Outputs(self.out)
        self.unchanged = Unchanged(self.source, self.folder)
        before = read_json(self.folder, SETTINGS)
        self._take_human_work(before)
        if self.overwrite:
            self._start_over()
        elif (
            before != self.settings and began and self.folder.kind(JOURNAL) is not None and self.journal.stat().st_size
        ):
            if not self.update:
                raise OutputExists(
                    f"{self.out} holds a run with other settings: {describe_difference(before, self.settings)}; "
                    f"choose another --out, or --update to redo what that touches, or --overwrite to redo all"
                )
            carry_over(self.journal, before, self.settings, self.spec, below=self.folder)
        if before != self.settings:
            text = json.dumps(self.settings, indent=1, sort_keys=True) + "\n"
            self.folder.write(SETTINGS, text, durable=True)
        self.failed = list(self.source.failed)

    def _start_over(self) -> None:
        """Forget what is done, but once: an --overwrite that was cut off goes on with what it had redone."""
        if read_json(self.folder, OVERWRITING).get("settings") != settings_hash(self.settings):
            self.folder.remove(OVERWRITING)
            if self.folder.kind(JOURNAL) is not None:  # what people made stays
                rewrite(
                    self.journal,
                    lambda head, body: (head, None) if head["settings"] == HUMAN else None,
                    below=self.folder,
                )
            text = json.dumps({"settings": settings_hash(self.settings)}) + "\n"
            self.folder.write(OVERWRITING, text, durable=True)

    def _todo(self, journal: Journal) -> list[ImageRef]:
        """Images that no earlier run has finished, or that changed since."""
        refs = self.stages.over(self.source.refs(), "comparing with what is done", total=len(self.source.paths))
        todo = [ref for ref in refs if not self._is_done(journal, ref.name) and not self._is_stale(ref.name)]
        self.unchanged.keep()
        return todo

    def _is_stale(self, path: str) -> bool:
        return any(one.path == path and one.stage == HUMAN for one in self.failed)

    def _is_done(self, journal: Journal, path: str) -> bool:
        entry = journal.entries.get(path)
        if entry is None:
            return False
        try:
            same = self.unchanged.check(journal, path)
            return self._is_still_theirs(journal, path) if entry.human and not same else same
        except OSError:  # decoding it will say what is wrong
            del journal.entries[path]
            return False

    def _take_human_work(self, before: dict[str, Any]) -> None:
        """Put labels that people edited or brought into the journal, before anything of it is redone."""
        now = settings_hash(before or self.settings)
        edited: dict[str, Made] = {}
        stopping: list[Conflict] = []
        if self.folder.kind(JOURNAL) is not None:
            edited, found, self.understood = edits(
                self.outputs, self.journal, now, self.source, write_links, self.stages
            )
            stopping += [one for one in found if one.kind == "two-edits"]
            self.conflicts += [one for one in found if one.kind != "two-edits"]
        brought: dict[str, Made] = {}
        if self.accepted is not None:
            brought, found = accepted(self.accepted, self.source, follow_links=self.follow_links, progress=self.stages)
            stopping += [one for one in found if one.kind == "other-size"]
            self.conflicts += [one for one in found if one.kind != "other-size"]
            both = [path for path in brought if path in edited and edited[path].says() != brought[path].says()]
            stopping += [
                Conflict(path, "two-persons", "edited in place, and brought with other objects") for path in both
            ]
        list_conflicts(self.folder, stopping, stop=True)
        if not edited and not brought:
            return
        with Journal(self.journal, now, categories=self.categories, below=self.folder) as open_journal:
            take(open_journal, edited, self.source, replacing=True, progress=self.stages)
            found = take(open_journal, brought, self.source, replacing=self.overwrite, progress=self.stages)
        list_conflicts(self.folder, found, stop=True)

    def _stop_when_too_many_failed(self) -> None:
        """Raise TooManyFailures, with the list of them written."""
        if self.max_failures is None or len(self.failed) <= self.max_failures:
            return
        self._write_failures()
        last = self.failed[-1]
        raise TooManyFailures(
            f"stopped: {len(self.failed)} failed, {self.max_failures} allowed; the last is {last.path}: {last.stage}: "
            f"{last.reason}; what is done is kept, all failures are in {self.out / FAILURES}"
        )

    def _is_still_theirs(self, journal: Journal, path: str) -> bool:
        """A person labelled what was this picture: kept where the size still fits, else left to the person."""
        try:
            size = self.source.size(path)
        except ImageError:
            size = (0, 0)
        before = tuple(journal.record(path).size)
        if size == before:
            entry = journal.entries[path]  # from here on of the image that is there; the journal still has the old one
            journal.entries[path] = entry._replace(stat=self.source.state(path), sha256=self.source.sha256(path))
            message = "the picture changed since a person labelled it; their labels were kept"
            self.conflicts.append(Conflict(path, "picture-changed", message))
            return True
        del journal.entries[path]
        reason = (
            f"a person labelled it at {before[1]}x{before[0]}, and now it is another picture; put the old one back, or "
            f"give labels for the new one (--accept)"
        )
        self.failed.append(Failed(path, HUMAN, reason))
        return False

    def _refuse_edited(self, todo: list[ImageRef]) -> None:
        """Stop before hours of work when a person's edit will be in the way of the result."""
        if todo and not self.overwrite:
            for name in self.formats:
                if name not in self.understood and (edited := self.outputs.edited(name)):
                    raise OutputExists(edited_message(self.out / name, edited))

    def _finish(
        self, done: Labeled | Failed, journal: Journal, total: int, progress: Callable[[Event], None] | None
    ) -> None:
        """Put one result where it cannot be lost."""
        if isinstance(done, Failed):
            self.failed.append(done)
            journal.entries.pop(done.path, None)  # what was labelled under this name is another picture
        else:
            journal.append(done)
            self.annotated += 1
            self.fresh.add(done.record.path)
        if progress is not None:
            count = self.annotated + len(self.failed) - len(self.source.failed)
            if isinstance(done, Failed):
                progress(Event(done.path, count, total, failed=f"{done.stage}: {done.reason}"))
            else:
                progress(Event(done.record.path, count, total, objects=len(done.record.annotations)))
        if isinstance(done, Failed):
            self._stop_when_too_many_failed()

    def _close(self, journal: Journal, clock: Clock, started: float) -> Summary:
        """Write label files from the journal, then the list of failures and the manifest."""
        finished = [path for path in self.source.paths if path in journal.entries]
        for path in finished:
            self._leave_out_if_changed(journal, path)
        list_conflicts(self.folder, self.conflicts, stop=False)
        kept: list[str] = []
        writing = Writing(self.outputs, self.source.root, self.images, self.settings, self.overwrite, self.stages)
        while True:
            self._stop_when_too_many_failed()
            paths = [path for path in finished if path in journal.entries]
            totals = journal.totals(self.stages.over(paths, "counting"))
            try:
                for name in self.formats if paths else ():
                    with clock.of(f"write {name}"):
                        aside = writing.write(name, journal, paths, totals, replacing=name in self.understood)
                    if aside is not None:
                        self.written = True
                        kept += aside
                break
            except ImageChanged as error:  # all formats once more, without it
                self._leave_out(journal, error.path, error.what)
        self.unchanged.keep()
        self._write_failures()
        names = {category.id: category.name for category in journal.categories}
        counts = {names.get(key, str(key)): totals.categories[key] for key in sorted(totals.categories)}
        summary = Summary(
            output=self.out,
            images=len(self.source.paths) + len(self.source.failed),
            annotated=self.annotated,
            resumed=len(paths) - self.annotated,
            failed=len(self.failed),
            objects=totals.objects,
            dropped=MappingProxyType(dict(sorted(totals.dropped.items()))),
            categories=MappingProxyType(counts),
            outputs=MappingProxyType({name: where(self.out / name) for name in self.formats} if paths else {}),
            losses=MappingProxyType({name: self.outputs.losses(name) for name in self.formats}),
            failures=tuple(sorted(self.failed, key=lambda one: one.path)[:SHOWN_FAILURES]),
            kept=tuple(kept),
            weak=totals.weak,
            human=sum(journal.entries[path].human for path in paths),
            conflicts=tuple(sorted(self.conflicts, key=lambda one: (one.path, one.kind))),
            unread=MappingProxyType(dict(self.source.unread)),
            left_out=tuple(self.source.outputs),
            seconds=time.perf_counter() - started,
        )
        self._write_manifest(summary)
        self._write_timings(summary, clock)
        self.folder.remove(OVERWRITING)
        return summary

    def _leave_out_if_changed(self, journal: Journal, path: str) -> None:
        try:
            if not self.unchanged.check(journal, path):
                self._leave_out(journal, path, ImageChanged(path).what)
        except OSError:
            self._leave_out(journal, path, "the image is gone since it was labeled")

    def _leave_out(self, journal: Journal, path: str, reason: str) -> None:
        """Report an image that is no longer what was labeled; the next run does it again."""
        self.annotated -= path in self.fresh
        del journal.entries[path]
        self.failed.append(Failed(path, "write", reason))

    def _write_failures(self) -> None:
        if self.failed:
            lines = sorted(json.dumps(asdict(one), ensure_ascii=False, sort_keys=True) for one in self.failed)
            self.folder.write(FAILURES, "".join(line + "\n" for line in lines), durable=True)
        else:
            self.folder.remove(FAILURES)

    def _write_manifest(self, summary: Summary) -> None:
        """What made the labels, the same bytes for the same labels; what this run took is a hidden file."""
        counts = summary.to_json()
        kept = ("images", "failed", "objects", "human", "dropped", "categories", "losses")
        says = {
            "samlabel": self.settings["samlabel"],
            "settings": self.settings,
            "formats": self.outputs.formats,
            "counts": {name: counts[name] for name in kept},
        }
        before = read_json(self.folder, MANIFEST) if self.folder.kind(MANIFEST) == "file" else {}
        if {name: before.get(name) for name in says} == says and before.keys() == {*says, "environment"}:
            return
        text = json.dumps({**says, "environment": _environment()}, indent=1, ensure_ascii=False)
        self.folder.write(MANIFEST, text + "\n", durable=True)

    def _write_timings(self, summary: Summary, clock: Clock) -> None:
        """Seconds of the last run that labeled or wrote anything."""
        stages = {stage: round(value, 3) for stage, value in sorted(clock.seconds.items())}
        if not self.annotated and not self.written:
            return
        says = {
            "annotated": self.annotated,
            "resumed": summary.resumed,
            "seconds": round(summary.seconds, 3),
            "stages": stages,
        }
        self.folder.write(TIMINGS, json.dumps(says, indent=1) + "\n", durable=True)


@dataclass(frozen=True, slots=True)
class Begun:
    """A run that was begun: `todo` is what is left to do; results are appended, and closing it writes the labels."""

    todo: tuple[ImageRef, ...]
    _run: Run
    _journal: Journal

    def append(self, done: Labeled | Failed, progress: Callable[[Event], None] | None = None) -> None:
        """Put one result where it cannot be lost; TooManyFailures where it is one failure too many."""
        self._run._finish(done, self._journal, len(self.todo), progress)

    def close(self, clock: Clock, started: float, remarks: tuple[str, ...] = ()) -> Summary:
        """Write label files from the journal, then the list of failures and the manifest.

        `started` is a time of perf_counter; `remarks` are lines for the end of the summary.
        """
        return replace(self._run._close(self._journal, clock, started), remarks=remarks)


def where(folder: Path) -> Path:
    """What to name to a reader of a format's folder: its only file, or the folder."""
    files = [one for one in folder.iterdir() if not one.name.startswith(".")]
    return files[0] if len(files) == 1 and files[0].is_file() else folder


def _environment() -> dict[str, str]:
    import platform
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for package in ("torch", "numpy", "pillow"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
