"""Options as fields of dataclasses: a field made by `option` says all there is to say about it.

Its default, help and bounds stand there and nowhere else: flags, files of settings, variables of the environment,
checks and the settings that a run notes are derived from them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from numbers import Real
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from .errors import UnknownName, UsageError

T = TypeVar("T")
Touches = Literal["everything", "selection", "nothing"]
_KEY = "option"  # of the metadata of a field
_WANTED = {"bool": "true or false", "int": "a whole number", "float": "a number", "list": "text or a list of it"}
_BOOLS = {**dict.fromkeys(("true", "yes", "1", "on"), True), **dict.fromkeys(("false", "no", "0", "off"), False)}
PARSERS: Mapping[str, Callable[[str], Any]] = {
    "bool": lambda text: _BOOLS[text.strip().lower()],
    "int": int,
    "float": float,
    "str": str,
    "path": str,
    "list": lambda text: [part.strip() for part in text.split(",") if part.strip()],
}


@dataclass(frozen=True)
class OptionInfo:
    """One option: what it is called, what it may be, and what it does."""

    name: str
    kind: str  # bool, int, float, str, path or list (of texts)
    default: Any
    help: str
    choices: tuple[str, ...] = ()  # the words that it may be
    optional: bool = False  # whether it may be None
    low: float | None = None  # the lowest number that it may be
    high: float | None = None
    named: str | None = None  # what messages call it, where that is not its name
    flags: tuple[str, ...] = ()  # where they do not follow from its name; one without dashes is an argument
    metavar: str | None = None  # what stands for its value in the help
    panel: str | None = None  # the group of options in the help that it is in
    shown: str | None = None  # what the help says of a default that is not a plain value
    commas: bool = False  # whether commas separate the texts of a list on the command line
    touches: Touches = "everything"  # what another value makes --update redo
    resolved: bool = False  # whether settings state what it led to, such as the weights of a model, instead

    @property
    def word(self) -> str:
        """What settings in a file call it: its first long flag without dashes, or the name of an argument."""
        long = (one for one in self.flags if one.startswith("--") or not one.startswith("-"))
        return next(long, self.name.replace("_", "-")).removeprefix("--")

    @property
    def argument(self) -> bool:
        """Whether the command line takes it without a flag."""
        return any(not one.startswith("-") for one in self.flags)

    def parsed(self, text: str, where: str | None = None) -> Any:
        """The value that `text` means; UsageError, which begins with `where`, for one that does not fit."""
        if where is None and self.choices and text not in self.choices:
            raise UnknownName(f"value of {self.name}", text, list(self.choices))
        where = where or f"option {self.name}"
        try:
            value = PARSERS[self.kind](text)
        except (KeyError, ValueError):
            raise UsageError(f"{where} is {text!r}; wanted {self._wanted}") from None
        return self.accepted(value, where)

    def accepted(self, value: Any, where: str) -> Any:
        """A value of a TOML file as one of this option; UsageError, which begins with `where`, for one of no use."""
        many = value if self.kind == "list" and isinstance(value, list) else [value]
        kinds = {"bool": (bool,), "int": (int,), "float": (int, float)}.get(self.kind, (str, int))
        if not all(isinstance(one, kinds) and (bool in kinds or not isinstance(one, bool)) for one in many):
            raise UsageError(f"{where} is {value!r}; wanted {self._wanted}")
        value = [str(one) for one in many] if self.kind == "list" else str(value) if str in kinds else value
        if self.choices and value not in self.choices:
            raise UsageError(f"{where} is {value!r}; wanted {self._wanted}")
        self.check(value, where)
        return value

    def check(self, value: Any, where: str) -> None:
        """Raise UsageError for a number out of bounds, and UnknownName for a word that is none of the choices."""
        if value is None and self.optional:
            return
        if self.choices and value not in self.choices:
            raise UnknownName(self.named or self.name, str(value), list(self.choices))
        if self.kind not in ("int", "float"):
            return
        fits = isinstance(value, Real) and (self.kind == "float" or float(value).is_integer())
        fits = fits and (self.low is None or value >= self.low) and (self.high is None or value <= self.high)
        if not fits:  # nan is within no bounds
            raise UsageError(f"{where} is {value}; wanted {self._wanted}")

    def plain(self, value: Any) -> Any:
        """A value of this option as JSON has it; one text alone counts as a list of it."""
        if value is None:
            return None
        if self.kind == "list":
            return [str(one) for one in ([value] if isinstance(value, (str, int, os.PathLike)) else value)]
        return os.fspath(value) if isinstance(value, os.PathLike) else value

    @property
    def _wanted(self) -> str:
        wanted = f"one of {', '.join(self.choices)}" if self.choices else _WANTED.get(self.kind, "text")
        if self.low is not None and self.high is not None:
            return f"{wanted} from {self.low:g} to {self.high:g}"
        return wanted if self.low is None else f"{wanted} of at least {self.low:g}"


def option(
    default: T,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    named: str | None = None,
    flags: tuple[str, ...] = (),
    metavar: str | None = None,
    panel: str | None = None,
    shown: str | None = None,
    commas: bool = False,
    touches: Touches = "everything",
    resolved: bool = False,
) -> T:
    """A field of a subclass of `Options`: its default, the line of its help, and what else `OptionInfo` holds.

    Name, kind and choices follow from the field: bool, int, float, str, a Literal of words, a path, a sequence of
    texts, or one of these or None.
    """
    said = OptionInfo(
        "", "", default, help, (), False, low, high, named, flags, metavar, panel, shown, commas, touches, resolved
    )
    made: T = field(default=default, metadata={_KEY: said})
    return made


@dataclass(frozen=True, slots=True)
class Options:
    """Base of dataclasses of options: a value out of its bounds is a UsageError when the object is made."""

    def __post_init__(self) -> None:
        for one in options_of(type(self)):
            one.check(getattr(self, one.name), one.name)


def options_of(options: type[Options]) -> tuple[OptionInfo, ...]:
    """The options that the dataclass holds itself, in order."""
    chosen: Any = options  # mypy takes no dataclass for hashable
    return _read(chosen)[0]


def groups_of(options: type[Options]) -> Mapping[str, type[Options]]:
    """The dataclasses of options that the dataclass holds as fields, by their names."""
    chosen: Any = options
    return _read(chosen)[1]


def changed(options: Options) -> dict[str, Any]:
    """The values that are not the defaults, by name."""
    found = {one.name: (getattr(options, one.name), one.default) for one in options_of(type(options))}
    return {name: value for name, (value, default) in found.items() if value != default}


@cache
def _read(options: Any) -> tuple[tuple[OptionInfo, ...], dict[str, type[Options]]]:
    hints = get_type_hints(options)
    own, groups = [], {}
    for one in fields(options):
        hint = hints[one.name]
        if isinstance(hint, type) and issubclass(hint, Options):
            groups[one.name] = hint
        else:
            said = one.metadata[_KEY] if _KEY in one.metadata else OptionInfo("", "", one.default, "")
            own.append(_completed(said, one.name, hint))
    return tuple(own), groups


def _completed(said: OptionInfo, name: str, hint: Any) -> OptionInfo:
    """What the field says of itself, with what its name and its type say."""
    hints = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    kinds = [get_origin(one) or one for one in hints if one is not type(None)]
    choices = get_args(next(one for one in hints if get_origin(one) is Literal)) if Literal in kinds else ()
    if choices:
        kind = "str"
    elif {Iterable, Sequence, tuple, list} & set(kinds):
        kind = "list"
    elif any(isinstance(one, type) and issubclass(one, os.PathLike) for one in kinds):
        kind = "path"
    else:
        kind = kinds[0].__name__
    return replace(said, name=name, kind=kind, choices=choices, optional=type(None) in hints)
