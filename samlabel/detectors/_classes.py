"""Which classes a user asked for, by name or by the detector's own number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from ..errors import UnknownName


def chosen(classes: Sequence[str | int] | None, known: Mapping[int, str]) -> frozenset[int]:
    """Keys of `known` that `classes` names; all of them where `classes` is None.

    A name wins over a number ("7" may be a class's name), exact case over any case, and a name that several
    classes bear means all of them. Raises UnknownName with close names for the first that means nothing.
    """
    if classes is None:
        return frozenset(known)
    keep: set[int] = set()
    for wanted in [classes] if isinstance(classes, (str, int)) else classes:
        text = str(wanted).strip()
        found: set[int] = set()
        if not isinstance(wanted, int):
            found = {key for key, name in known.items() if name == text}
            found = found or {key for key, name in known.items() if name.casefold() == text.casefold()}
        if not found and text.isdecimal() and int(text) in known:
            found = {int(text)}
        if not found:
            raise UnknownName("class", text, _listing(known), _hint(text, known))
        keep |= found
    return frozenset(keep)


def _listing(known: Mapping[int, str], most: int = 20) -> list[str]:
    lines = [f"{key} {name}" for key, name in sorted(known.items())]
    return lines if len(lines) <= most else [*lines[:most], f"and {len(lines) - most} more"]


def _hint(text: str, known: Mapping[int, str]) -> str:
    by_casefold = {name.casefold(): name for name in known.values()}
    close = get_close_matches(text.casefold(), by_casefold, n=3)
    return f"Did you mean {' or '.join(by_casefold[name] for name in close)}?" if close else ""
