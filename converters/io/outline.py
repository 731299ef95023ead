"""What a JSON file of any size looks like: the keys near its top, found without parsing it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Set
from pathlib import Path

import numpy as np

from samlabel.errors import FormatError

from .files import opened_text

_CHUNK = 1 << 18  # characters looked at in one go
_FEW = 100  # elements of a list whose keys are looked at
_DEEP = 4  # brackets below which keys are looked at: [{"annotations": [{"result": ...
_LONGEST, _MOST = 100, 1000  # characters of a key, and keys, that are remembered
END = "(end)"  # is among the keys once all of them are
_ESCAPE = re.compile(rb"\\.", re.DOTALL)
_SHIFT = np.zeros(256, np.int8)  # how a byte outside texts changes the depth
_SHIFT[list(b"{[")], _SHIFT[list(b"}]")] = 1, -1
_COLON, _QUOTE = b':"'

Rule = Callable[[Set[str]], bool | None]


def is_json_with(file: Path, opening: str, rule: Rule) -> bool:
    """Whether `rule` says yes to the keys of a JSON file that begins with `opening`, "{" or "[".

    The rule gets the keys seen so far, in whatever order the file has them, and says yes, no, or None for "read on";
    END is among them in the end. A key inside another is joined to it by a point, and lists do not count:
    "annotations.image_id" is a key of the first objects in the list `annotations`. Memory holds a piece of the file.
    False for what cannot be read.
    """
    keys: set[str] = set()
    try:
        for key in _keys(file, opening):
            if key not in keys and len(keys) < _MOST:
                keys.add(key)
                answer = rule(keys)
                if answer is not None:
                    return answer
    except (FormatError, OSError):
        return False
    return bool(rule(keys | {END}))


def _keys(file: Path, opening: str) -> Iterator[str]:
    """The keys near the top, in their order."""
    outer = 1 if opening == "[" else 2  # depth of the lists whose first elements are looked at, and no more of them
    names: list[str] = []  # of each bracket that is open, the key that is being read; "" in a list
    elements = depth = inside = 0
    before = held = b""
    with opened_text(file, errors="replace") as handle:
        while chunk := handle.read(_CHUNK):
            data = held + chunk.encode("ascii", "replace")
            if not before:
                data = data.lstrip(b" \t\r\n")
                if not data:
                    continue
                if data[:1] != opening.encode():
                    return
            odd = (len(data) - len(data.rstrip(b"\\"))) % 2  # an escape that goes on in the next chunk
            held, data = data[len(data) - odd :], data[: len(data) - odd]
            data = _ESCAPE.sub(b"__", data)
            codes = np.frombuffer(data, np.uint8)
            is_text = (np.cumsum(codes == _QUOTE) + inside) & 1
            shifts = np.where(is_text == 1, 0, _SHIFT[codes])
            depths = np.cumsum(shifts, dtype=np.int64) + depth
            levels = np.where(shifts < 0, depths + 1, depths)  # of the bracket that a sign belongs to
            signs = (shifts != 0) | ((codes == _COLON) & (is_text == 0))
            deep, shallow = (np.flatnonzero(signs & (levels <= most)) for most in (_DEEP, outer))
            known = before + data
            at = 0
            while at < len(data):
                is_few = elements < _FEW
                wanted = deep if is_few else shallow
                for place in wanted[np.searchsorted(wanted, at) :].tolist():
                    at, level, shift = place + 1, int(levels[place]), int(shifts[place])
                    if level < 1:  # brackets that nothing opened
                        return
                    if shift > 0:
                        names[level - 1 :] = [""]
                    elif shift == 0:
                        names[level - 1 :] = [_key_before(known, len(before) + place)]
                        path = [name for name in names if name]
                        if len(path) <= 2:
                            yield ".".join(path)
                    elif level == 1:
                        return
                    else:
                        elements = elements + 1 if level == outer + 1 else 0 if level == outer else elements
                        if (elements < _FEW) != is_few:
                            break
                else:
                    break
            depth, inside = int(depths[-1]) if len(data) else depth, int(is_text[-1]) if len(data) else inside
            before = known[-2 * _LONGEST :]


def _key_before(data: bytes, colon: int) -> str:
    """The text that a colon follows; "?" where it is none or is long."""
    quoted = data[max(0, colon - 2 * _LONGEST) : colon].rstrip()
    if not quoted.endswith(b'"'):
        return "?"
    start = quoted.rfind(b'"', 0, -1)
    name = quoted[start + 1 : -1].decode("ascii")
    return name if start >= 0 and 0 < len(name) <= _LONGEST else "?"
