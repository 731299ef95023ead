"""Options that every command has which runs SAM."""

from __future__ import annotations

from typing import Annotated

import typer

PANEL = "Models"

Device = Annotated[
    str,
    typer.Option(
        help="cpu, cuda, 0, mps, ...", show_default="a GPU where there is one, else cpu", rich_help_panel=PANEL
    ),
]
Dtype = Annotated[
    str,
    typer.Option(
        metavar="float32|bfloat16|float16|auto",
        help="Numbers that SAM computes in; bfloat16 is faster where the processor has it, and moves edges a little.",
        rich_help_panel=PANEL,
    ),
]
Backend = Annotated[
    str, typer.Option(metavar="torch|openvino", help="What runs SAM's image encoder.", rich_help_panel=PANEL)
]
