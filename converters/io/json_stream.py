"""Large JSON files read piece by piece: the members of the top object, and the elements of its long lists."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, NoReturn

from samlabel.errors import FormatError, reason

from .files import not_text, opened_text, parser_fault

CHUNK = 1 << 16  # characters read at a time; what they become stays in the cache, twice as fast as megabytes
_SPACE = re.compile(r"[ \t\r\n]*")


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a JSON number")


_decode = json.JSONDecoder(parse_constant=_refuse).raw_decode


def _fast_loads() -> Callable[[str], Any] | None:
    """orjson's parser where it is installed: three times as fast, and the same values."""
    try:
        import orjson
    except ImportError:
        return None
    return orjson.loads


class JsonFile:
    """The members of the JSON object in a file, in their order, without the whole of it in memory.

    Iterating gives `(key, value)`; for a key of `lists` the value of a list is an iterator over its elements, to be
    used up before the next member. FormatError names file and line.
    """

    def __init__(self, file: Path, *, lists: Collection[str], chunk: int | None = None) -> None:
        self._file = file
        self._lists = lists
        self._chunk = chunk or CHUNK
        self._text = ""
        self._at = 0
        self._lines = 1  # the line that `_text` starts on
        self._column = 0  # how far into that line it starts
        self._read = 0  # how often more was read
        self._ended = False
        self._handle = opened_text(file)
        self._loads = _fast_loads()

    def __enter__(self) -> JsonFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.close()

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        if self._peek() != "{":
            if self._peek() in ("[", '"') or self._peek().isalnum():
                raise FormatError(f"{self._file}: wanted a JSON object")
            self._fail("Expecting value")
        self._at += 1
        if self._peek() == "}":
            self._at += 1
        else:
            while True:
                key = self._value()
                if not isinstance(key, str):
                    self._fail("Expecting property name enclosed in double quotes")
                if self._peek() != ":":
                    self._fail("Expecting ':' delimiter")
                self._at += 1
                if key in self._lists and self._peek() == "[":
                    elements = self._elements()
                    yield key, elements
                    for _ in elements:
                        pass
                else:
                    yield key, self._value()
                if not self._goes_on("}"):
                    break
        if self._peek():
            self._fail("Extra data")

    def _elements(self) -> Iterator[Any]:
        self._at += 1
        if self._peek() == "]":
            self._at += 1
            return
        careful = -1  # what was read up to here could not be taken in batches
        while True:
            if self._loads is not None and self._read != careful:
                for batch in self._batches():
                    yield from batch
                careful = self._read
            yield self._value()
            if not self._goes_on("]"):
                return

    def _batches(self) -> Iterator[list[Any]]:
        """Runs of whole elements, parsed at once; ends where an element goes on beyond what was read."""
        assert self._loads is not None
        while True:
            end = self._last_boundary()
            if end is None:
                return
            try:
                found = self._loads("[" + self._text[self._at : end] + "]")
            except ValueError:  # a list inside an element, the list's end, or a fault: the careful way tells which
                return
            self._at = self._text.index(",", end) + 1
            yield found
            if not self._more():
                return

    def _last_boundary(self) -> int | None:
        """Where the last element ends that another object follows; a guess, which parsing confirms."""
        text, stop = self._text, len(self._text)
        for _ in range(64):
            stop = text.rfind("{", self._at + 1, stop)
            if stop < 0:
                return None
            before = text[max(self._at, stop - 64) : stop].rstrip()
            if before.endswith(",") and before[:-1].rstrip().endswith("}"):
                return text.rindex("}", self._at, stop) + 1
        return None

    def _goes_on(self, closing: str) -> bool:
        """Past a comma, True; past `closing`, False."""
        sign = self._peek()
        if sign not in (",", closing) or not sign:
            self._fail("Expecting ',' delimiter")
        self._at += 1
        return sign == ","

    def _peek(self) -> str:
        """The next sign that is no space, "" at the end."""
        while True:
            match = _SPACE.match(self._text, self._at)
            assert match is not None
            self._at = match.end()
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def _value(self) -> Any:
        self._peek()
        while True:
            try:
                value, end = _decode(self._text, self._at)
                rest = _SPACE.match(self._text, end)
                assert rest is not None
                # A number, or a value that nothing follows yet, may go on in what was not read.
                if rest.end() < len(self._text) or not self._more():
                    self._at = end
                    return value
            except json.JSONDecodeError as error:
                near_end = error.pos > len(self._text) - 64 or error.msg.startswith("Unterminated string")
                if not (near_end and self._more()):
                    self._fail(error.msg, error.pos)
            except (RecursionError, ValueError) as error:  # a constant that is no number; what holds it begins here
                line = self._lines + self._text.count("\n", 0, self._at)
                raise FormatError(f"{self._file}:{line}: broken JSON: {parser_fault(error)}") from error

    def _more(self) -> bool:
        """Reads on, forgetting what was used up; False at the end of the file."""
        if self._ended:
            return False
        used = self._text[: self._at]
        newlines = used.count("\n")
        self._lines += newlines
        self._column = len(used) - used.rfind("\n") - 1 if newlines else self._column + len(used)
        rest = self._text[self._at :]
        try:
            # A value larger than the chunk doubles it each time, so that it is not parsed again and again.
            added = self._handle.read(max(self._chunk, len(rest)))
        except UnicodeError as error:
            raise not_text(self._file, error) from error
        except OSError as error:
            raise FormatError(f"{self._file}: {reason(error)}") from error
        self._ended = not added
        self._read += 1
        self._text, self._at = rest + added, 0
        return bool(added)

    def _fail(self, rule: str, at: int | None = None) -> NoReturn:
        at = self._at if at is None else at
        before = self._text[:at]
        newlines = before.count("\n")
        column = len(before) - before.rfind("\n") if newlines else self._column + len(before) + 1
        raise FormatError(f"{self._file}:{self._lines + newlines}: broken JSON: {rule} (column {column})")
