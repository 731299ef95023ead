"""`python -m samlabel.training`: train the nano models, export what was trained, measure it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ..errors import PlantedLibrary
from ..hub.libraries import guarded_torch
from .detector.recipe import DetectorRecipe
from .recipe import SEGMENTER

app = typer.Typer(add_completion=False, help="The recipes of the bundled nano models.")

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
Initial = Annotated[
    Path, typer.Argument(metavar="STEM", help="The published nanodet-plus-m_416.param and .bin, without the suffix.")
]


@app.command()
def train(
    data: Data,
    out: Out = Path("runs/nano"),
    steps: Steps = SEGMENTER.steps,
    decay: Decay = SEGMENTER.decay,
    whole: Annotated[int, typer.Option(help="Steps at the very end on whole photos instead of windows.")] = (
        SEGMENTER.whole
    ),
    batch: Batch = SEGMENTER.batch,
    seed: Seed = SEGMENTER.seed,
    processes: Processes = 0,
) -> None:
    """Train the segmenter."""
    from .loop import train as run

    recipe = replace(SEGMENTER, steps=steps, decay=decay, whole=whole, batch=batch, seed=seed)
    _show(run(_checked(data, "train.json"), out, recipe, processes=processes or os.cpu_count() or 1), steps)


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="last.pt of a training run.")] = Path("runs/nano/last.pt"),
    segmenter: Annotated[Path, typer.Option(help="The SAM variant's weights.")] = SEGMENTER_FILE,
) -> None:
    """Write the segmenter's averaged weights as the file that ships."""
    from .loop import export as write

    segmenter.parent.mkdir(parents=True, exist_ok=True)
    write(checkpoint, segmenter)
    typer.echo(f"{segmenter}: {segmenter.stat().st_size / 1e6:.1f} MB")


@app.command()
def detector(
    data: Data,
    initial: Initial,
    out: Out = Path("runs/detector"),
    steps: Steps = DetectorRecipe().steps,
    seed: Seed = DetectorRecipe().seed,
    processes: Processes = 0,
) -> None:
    """Train the detector from the published network, which first labels what the photos leave unlabeled."""
    from .detector.loop import LABELS, label
    from .detector.loop import train as run

    _checked(data, "train.json")
    if not (out / LABELS).is_file():
        for count, _ in enumerate(label(data, initial, out), start=1):
            if count % 100 == 0:
                typer.echo(f"{count} photos labeled")
    recipe = replace(DetectorRecipe(), steps=steps, seed=seed)
    _show(run(data, initial, out, recipe, processes=processes or os.cpu_count() or 1), steps)


@app.command()
def export_detector(
    initial: Initial,
    checkpoint: Annotated[Path, typer.Argument(help="last.pt of a training run.")] = Path("runs/detector/last.pt"),
    share: Annotated[
        float, typer.Option(min=0, max=1, help="Weight of the trained network in its mean with the initial one.")
    ] = DetectorRecipe().share,
    file: Annotated[Path, typer.Option(help="The detector's weights.")] = DETECTOR_FILE,
) -> None:
    """Write the detector's averaged weights as the file that ships."""
    from .detector.loop import export as write

    write(initial, checkpoint, file, share=share, person_bias=DetectorRecipe().person_bias)
    typer.echo(f"{file}: {file.stat().st_size / 1e6:.1f} MB")


@app.command()
def quality(
    data: Annotated[Path, typer.Argument(help="Folder with val.json (COCO instances) and its photos.")],
    checkpoint: Annotated[Path | None, typer.Option(help="Other weights of the segmenter than the bundled.")] = None,
    detector: Annotated[Path | None, typer.Option(help="Other weights of the detector than the bundled.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only so many photos for the masks.")] = None,
    compare: Annotated[bool, typer.Option(help="Also measure filled box, ellipse and GrabCut.")] = True,
    masks: Annotated[bool, typer.Option(help="Measure the segmenter.")] = True,
    boxes: Annotated[bool, typer.Option(help="Measure the detector.")] = True,
) -> None:
    """Print how good the nano models are on photos that they never saw."""
    from .detector.quality import report as report_boxes
    from .quality import report as report_masks

    _checked(data, "val.json")
    if masks:
        typer.echo(report_masks(data, checkpoint=checkpoint, limit=limit, compare=compare))
    if boxes:
        typer.echo(report_boxes(data, weights=detector))


@app.command()
def sheet(
    data: Annotated[Path, typer.Argument(help="Folder with val.json (COCO instances) and its photos.")],
    out: Annotated[Path, typer.Option(help="Folder for masks.png and boxes.png.")] = Path("runs/sheet"),
    limit: Annotated[int | None, typer.Option(help="Only so many photos.")] = None,
) -> None:
    """Draw good, middling and bad results of the shipped models."""
    import sam

    from . import sheet

    _checked(data, "val.json")
    out.mkdir(parents=True, exist_ok=True)
    for name, picture in (
        ("masks.png", sheet.masks(sam.load("nano"), data, limit=limit)),
        ("boxes.png", sheet.boxes(data)),
    ):
        picture.save(out / name)
        typer.echo(str(out / name))


def _checked(data: Path, name: str) -> Path:
    if not (data / name).is_file():
        raise typer.BadParameter(f"{data} has no {name}; give the folder that holds it and the photos")
    return data


def _show(log: Iterator[Mapping[str, float]], steps: int) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        task = progress.add_task("training", total=steps)
        for entry in log:
            reached = "".join(f"{name[:-4]} {entry[name]:.2f} " for name in ("box_iou", "click_iou") if name in entry)
            progress.update(task, completed=entry["step"], description=f"{reached}loss {entry['total']:.2f}")


if __name__ == "__main__":
    try:
        with guarded_torch():
            app()
    except PlantedLibrary as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(error.exit_code) from None
