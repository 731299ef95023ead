"""`samlabel fetch`: published weights of a detector, downloaded because somebody said so."""

from __future__ import annotations

from typing import Annotated

import typer

from ._console import print_json, say


def fetch(
    detector: Annotated[
        str,
        typer.Argument(metavar="NAME:WHAT", help="ultralytics:yolo11n.pt, torchvision:ssdlite320_mobilenet_v3_large"),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Download a detector's published weights and note their SHA-256; annotate itself downloads nothing.

    Files of ultralytics can run code when they are opened: fetching one says that you trust its publisher.
    """
    from ..detectors import fetch as bring

    path, sha256 = bring(detector)
    if as_json:
        print_json({"file": str(path), "sha256": sha256})
    else:
        say(path)
        say(f"sha256 {sha256}")
