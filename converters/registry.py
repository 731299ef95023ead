"""Which formats there are: folders of `converters/formats`, and entry points of the group `samlabel.formats`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from samlabel.plugins import Registry

from .format import Format, fault_of
from .options import OptionInfo, described


@dataclass(frozen=True)
class FormatInfo:
    """One format of the listing; `problem` says why it cannot be used, None when it can."""

    name: str
    origin: str
    summary: str
    keeps: tuple[str, ...]
    problem: str | None = None
    options: tuple[OptionInfo, ...] = ()


def _checked(name: str, found: Any) -> Format[Any]:
    """The format that a plug-in brings, an instance of a subclass of Format or that class."""
    made = found() if isinstance(found, type) and issubclass(found, Format) else found
    if not isinstance(made, Format):
        raise TypeError(f"brings {type(found).__name__} {found!r}; wanted a subclass of converters.Format")
    fault = fault_of(made, name)
    if fault is not None:
        raise ValueError(fault)
    return made


FORMATS: Registry[Format[Any]] = Registry("format", "converters.formats", _checked, "FORMAT")


def names() -> list[str]:
    """Every format's name, sorted, without importing any."""
    return FORMATS.names()


def get(format: str | Format[Any]) -> Format[Any]:
    """The format of that name; UnknownName lists those there are. A format itself is given back."""
    return format if isinstance(format, Format) else FORMATS.get(format)


def list_formats() -> list[FormatInfo]:
    """Every format with what it keeps; one that cannot be used stays, with its reason."""
    listing = []
    for name, plugin in FORMATS.found().items():
        if plugin.problem is not None:
            listing.append(FormatInfo(name, plugin.origin, "", (), plugin.problem))
            continue
        one = plugin.load()
        keeps = tuple(sorted(one.capabilities.keeps))
        listing.append(FormatInfo(name, plugin.origin, one.summary, keeps, None, described(one.options)))
    return listing
