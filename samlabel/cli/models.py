"""`samlabel models` (list, pull, verify, where) and `samlabel detectors`: what can be chosen."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from ._console import print_json, print_row, print_table, say

if TYPE_CHECKING:
    from ..hub.weights import Checkpoint

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Names = Annotated[list[str] | None, typer.Argument(metavar="VARIANT...", show_default="all that were pulled")]

app = typer.Typer(invoke_without_command=True, help="SAM variants and their weights: list, pull, verify, where.")


@app.callback()
def models(context: typer.Context, as_json: _Json = False) -> None:
    """List SAM variants and where their weights come from."""
    if context.invoked_subcommand is None:
        list_models(as_json)


@app.command("list")
def list_models(as_json: _Json = False) -> None:
    """List SAM variants and where their weights come from."""
    from ..hub.weights import state
    from ..segmenters import SEGMENTERS
    from ..segmenters.sam import VARIANTS, checkpoints, variants

    files = {one.name: one for one in checkpoints()}
    found = [one | _file_of(files.get(one["name"])) for one in variants()]
    broken = [one for one in VARIANTS.found().values() if one.problem is not None]
    others = [one for name, one in SEGMENTERS.found().items() if name != "sam"]
    if as_json:
        named = [(f"{one.name}:", one) for one in others] + [(one.name, one) for one in broken]
        print_json(found + [{"name": name, "origin": one.origin, "problem": one.problem} for name, one in named])
        return
    rows = [(f"{one.name}:WHAT", "", "", "", one.problem or one.origin) for one in others]
    rows += [(one.name, "", "", "", one.problem or "") for one in broken]
    for one in found:
        size = f"{one['params'] / 1e6:.1f} M" if one["params"] else ""
        weights = "ships with samlabel"
        if not one["bundled"]:
            file = files[one["name"]]
            weights = state(file)
            if weights != "pulled":
                weights = f"{weights}: samlabel models pull {one['name']}, {file.size / 1e6:.1f} MB from {file.url}"
        rows.append((one["name"], size, f"{one['image_size']} px", one["licence"], weights))
    print_table(("variant", "parameters", "input", "licence", "weights"), rows)


@app.command()
def pull(
    names: Annotated[list[str], typer.Argument(metavar="VARIANT...", help="See samlabel models.")],
    mirror: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Address of a folder that holds the files.", show_default="SAMLABEL_MIRROR"),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Download nothing; only check what is there.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Fetch weights into the cache folder, continue a download that broke off, and check every byte."""
    from ..hub import weights
    from ..segmenters.sam import checkpoint

    for one in [checkpoint(name) for name in names]:
        if not quiet and not offline and weights.state(one) != "pulled":
            say(f"{one.name}: {one.size / 1e6:.1f} MB, {one.licence}, {one.url}", err=True)
        say(weights.pull(one, mirror=mirror, offline=offline, progress=None if quiet else _Said()))


@app.command()
def verify(names: _Names = None) -> None:
    """Read every byte of pulled weights and compare its SHA-256."""
    from ..errors import WeightsError
    from ..hub import weights
    from ..segmenters.sam import checkpoint, checkpoints

    chosen = [checkpoint(name) for name in names or ()]
    chosen = chosen or [one for one in checkpoints() if weights.state(one) != "absent"]
    faults = 0
    for one in chosen:
        try:
            print_row((one.name, "sound", weights.verify(one)))
        except WeightsError as error:
            faults += 1
            print_row((one.name, weights.state(one), error))
    raise typer.Exit(1 if faults else 0)


@app.command("where")
def where(name: Annotated[str | None, typer.Argument(metavar="VARIANT")] = None) -> None:
    """Print the cache folder, or the place of one variant's weights in it."""
    from ..hub import weights
    from ..segmenters.sam import checkpoint

    say(weights.cache_folder() if name is None else weights.where(checkpoint(name)))


class _Said:
    """One line on stderr in some seconds, so that a log stays short."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        if done == total or time.monotonic() - self._last > 5:
            self._last = time.monotonic()
            say(f"  {done / 1e6:.1f} of {total / 1e6:.1f} MB", err=True)


def _file_of(checkpoint: Checkpoint | None) -> dict[str, object]:
    from ..hub.weights import state, where

    if checkpoint is None:
        return {}
    return {
        "sha256": checkpoint.sha256,
        "bytes": checkpoint.size,
        "state": state(checkpoint),
        "file": str(where(checkpoint)),
    }


def detectors(as_json: _Json = False) -> None:
    """List detectors; the word before the colon of --detector NAME[:WHAT]."""
    from .. import detectors as known

    lines = known.descriptions()
    if as_json:
        print_json([{"name": name, "description": text} for name, text in lines.items()])
    else:
        print_table(("detector", "what it is"), list(lines.items()))
