"""What a Parquet file claims, read from its own headers before pyarrow allocates anything for it.

https://parquet.apache.org/docs/file-format/ and its Thrift definitions; numbers in comments are their field ids.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from converters.io.files import opened
from samlabel.errors import FormatError

DEEPEST = 16  # groups in each other; a list of structs of lists has seven
COLUMNS = 1000
BYTES = 2**28  # that the pages of a group of rows are when unpacked, and the texts of a few rows
ROWS = 64  # that a reader has in memory at once
TIMES = 16  # more of them for each byte of the file: writers pack labels to a third, pictures hardly at all
VALUES = 2**23  # numbers and texts of a group of rows, and one more for each byte of the file
PAGES = 100_000  # of a group of rows, beyond which each must hold something
_DEPTH = 12  # structs in each other in a header


def check(file: Path) -> list[int]:
    """The columns whose texts may repeat beyond measure, by number: a dictionary has them once, the rows many times.

    FormatError for a file whose schema, pages or counts are beyond what any table of labels needs.
    """
    with opened(file) as handle:
        if file.stat().st_size < 12:
            return []  # too short for a table, as pyarrow will say
        with mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if data[-4:] != b"PAR1":
                return []
            try:
                return _check(data, str(file))
            except (IndexError, struct.error, KeyError, TypeError, ValueError, RecursionError) as error:
                raise FormatError(f"{file}: not readable as Parquet: its headers are damaged") from error


def _check(data: mmap.mmap, where: str) -> list[int]:
    length = struct.unpack("<I", data[-8:-4])[0]
    if length > len(data) - 8:
        raise ValueError("the footer is longer than the file")
    footer = _Reader(data, len(data) - 8 - length).struct()
    _check_schema(footer[2], where)
    repeating: set[int] = set()
    for group in footer.get(4, ()):
        found = _Group(where, len(data))
        for place, column in enumerate(group[1]):
            if found.add(_pages(data, column[3])):  # ColumnMetaData
                repeating.add(place)
    return sorted(repeating)


def check_texts(pyarrow: Any, file: Path, columns: list[str]) -> None:
    """FormatError where the texts of a few rows would be more than BYTES, each written out where its number stands."""
    import pyarrow.compute as compute

    table = pyarrow.parquet.ParquetFile(file, read_dictionary=columns)
    for batch in table.iter_batches(batch_size=ROWS, columns=columns):
        total = 0
        parts = list(batch.columns)
        while parts:
            part = parts.pop()
            if pyarrow.types.is_dictionary(part.type):
                lengths = compute.binary_length(part.dictionary)
                total += compute.sum(lengths.take(part.indices)).as_py() or 0
            elif pyarrow.types.is_struct(part.type) or pyarrow.types.is_list(part.type):
                parts += part.flatten() if pyarrow.types.is_struct(part.type) else [part.flatten()]
        if total > BYTES:
            raise FormatError(f"{file}: {total} bytes of text in {ROWS} rows; expected at most {BYTES}")


class _Group:
    """What a group of rows claims, counted page by page."""

    def __init__(self, where: str, size: int) -> None:
        self._where, self._size = where, size
        self._bytes = self._values = self._pages = 0

    def add(self, pages: Iterator[tuple[int, int, bool]]) -> bool:
        """Whether a column's dictionary, repeated for all of its values, would be beyond measure."""
        words = values = 0
        for size, count, is_dictionary in pages:
            self._pages += 1
            self._bytes += size
            words += size if is_dictionary else 0
            values += 0 if is_dictionary else count
            self._refuse(self._bytes, BYTES + TIMES * self._size, "bytes when unpacked")
            self._refuse(self._values + values, VALUES + self._size, "values")
            self._refuse(self._pages, PAGES + self._size // 64, "pages")
        self._values += values
        return words * values > BYTES

    def _refuse(self, found: int, most: int, what: str) -> None:
        if found > most:
            raise FormatError(f"{self._where}: a group of rows of more than {most} {what}, in {self._size} bytes")


def _check_schema(elements: list[dict[int, Any]], where: str) -> None:
    if len(elements) > COLUMNS:
        raise FormatError(f"{where}: a schema of {len(elements)} columns and groups; expected at most {COLUMNS}")
    open_groups: list[int] = []  # children that each still lacks
    for element in elements:
        if open_groups:
            open_groups[-1] -= 1
        open_groups.append(element.get(5, 0))  # num_children
        if len(open_groups) > DEEPEST:
            raise FormatError(f"{where}: columns nested too deep; expected at most {DEEPEST} groups in each other")
        while open_groups and open_groups[-1] <= 0:
            open_groups.pop()


def _pages(data: mmap.mmap, meta: dict[int, Any]) -> Iterator[tuple[int, int, bool]]:
    """Unpacked bytes and number of values of every page of a column, and whether it is its dictionary."""
    start = min(offset for offset in (meta[9], meta.get(11, meta[9])) if offset > 0)
    at, end = start, start + meta[7]  # total_compressed_size
    while at < min(end, len(data)):
        reader = _Reader(data, at)
        header = reader.struct()
        values = next((header[kind][1] for kind in (5, 7, 8) if kind in header), 0)  # of data, a dictionary, data v2
        yield header[2], values, 7 in header
        at = reader.at + max(0, header[3])


class _Reader:
    """Thrift's compact protocol, as far as Parquet uses it: structs become tables from field id to value."""

    def __init__(self, data: mmap.mmap, at: int) -> None:
        self._data = data
        self.at = at

    def struct(self, depth: int = 0) -> dict[int, Any]:
        if depth > _DEPTH:
            raise ValueError("structs in structs without end")
        found: dict[int, Any] = {}
        field = 0
        while head := self._byte():
            field = field + (head >> 4) if head >> 4 else self._signed()
            kind = head & 15
            found[field] = kind == 1 if kind in (1, 2) else self._value(kind, depth)
        return found

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (1, 2, 3):
            return self._byte()
        if kind in (4, 5, 6):
            return self._signed()
        if kind == 7:
            self.at += 8
            return None
        if kind == 8:
            return self._skipped(self._number())
        if kind in (9, 10):
            head = self._byte()
            count = head >> 4 if head >> 4 < 15 else self._number()
            return [self._value(head & 15, depth) for _ in range(self._bounded(count))]
        if kind == 12:
            return self.struct(depth + 1)
        raise ValueError(f"an unknown type {kind}")

    def _skipped(self, length: int) -> None:
        self.at += self._bounded(length)

    def _bounded(self, count: int) -> int:
        if count > len(self._data) - self.at:
            raise ValueError("a length beyond the end of the file")
        return count

    def _byte(self) -> int:
        byte = self._data[self.at]
        self.at += 1
        return byte

    def _number(self) -> int:
        number = shift = 0
        while shift < 70:
            byte = self._byte()
            number |= (byte & 127) << shift
            if byte < 128:
                return number
            shift += 7
        raise ValueError("a number of more than 64 bits")

    def _signed(self) -> int:
        number = self._number()
        return number >> 1 ^ -(number & 1)
