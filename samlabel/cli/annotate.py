"""`samlabel annotate`: a folder of photos in, label files out."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..errors import UsageError
from ..option_info import OptionInfo, Options, changed, option, options_of
from ..options import JOB, RunSpec
from ._config import config_option
from ._console import print_json, print_summary
from ._log import Log
from ._options import Group, shared, with_options
from ._progress import Shown

if TYPE_CHECKING:
    from ..runs.run import Event

# Of the options of a run, those that only `generate` and Python have flags or arguments for.
_WITHOUT = ("mask_nms_thresh", "containment_thresh", "max_image_share", "max_border_share", "max_masks", "batch")


@dataclass(frozen=True, slots=True)
class Report(Options):
    """What the command tells while it runs and at its end."""

    log: str | os.PathLike[str] | None = option(
        None, "Add a line of JSON for each picture; - is stderr.", metavar="FILE", panel=JOB
    )
    as_json: bool = option(False, "Print the summary as JSON on stdout.", flags=("--json",), panel=JOB)
    quiet: bool = option(False, "No progress.", flags=("--quiet", "-q"), panel=JOB)


def command(spec: type[RunSpec] = RunSpec) -> Callable[..., None]:
    """The command whose flags are the options of `spec`, and settings in a file and the environment with them."""
    groups = {"spec": Group(spec, _WITHOUT), "report": Group(Report)}
    return with_options(_annotate, groups, {"config": config_option(settings(spec), panel=JOB)})


def settings(spec: type[RunSpec] = RunSpec) -> tuple[OptionInfo, ...]:
    """The options of the command, for those who ask by name."""
    return (*Group(spec, _WITHOUT).offered().values(), *Group(Report).offered().values())


def _annotate(spec: RunSpec, config: Path | None = None, report: Report = Report()) -> None:
    """Label pictures: find objects, outline them, write the formats asked for.

    Run again with the same settings it continues where it stopped; new pictures cost only themselves.
    As a job: settings from a file, a log of JSON lines, and limits on what may fail.
    """
    from ..annotate import run

    spec = _settled(spec)

    def tell(event: Event) -> None:
        log_file(event)
        if event.failed is not None:
            shown.tell(f"failed: {event.path}: {event.failed}")

    log = Path(report.log) if report.log is not None else None
    with Shown(quiet=report.quiet) as shown, Log(log) as log_file:
        summary = run(spec, progress=tell, stages=shown)
        log_file.end(summary)
    if report.as_json:
        print_json(summary.to_json())
    else:
        print_summary(summary)
    raise typer.Exit(summary.exit_code)


def _settled(spec: RunSpec) -> RunSpec:
    """The same with thresholds of one name for both where they act; UsageError for a flag that does not."""
    both = shared(type(spec))
    if spec.models.detector == "none":
        usual = {one.name: one.default for one in options_of(type(spec.thresholds)) if one.name in both}
        spec = replace(spec, thresholds=replace(spec.thresholds, **usual))
    else:
        idle = [name for name in changed(spec.grid) if name not in both]
        if idle:
            raise UsageError(f"--{idle[0].replace('_', '-')} has no effect with a detector; add --detector none")
        spec = replace(spec, grid=type(spec.grid)())
    pictures = spec.source
    assert isinstance(pictures, tuple)  # what a list of arguments becomes
    if not pictures:
        raise UsageError("no pictures: name a folder of them, or set pictures in the file of --config")
    return replace(spec, source=pictures[0] if len(pictures) == 1 else pictures)


annotate = command()
SETTINGS = settings()
