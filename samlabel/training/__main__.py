"""`python -m samlabel.training`: train the nano models, or export what was trained."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ..errors import PlantedLibrary
from ..libraries import guarded_torch
from .recipe import BOTH, DETECTOR, Recipe

app = typer.Typer(add_completion=False, help="The recipe of the shipped nano models.")

ROOT = Path(__file__).resolve().parents[2]
SEGMENTER_FILE = ROOT / "sam" / "weights" / "nano.safetensors"
DETECTOR_FILE = ROOT / "samlabel" / "detectors" / "weights" / "nano.safetensors"

Data = Annotated[Path, typer.Argument(help="Folder with train.json (COCO instances) and its photos.")]
Out = Annotated[Path, typer.Option(help="Where checkpoint and log go; a checkpoint there is continued.")]
Steps = Annotated[int, typer.Option(help="Length of the run in steps.")]
Decay = Annotated[int, typer.Option(help="Steps at the end over which the learning rate falls.")]
Batch = Annotated[int, typer.Option(help="Photos a step.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
Processes = Annotated[int, typer.Option(help="Processes that share the work; 0 takes one for each core.")]


@app.command()
def train(
    data: Data,
    out: Out = Path("runs/nano"),
    steps: Steps = BOTH.steps,
    decay: Decay = BOTH.decay,
    whole: Annotated[int, typer.Option(help="Steps at the very end on whole photos instead of windows.")] = BOTH.whole,
    batch: Batch = BOTH.batch,
    seed: Seed = BOTH.seed,
    processes: Processes = 0,
) -> None:
    """Train segmenter and detector together."""
    _run(data, out, replace(BOTH, steps=steps, decay=decay, whole=whole, batch=batch, seed=seed), processes)


@app.command()
def detector(
    data: Data,
    out: Out = Path("runs/detector"),
    segmenter: Annotated[Path, typer.Option(help="Weights of nano whose embeddings it reads.")] = SEGMENTER_FILE,
    steps: Steps = DETECTOR.steps,
    decay: Decay = DETECTOR.decay,
    batch: Batch = DETECTOR.batch,
    seed: Seed = DETECTOR.seed,
    processes: Processes = 0,
) -> None:
    """Train the detector alone; the segmenter stays as it is."""
    if not segmenter.is_file():
        raise typer.BadParameter(f"{segmenter}: no such file; give weights of nano that `export` wrote")
    chosen = replace(DETECTOR, steps=steps, decay=decay, batch=batch, seed=seed, segmenter=segmenter)
    _run(data, out, chosen, processes)


def _run(data: Path, out: Path, recipe: Recipe, processes: int) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from .loop import train as run

    if not (data / "train.json").is_file():
        raise typer.BadParameter(f"{data} has no train.json; give the folder that holds it and the photos")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        task = progress.add_task("training", total=recipe.steps)
        for entry in run(data, out, recipe, processes=processes or os.cpu_count() or 1):
            reached = "".join(f"{name[:-4]} {entry[name]:.2f} " for name in ("box_iou", "click_iou") if name in entry)
            progress.update(task, completed=entry["step"], description=f"{reached}loss {entry['total']:.2f}")


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="last.pt of a training run.")] = Path("runs/nano/last.pt"),
    segmenter: Annotated[Path, typer.Option(help="The SAM variant's weights.")] = SEGMENTER_FILE,
    detector: Annotated[Path, typer.Option(help="The detector's head.")] = DETECTOR_FILE,
) -> None:
    """Write the averaged weights as the files that ship."""
    from .loop import export as write

    for file in (segmenter, detector):
        file.parent.mkdir(parents=True, exist_ok=True)
    for file in write(checkpoint, segmenter, detector):
        typer.echo(f"{file}: {file.stat().st_size / 1e6:.1f} MB")


@app.command()
def quality(
    data: Annotated[Path, typer.Argument(help="Folder with val.json (COCO instances) and its photos.")],
    checkpoint: Annotated[Path | None, typer.Option(help="Other nano weights than those that ship.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only so many photos.")] = None,
    compare: Annotated[bool, typer.Option(help="Also measure filled box, ellipse and GrabCut.")] = True,
) -> None:
    """Print how good the nano models are on photos that they never saw."""
    from .quality import report

    if not (data / "val.json").is_file():
        raise typer.BadParameter(f"{data} has no val.json; give the folder that holds it and the photos")
    typer.echo(report(data, checkpoint=checkpoint, limit=limit, compare=compare))


@app.command()
def sheet(
    data: Annotated[Path, typer.Argument(help="Folder with val.json (COCO instances) and its photos.")],
    out: Annotated[Path, typer.Option(help="Folder for masks.png and boxes.png.")] = Path("runs/sheet"),
    limit: Annotated[int | None, typer.Option(help="Only so many photos.")] = None,
) -> None:
    """Draw good, middling and bad results of the shipped models."""
    import sam

    from . import sheet

    if not (data / "val.json").is_file():
        raise typer.BadParameter(f"{data} has no val.json; give the folder that holds it and the photos")
    out.mkdir(parents=True, exist_ok=True)
    for name, picture in (
        ("masks.png", sheet.masks(sam.load("nano"), data, limit=limit)),
        ("boxes.png", sheet.boxes(data)),
    ):
        picture.save(out / name)
        typer.echo(str(out / name))


if __name__ == "__main__":
    try:
        with guarded_torch():
            app()
    except PlantedLibrary as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(error.exit_code) from None
