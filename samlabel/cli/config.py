"""`samlabel config`: which settings hold, and where each comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..text import to_json
from ._config import Given, file_of, layers
from ._console import print_json, say
from .annotate import SETTINGS

app = typer.Typer(help="Settings of samlabel annotate from a file and the environment.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Settings of samlabel annotate from a file and the environment."""


@app.command()
def show(
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="TOML file with a table [annotate].")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print every setting as annotate would take it; the output is a file for --config."""
    given = layers(SETTINGS, file_of(config))
    rows = {one.word: given.get(one.name, Given(_plain(one.default), "default")) for one in SETTINGS}
    if as_json:
        print_json({word: {"value": one.value, "from": one.origin} for word, one in rows.items()})
        return
    say("[annotate]")
    for word, one in rows.items():
        if one.value is None:
            say(f"# {word} is not set")
        else:
            say(f"{word} = {_toml(one.value)}  # {one.origin}")


def _plain(default: Any) -> Any:
    """A default as a file has it; a list of nothing is not set."""
    return (list(default) or None) if isinstance(default, tuple) else default


def _toml(value: Any) -> str:
    """JSON's text, numbers, booleans and lists of text are TOML too."""
    return to_json(value if isinstance(value, (bool, int, float, list)) else str(value))
