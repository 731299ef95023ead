"""`samlabel bench`: how fast each model is on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ..option_info import options_of
from ..options import SPEC
from ._console import print_json, print_table, say, split
from ._options import parameter, with_options

if TYPE_CHECKING:
    from ..bench import Row


def _bench(
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME",
            help="Measure these; may be repeated. See samlabel models.",
            show_default="all whose weights are here, and ultralytics' small ones",
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(help="cpu, cuda, 0, mps, ...", show_default="cpu, and a GPU where there is one")
    ] = "",
    dtype: Annotated[
        list[str] | None,
        typer.Option(
            metavar="float32|bfloat16|float16",
            help="Numbers that SAM computes in; may be repeated.",
            show_default="float32, and bfloat16 where the device has it",
        ),
    ] = None,
    backend: str = SPEC.models.backend,
    seeded: Annotated[
        bool, typer.Option("--seeded", help="Measure variants without weights too, with random ones.")
    ] = False,
    rounds: Annotated[int, typer.Option(min=1, help="Repetitions; the median counts.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure the models on this machine: size, parameters, ms an image and for ten prompts."""
    from ..bench import SIZE, machine, to_json
    from ..bench import bench as measure

    rows = list(
        measure(split(models), device=device, dtypes=split(dtype), backend=backend, seeded=seeded, rounds=rounds)
    )
    about = machine()
    if as_json:
        print_json({**about, "models": [to_json(row) for row in rows]})
        return
    ways = list(dict.fromkeys(name for row in rows for name in row.timings))
    head = ["model", "weights", "MB", "parameters"]
    for name in ways:
        head += [f"{name}: ms an image", f"{name}: ms for 10 prompts"]
    print_table(head, [_cells(row, ways) for row in rows])
    gpu = f", {about['gpu']}" if about["gpu"] else ""
    say(
        f"an image of {SIZE[1]}x{SIZE[0]}, medians; {about['threads']} threads on {about['cores']} cores{gpu}, "
        f"torch {about['torch']}"
    )
    if any(row.weights == "random" for row in rows):
        say("random weights take the time of trained ones and find nothing")


def _cells(row: Row, ways: list[str]) -> list[str]:
    cells = [row.name, row.weights, f"{row.bytes / 1e6:.1f}" if row.bytes else "-", f"{row.params / 1e6:.1f} M"]
    for name in ways:
        timing = row.timings.get(name)
        cells.append(f"{timing.image_ms:.0f}" if timing else "-")
        cells.append(f"{timing.prompts_ms:.0f}" if timing and timing.prompts_ms is not None else "-")
    return cells


_BACKEND = next(one for one in options_of(type(SPEC.models)) if one.name == "backend")
bench = with_options(_bench, {}, {"backend": parameter(_BACKEND).annotation})
