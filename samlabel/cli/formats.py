"""`samlabel formats`: which label formats there are and what each can hold."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._console import print_json, print_table

if TYPE_CHECKING:
    from ..formats import OptionInfo


def formats(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List label formats, what survives in each, and the options of those that have some."""
    from ..formats import list_formats

    found = list_formats()
    if as_json:
        print_json([{**asdict(one), "options": [_described(option) for option in one.options]} for one in found])
    else:
        rows = [(one.name, one.problem or one.summary.rstrip("."), ", ".join(one.keeps)) for one in found]
        print_table(("format", "what it is", "keeps"), rows)
        options = [(one.name, _usual(option), _help(option)) for one in found for option in one.options]
        print_table(("format", "--option", "what it does"), options)


def _described(option: OptionInfo) -> dict[str, Any]:
    said = asdict(option)
    return {name: said[name] for name in ("name", "kind", "default", "help", "choices", "optional")}


def _help(option: OptionInfo) -> str:
    """What the option does, after the words that it may be."""
    return f"{'|'.join(option.choices)}: {option.help}" if option.choices else option.help


def _usual(option: OptionInfo) -> str:
    """The option as it is when nobody gives it."""
    usual = (
        ""
        if option.default is None
        else str(option.default).lower()
        if isinstance(option.default, bool)
        else option.default
    )
    return f"{option.name}={usual}"
