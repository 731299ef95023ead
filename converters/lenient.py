"""Broken objects passed over and counted, where the reader was asked to go on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from samlabel.errors import FormatError

# Code -> what was wrong with the images, objects or rows that were left out.
SKIPPED: dict[str, str] = {
    "bad-file": "label files that cannot be read, with all that is in them",
    "bad-image": "images without a usable id, name or size, with their objects",
    "bad-annotation": "objects that are not written as the format wants them",
    "bad-category": "objects of a class that is not listed",
    "bad-mask": "objects whose polygons or RLE are broken",
    "bad-part": "polygons and shapes of objects that have good ones besides",
    "bad-box": "objects whose box is broken or missing",
    "bad-row": "rows of label files that are no object",
    "duplicate-id": "later ones of several that share an id",
    "no-image": "objects or label files of images that are not there",
}
EXAMPLES = 5  # messages kept of each code, unless more are asked for

T = TypeVar("T")


class Lenient:
    """What a reader left out, by code, with the first messages of each.

    Faults found while a dataset is opened are counted once; those of its records anew each time they are read.
    `examples` is how many messages of each code are kept.
    """

    def __init__(self, examples: int = EXAMPLES) -> None:
        self._most = examples
        self._opened: dict[str, list[str]] = {}
        self._counts: Counter[str] = Counter()
        self._before: Counter[str] = Counter()
        self._reading = False

    def restart(self) -> None:
        """The records are read from the start."""
        if not self._reading:
            self._before = Counter(self._counts)
        self._reading = True
        self._counts = Counter(self._before)

    def note(self, code: str, error: Exception) -> None:
        examples = self._opened.setdefault(code, [])
        message = str(error)
        if len(examples) < self._most and message not in examples:
            examples.append(message)
        self._counts[code] += 1

    @property
    def counts(self) -> dict[str, int]:
        return dict(sorted(self._counts.items()))

    @property
    def examples(self) -> dict[str, list[str]]:
        return {code: list(messages) for code, messages in sorted(self._opened.items())}

    @classmethod
    def joined(cls, readers: Iterable[Lenient]) -> Lenient:
        """What several readers left out, each of a dataset of its own."""
        whole = cls()
        for reader in readers:
            whole._counts.update(reader._counts)
            for code, messages in reader._opened.items():
                known = whole._opened.setdefault(code, [])
                known += messages[: EXAMPLES - len(known)]
        return whole

    def to_dict(self) -> dict[str, Any]:
        """As every report in JSON tells it."""
        return {"skipped": self.counts, "skipped_examples": self.examples}

    def lines(self) -> list[str]:
        return skipped_lines(self.counts, self.examples)


def skipped_lines(counts: Mapping[str, int], examples: Mapping[str, list[str]]) -> list[str]:
    """For people: a line a code, its examples below."""
    lines = []
    for code, count in counts.items():
        lines.append(f"skipped {count} {code}: {SKIPPED.get(code, '')}")
        lines += [f"        {message}" for message in examples.get(code, ())]
    return lines


@contextmanager
def coded(code: str) -> Iterator[None]:
    """Gives a FormatError of the block this code, unless it has one."""
    try:
        yield
    except FormatError as error:
        error.code = error.code or code
        raise


def passing_over(
    makes: Iterable[Callable[[], T]], lenient: Lenient | None, code: str = "bad-annotation"
) -> Iterator[T]:
    """What these calls read; with `lenient`, what is broken is left out and counted, under `code` if it has none."""
    for make in makes:
        try:
            made = make()
        except FormatError as error:
            if lenient is None:
                raise
            lenient.note(error.code or code, error)
        else:
            yield made


def surviving(makes: Iterable[Callable[[], T]], lenient: Lenient | None) -> Iterator[T]:
    """The parts of one object that these calls read; with `lenient`, broken ones beside a good one are left out.

    Where no good one is, the first FormatError is raised.
    """
    errors: list[FormatError] = []
    is_good = False
    for make in makes:
        try:
            made = make()
        except FormatError as error:
            if lenient is None:
                raise
            errors.append(error)
        else:
            is_good = True
            yield made
    if errors and not is_good:
        raise errors[0]
    for fault in errors:
        assert lenient is not None
        lenient.note("bad-part", fault)


def unbroken(makes: Iterable[Callable[[], T]], lenient: Lenient | None) -> Iterator[T]:
    """What these calls read while a dataset is opened; what is broken is counted later, with its record."""
    return passing_over(makes, None if lenient is None else Lenient())


def broken(code: str, message: str) -> FormatError:
    """A FormatError with the code that a lenient reader counts it under."""
    assert code in SKIPPED
    error = FormatError(message)
    error.code = code
    return error
