"""How a format is read and written: its options, and how text becomes their values."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from samlabel.errors import UnknownName, UsageError
from samlabel.reach import Reach

from .lenient import Lenient

T = TypeVar("T")
ImageMode = Literal["copy", "hardlink", "symlink", "none"]


def option(default: T, help: str) -> T:
    """A field of a subclass of FormatOptions: its default, and the line that `samlabel formats` shows of it."""
    made: T = field(default=default, metadata={"help": help})
    return made


@dataclass(frozen=True, kw_only=True)
class FormatOptions:
    """How a dataset is written. A format with more to choose subclasses it; each further field is made by `option`.

    A field is a bool, an int, a float, a str or a Literal of words, or one of these or None. Words outside a Literal
    are a UsageError; `__post_init__` of a subclass may refuse more, after it has called this one.
    """

    overwrite: bool = False  # replace labels that are there; without it they are an OutputExists
    images: ImageMode = "none"  # how image files are placed beside the labels

    def __post_init__(self) -> None:
        for one in described(type(self), every=True):
            value = getattr(self, one.name)
            if one.choices and value not in one.choices and not (value is None and one.optional):
                what = "way to place images" if one.name == "images" else one.name
                raise UsageError(f"unknown {what} {value!r}; known: {', '.join(one.choices)}")


@dataclass(frozen=True)
class OptionInfo:
    """A field of a format's options."""

    name: str
    kind: str  # bool, int, float or str
    default: Any
    help: str
    choices: tuple[str, ...] = ()  # the words that it may be
    optional: bool = False  # whether it may be None

    def parsed(self, text: str) -> Any:
        """The value that `text` means; UsageError for one that does not fit."""
        if self.choices and text not in self.choices:
            raise UnknownName(f"value of {self.name}", text, list(self.choices))
        try:
            return PARSERS[self.kind](text.strip() if self.kind != "str" else text)
        except (KeyError, ValueError):
            raise UsageError(f"option {self.name} is {text!r}; wanted {_WANTED[self.kind]}") from None


PARSERS: Mapping[str, Callable[[str], Any]] = {
    "bool": lambda text: {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[text.lower()],
    "int": int,
    "float": float,
    "str": str,
}
_WANTED = {"bool": "true or false", "int": "a whole number", "float": "a number", "str": "a text"}
COMMON = ("overwrite", "images")


def described(options: type[FormatOptions], *, every: bool = False) -> tuple[OptionInfo, ...]:
    """The fields of `options` that it adds to FormatOptions, or `every` one."""
    chosen: Any = options  # mypy takes no dataclass for hashable
    return tuple(one for one in _fields_of(chosen) if every or one.name not in COMMON)


@cache
def _fields_of(options: Any) -> tuple[OptionInfo, ...]:
    kinds = get_type_hints(options)
    return tuple(
        _described(one.name, kinds[one.name], one.default, one.metadata.get("help", "")) for one in fields(options)
    )


def _described(name: str, kind: Any, default: Any, help: str) -> OptionInfo:
    optional = get_origin(kind) in (Union, types.UnionType) and type(None) in get_args(kind)
    if optional:
        (kind,) = [one for one in get_args(kind) if one is not type(None)]
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    return OptionInfo(name, "str" if choices else kind.__name__, default, help, choices, optional)


@dataclass(frozen=True)
class ReadOptions:
    """How a dataset is read.

    `image_root` is the folder that image names start from, where it is not the format's own. With `lenient`, broken
    objects are left out and counted there; without it the first is a FormatError. `reach` says which files may be
    read. `pictures` asks for images that lie inside label files as well: they are in the dataset's `image_root` while
    their record passes by.
    """

    image_root: Path | None = None
    lenient: Lenient | None = None
    reach: Reach | None = None
    pictures: bool = False

    def reach_of(self, path: Path) -> Reach:
        """`reach`, or that of a dataset at `path` that may not be left."""
        return self.reach or Reach.of(path, image_root=self.image_root)
