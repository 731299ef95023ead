"""`samlabel formats`: which label formats there are and what each can hold."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from ._console import print_json, print_table


def formats(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List label formats and what survives in each."""
    import converters

    found = converters.formats()
    if as_json:
        print_json([asdict(one) for one in found])
    else:
        rows = [(one.name, one.problem or one.summary.rstrip("."), ", ".join(one.keeps)) for one in found]
        print_table(("format", "what it is", "keeps"), rows)
