"""Ways to damage a label file: bytes, words and values that do not belong where they are."""

from __future__ import annotations

import io
import json
import random
import re
from collections.abc import Iterator
from typing import Any

WORDS = (
    b"NaN",
    b"Infinity",
    b"-1",
    b"1e308",
    b"1e999",
    b"0",
    b"",
    b"null",
    b"true",
    b"[]",
    b"{}",
    b'""',
    b"\x00",
    b"\xff\xfe",
    b"99999999999999999999",
    b"2147483648",
    b"../../x",
    b"C:\\x.png",
    b"/etc/passwd",
    b"\xef\xbb\xbf",
    b"\r",
    b"&amp;",
    b'<!DOCTYPE a [<!ENTITY b "c">]>',
    b"&b;",
    b"<a>",
    b"]]>",
    b"\xf0\x9f\x8d\x95",
    b",",
    b'"',
    b"[[[[[[[[",
    b"-0.0",
    b"1_0",
    b"\xd9\xa3",
)
VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1,
    2**31,
    2**63,
    10**30,
    1.5,
    -1e308,
    "",
    "x",
    "../../x",
    "NaN",
    "0",
    [],
    {},
    [None],
    [[]],
    [1, 2],
    [[0, 0], [5, 5]],
    {"size": [1, 1], "counts": "0"},
    {"counts": [1, 2]},
    "\ud800",
    "a\x00b",
    "/",
    ".",
    "PPYo0" * 40,
    {"size": [100000, 100000], "counts": [10**10]},
    "a" * 300,
)
BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bbbbbbbb"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">'
    b'<!ENTITY d "&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;"><!ENTITY e "&d;&d;&d;&d;&d;&d;&d;&d;&d;&d;">]>'
    b"<annotation><filename>&e;&e;&e;</filename></annotation>"
)


def damaged(data: bytes, suffix: str, rng: random.Random) -> bytes:
    """`data` with one fault of a kind that fits files of this suffix."""
    ways = [_bytes]
    if suffix == ".json":
        ways += [_json] * 4 + [_words] * 2
    elif suffix == ".jsonl":
        ways += [_words] * 4
    elif suffix == ".xml":
        ways += [_words] * 4 + [lambda *_: BOMB]
    elif suffix in (".txt", ".yaml", ".names"):
        ways += [_words] * 4
    elif suffix == ".parquet":
        ways += [_parquet] * 4
    return rng.choice(ways)(data, rng)


def nodes(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place (container, key) in a JSON value."""
    for key in range(len(value)) if isinstance(value, list) else list(value) if isinstance(value, dict) else ():
        yield value, key
        yield from nodes(value[key])


def _json(data: bytes, rng: random.Random) -> bytes:
    value = json.loads(data)
    places = list(nodes(value))
    if not places:
        return b"[" + data
    container, key = rng.choice(places)
    choice = rng.random()
    if choice < 0.2:
        del container[key]
    elif choice < 0.3 and isinstance(container, list):
        container.append(container[key])
    else:
        container[key] = rng.choice(VALUES)
    return json.dumps(value).encode("utf-8", "surrogatepass")


def _words(data: bytes, rng: random.Random) -> bytes:
    """One number, name or text between quotes replaced by something that does not belong there."""
    found = list(re.finditer(rb'"[^"]*"|>[^<]+<|[-+.0-9]+|[A-Za-z_]+', data))
    if not found:
        return data + rng.choice(WORDS)
    match = rng.choice(found)
    start, end = match.span()
    if data[start : start + 1] in (b'"', b">"):
        start, end = start + 1, end - 1
    return data[:start] + rng.choice(WORDS) + data[end:]


def _bytes(data: bytes, rng: random.Random) -> bytes:
    size = len(data)
    start = rng.randrange(size + 1)
    stop = min(size, start + rng.randrange(1, 40))
    choice = rng.randrange(5)
    if choice == 0:
        return data[:start]
    if choice == 1:
        return data[:start] + data[stop:]
    if choice == 2:
        return data[:stop] + data[start:]
    if choice == 3:
        return data[:start] + bytes(rng.randrange(256) for _ in range(stop - start)) + data[stop:]
    return data[:start] + rng.choice(WORDS) + data[start:]


def _parquet(data: bytes, rng: random.Random) -> bytes:
    """A sound Parquet file whose values, or whose types, are others."""
    import pyarrow
    import pyarrow.parquet as parquet

    table = parquet.read_table(io.BytesIO(data))
    rows = table.to_pylist()
    places = list(nodes(rows))
    if not places:
        return _bytes(data, rng)
    container, key = rng.choice(places)
    if isinstance(container, dict) and rng.random() < 0.2:
        del container[key]
    else:
        container[key] = rng.choice(VALUES)
    for schema in (table.schema, None):
        try:
            out = io.BytesIO()
            parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), out)
            return out.getvalue()
        except Exception:  # the value fits no column of this type
            continue
    return _bytes(data, rng)
