"""`samlabel check`: a gate for datasets, with output that CI systems read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import FormatError, UnknownName, UsageError
from ._console import print_json, say, say_annotation
from ._dataset import find
from ._progress import Quiet, Shown
from ._write import FollowLinks, LenientFlag, ShownImages, opened

if TYPE_CHECKING:
    from ..datasets.check import Report
    from ..formats import Format

OUTPUTS = ("text", "json", "sarif", "github")
SHOWN = 50


def check(
    dataset: Annotated[
        Path, typer.Argument(metavar="DATASET", help="Label file, dataset folder, or the --out of samlabel annotate.")
    ],
    format: Annotated[
        str | None, typer.Option("--from", help="Format of DATASET.", show_default="told from the files")
    ] = None,
    images: ShownImages = None,
    follow_links: FollowLinks = False,
    lenient: LenientFlag = False,
    min_area: Annotated[int, typer.Option(help="Masks with fewer pixels are tiny.")] = 4,
    duplicate_iou: Annotated[float, typer.Option(help="Objects that overlap so much are one.")] = 0.95,
    max_imbalance: Annotated[float, typer.Option(help="Most objects of a class for one of the rarest.")] = 100.0,
    fail_on: Annotated[
        str, typer.Option(metavar="error|warning|note|off", help="Least severity that fails.")
    ] = "error",
    allow: Annotated[
        list[str] | None, typer.Option(metavar="CODE=N", help="Accept N findings of a code; more of them fail.")
    ] = None,
    severity: Annotated[
        list[str] | None, typer.Option(metavar="CODE=error|warning|note|off", help="Another severity for a code.")
    ] = None,
    output: Annotated[str, typer.Option(metavar="text|json|sarif|github", help="How findings are printed.")] = "text",
    as_json: Annotated[bool, typer.Option("--json", help="The same as --output json.")] = False,
    quiet: Quiet = False,
) -> None:
    """Check structure, references, geometry, masks, duplicates, class balance and images; exit 4 when a gate fails."""
    from ..datasets.check import Limits
    from ..datasets.check import check as run

    output = "json" if as_json else output
    if output not in OUTPUTS:
        raise UnknownName("output", output, list(OUTPUTS))
    counts = {code: _whole(code, number) for code, number in _pairs("--allow", allow).items()}
    limits = Limits(min_area, duplicate_iou, max_imbalance, fail_on, counts, _pairs("--severity", severity))
    read_as: Format[Any] | str | None = format
    try:
        source = opened(dataset, format)
        labels, read_as, images = source.labels, source.format, images or source.image_root
        say(source.told, err=output != "text")
    except FormatError:  # a format that nobody knows is told by the check itself
        labels, _ = find(dataset, format)
    with Shown(quiet=quiet) as shown:
        report = run(
            labels,
            format=read_as,
            image_root=images,
            limits=limits,
            follow_links=follow_links,
            lenient=lenient,
            progress=shown,
        )
    if output == "json":
        print_json(report.to_json())
    elif output == "sarif":
        print_json(_sarif(report, labels))
    elif output == "github":
        _print_github(report, labels)
    else:
        _print_text(report)
    raise typer.Exit(report.exit_code)


def _pairs(flag: str, values: list[str] | None) -> dict[str, str]:
    found = {}
    for value in values or ():
        code, equals, rest = value.partition("=")
        if not equals:
            raise UsageError(f"{flag} {value}: wanted CODE=VALUE")
        found[code] = rest
    return found


def _whole(code: str, text: str) -> int:
    if not text.isdecimal():
        raise UsageError(f"--allow {code}={text}: wanted a whole number")
    return int(text)


def _print_text(report: Report) -> None:
    for one in report.findings[:SHOWN]:
        place = f"{one.image or report.dataset}" + (f" object {one.object}" if one.object else "")
        say(f"{one.severity}: {one.code}: {place}: {one.message}")
    if len(report.findings) > SHOWN:
        say(f"... and {len(report.findings) - SHOWN} more; --json has all")
    counted = ", ".join(f"{code} {count}" for code, count in sorted(report.counts.items())) or "nothing wrong"
    say(f"{report.images} images, {report.objects} objects: {counted}")
    say("failed: " + ", ".join(report.failed) if report.failed else "passed")


def _print_github(report: Report, labels: Path) -> None:
    levels = {"error": "error", "warning": "warning", "note": "notice"}
    for one in report.findings:
        place = f"{one.image}{f' object {one.object}' if one.object else ''}: " if one.image else ""
        say_annotation(levels[one.severity], f"{place}{one.message}", file=str(labels), title=one.code)
    say("failed: " + ", ".join(report.failed) if report.failed else "passed")


def _sarif(report: Report, labels: Path) -> dict[str, Any]:
    """https://docs.oasis-open.org/sarif/sarif/v2.1.0/"""
    from urllib.parse import quote

    from .. import __version__
    from ..datasets.check import CODES

    rules = [
        {"id": code, "shortDescription": {"text": text}, "defaultConfiguration": {"level": level}}
        for code, (level, text) in CODES.items()
    ]
    results = [
        {
            "ruleId": one.code,
            "level": one.severity,
            "message": {"text": f"{one.image}: {one.message}" if one.image else one.message},
            "locations": [{"physicalLocation": {"artifactLocation": {"uri": quote(one.image or labels.as_posix())}}}],
            "partialFingerprints": {"finding/v1": json.dumps([one.code, one.image, one.object])},
        }
        for one in report.findings
    ]
    driver = {"name": "samlabel", "version": __version__, "rules": rules}
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }
