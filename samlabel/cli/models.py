"""`samlabel models` and `samlabel detectors`: what can be chosen."""

from __future__ import annotations

from typing import Annotated

import typer

from ._console import print_json, print_table

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def models(as_json: _Json = False) -> None:
    """List SAM variants and where their weights come from."""
    from ..plugins import find
    from ..segmenters.sam import variants

    found = variants()
    others = [one for name, one in find("segmenter", "samlabel.segmenters").items() if name != "sam"]
    if as_json:
        print_json(found + [{"name": f"{one.name}:", "origin": one.origin, "problem": one.problem} for one in others])
        return
    rows = [(f"{one.name}:WHAT", "", "", one.problem or one.origin) for one in others]
    for one in found:
        size = f"{one['params'] / 1e6:.1f} M" if one["params"] else ""
        weights = "ships with samlabel" if one["bundled"] else f"--sam-checkpoint FILE, from {one['url']}"
        rows.append((one["name"], size, f"{one['image_size']} px", weights))
    print_table(("variant", "parameters", "input", "weights"), rows)


def detectors(as_json: _Json = False) -> None:
    """List detectors; the word before the colon of --detector NAME[:WHAT]."""
    from .. import detectors as known

    lines = known.descriptions()
    if as_json:
        print_json([{"name": name, "description": text} for name, text in lines.items()])
    else:
        print_table(("detector", "what it is"), list(lines.items()))
