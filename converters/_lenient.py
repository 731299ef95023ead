"""Broken objects passed over and counted, where the reader was asked to go on."""

from __future__ import annotations

from collections import Counter

from samlabel.errors import FormatError

# Code -> what was wrong with the images, objects or rows that were left out.
SKIPPED: dict[str, str] = {
    "bad-image": "images without a usable id, name or size",
    "bad-annotation": "objects that are not written as the format wants them",
    "bad-category": "objects of a class that is not listed",
    "bad-mask": "objects whose polygons or RLE are broken",
    "bad-box": "objects whose box is broken or missing",
    "bad-row": "rows of label files that are no object",
    "duplicate-id": "later ones of several that share an id",
    "no-image": "objects on images that are not listed",
}
EXAMPLES = 5  # messages kept of each code


class Lenient:
    """What a reader left out, by code, with the first messages of each.

    Faults found while a dataset is opened are counted once; those of its records anew each time they are read.
    """

    def __init__(self) -> None:
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
        if len(examples) < EXAMPLES and message not in examples:
            examples.append(message)
        self._counts[code] += 1

    @property
    def counts(self) -> dict[str, int]:
        return dict(sorted(self._counts.items()))

    @property
    def examples(self) -> dict[str, list[str]]:
        return {code: list(messages) for code, messages in sorted(self._opened.items())}


def broken(code: str, message: str) -> FormatError:
    """A FormatError with the code that a lenient reader counts it under."""
    assert code in SKIPPED
    error = FormatError(message)
    error.code = code  # type: ignore[attr-defined]
    return error
