"""Flags of commands, made from the dataclasses of `samlabel.options`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

from ..option_info import OptionInfo, Options, groups_of, options_of
from ._console import split

T = TypeVar("T", bound=Options)
R = TypeVar("R")
_TYPES: Mapping[str, Any] = {"bool": bool, "int": int, "float": float, "str": str, "path": Path, "list": list[str]}


@dataclass(frozen=True)
class Group:
    """A dataclass of options that a command takes in one of its parameters, each option by a flag of its own."""

    options: type[Options]
    without: tuple[str, ...] = ()  # names of options that the command does not offer
    panels: Mapping[str, str] = field(default_factory=dict)  # names of groups in the help that it calls otherwise

    def offered(self) -> dict[str, OptionInfo]:
        """The options by name, in order. One that several of its parts have is there once, without a default."""
        found: dict[str, OptionInfo] = {}
        for one in _all(self.options):
            if one.name in found:
                found[one.name] = replace(found[one.name], default=None, optional=True)
            elif one.name not in self.without:
                found[one.name] = replace(one, panel=self.panels.get(one.panel or "", one.panel))
        return found

    def made(self, values: Mapping[str, Any]) -> Options:
        """The options of these values of flags; those that are None are the defaults."""
        return _made(self.options, {name: values[name] for name in self.offered()})


def shared(options: type[Options]) -> frozenset[str]:
    """Names that options of several parts have, so that one flag is for all of them."""
    names = [one.name for one in _all(options)]
    return frozenset(name for name in names if names.count(name) > 1)


def parameter(one: OptionInfo) -> inspect.Parameter:
    """The parameter of a command that typer makes a flag or an argument of."""
    kind = _TYPES[one.kind]
    default = list(one.default) if isinstance(one.default, tuple) else one.default
    if one.kind == "list":
        default = default or None
    how: dict[str, Any] = {
        "metavar": one.metavar or "|".join(one.choices) or None,
        "help": one.help,
        "show_default": one.shown or True,
        "rich_help_panel": one.panel,
    }
    said = typer.Argument(**how) if one.argument else typer.Option(*(one.flags or (f"--{one.word}",)), **how)
    hint: Any = kind if default is not None else kind | None
    place = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Parameter(one.name, place, default=default, annotation=Annotated[hint, said])


def with_options(
    function: Callable[..., R], groups: Mapping[str, Group], annotations: Mapping[str, Any] | None = None
) -> Callable[..., R]:
    """A command whose parameters `groups` are given as the flags of their options, each where the parameter stands.

    `annotations` are those of parameters that cannot state theirs, by name.
    """
    hints = {**get_type_hints(function, include_extras=True), **(annotations or {})}
    parameters: list[inspect.Parameter] = []
    for name, one in inspect.signature(function).parameters.items():
        if name in groups:
            parameters += map(parameter, groups[name].offered().values())
        else:
            parameters.append(one.replace(annotation=hints[name]))

    def command(**values: Any) -> R:
        made = {name: group.made(values) for name, group in groups.items()}
        taken = {one for group in groups.values() for one in group.offered()}
        return function(**made, **{name: value for name, value in values.items() if name not in taken})

    command.__name__, command.__doc__ = function.__name__.strip("_"), function.__doc__
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what typer reads
    return command


def _all(options: type[Options]) -> Sequence[OptionInfo]:
    """Options of the dataclass itself, then those of its parts."""
    return [*options_of(options), *(one for part in groups_of(options).values() for one in _all(part))]


def _made(options: type[T], values: Mapping[str, Any]) -> T:
    given: dict[str, Any] = {name: _made(part, values) for name, part in groups_of(options).items()}
    for one in options_of(options):
        value = values.get(one.name)
        if one.kind == "list" and value is not None:
            value = tuple(split(value) if one.commas else value) or (None if one.optional else ())
        if value is not None:
            given[one.name] = value
    return options(**given)
