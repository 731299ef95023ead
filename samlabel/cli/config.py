"""`samlabel config`: which settings hold, and where each comes from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from ..text import to_json
from ._config import PREFIX, Given, keys_of, layers
from ._console import print_json, say

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
    from . import app as whole

    command: Any = typer.main.get_command(whole).commands["annotate"]  # type: ignore[attr-defined]
    named = os.environ.get(f"{PREFIX}CONFIG")
    given = layers(command, config or (Path(named) if named else None))
    rows = {word: given.get(one.name, Given(_default(one), "default")) for word, one in keys_of(command).items()}
    if as_json:
        print_json({word: {"value": one.value, "from": one.origin} for word, one in rows.items()})
        return
    say("[annotate]")
    for word, one in rows.items():
        if one.value is None:
            say(f"# {word} is not set")
        else:
            say(f"{word} = {_toml(one.value)}  # {one.origin}")


def _default(parameter: Any) -> Any:
    value = parameter.default
    if callable(value):
        value = value()
    if parameter.required or type(value).__name__ in ("Sentinel", "_MissingType"):
        return None
    return list(value) if isinstance(value, tuple) else value


def _toml(value: Any) -> str:
    """JSON's text, numbers, booleans and lists of text are TOML too."""
    return to_json(value if isinstance(value, (bool, int, float, list)) else str(value))
