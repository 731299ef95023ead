"""Detectors by name: one module a detector, found by its file name, imported when it is chosen.

A module here offers `load(what, *, device, conf, iou, imgsz, max_det, classes) -> Detector`, `conf` and `iou` with
defaults of its own, and `trust_weights` too where its files can run code; the first line of its docstring is its line
in the listing. Names that start with an underscore are not detectors.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import SamlabelError, UnknownName, UsageError
from ..file_state import hash_file
from ..plugins import Plugin, Registry, module_with
from ..protocols import Detector

# Files and exported folders that ultralytics runs; a bare path that ends so needs no "ultralytics:" before it.
# https://docs.ultralytics.com/modes/export/#export-formats
MODEL_SUFFIXES = (
    ".pt",
    ".torchscript",
    ".onnx",
    ".engine",
    ".mlpackage",
    ".mlmodel",
    ".pb",
    ".tflite",
    ".mnn",
    "_openvino_model",
    "_saved_model",
    "_paddle_model",
    "_ncnn_model",
    "_imx_model",
    "_rknn_model",
)

# `none` is no module: without a detector the pipeline asks the segmenter for a grid of points.
NO_DETECTOR = "none"


DETECTORS = Registry("detector", __name__, module_with("load"))


def found() -> dict[str, Plugin[ModuleType]]:
    """Every detector that is a module, by name; `none` is not among them."""
    known = DETECTORS.found()
    if NO_DETECTOR in known:
        raise SamlabelError(f"{known[NO_DETECTOR].origin}: a detector may not be called {NO_DETECTOR!r}")
    return known


def names() -> list[str]:
    """Names of all detectors, sorted, `none` last; imports none of them."""
    return [*found(), NO_DETECTOR]


def descriptions() -> dict[str, str]:
    """One line on each detector by name; one that cannot be used says why."""
    lines = {
        name: f"not available: {plugin.problem}" if plugin.problem else _summary(plugin.load())
        for name, plugin in found().items()
    }
    return {**lines, NO_DETECTOR: "No detector: masks from a grid of points, all of one class"}


def _summary(module: ModuleType) -> str:
    """The first line of a module's docstring, without its full stop."""
    return (module.__doc__ or "").strip().partition("\n")[0].rstrip(".")


def parse(spec: str) -> tuple[str, str | None]:
    """Name and `what` of `NAME[:WHAT]`; a bare model file means ultralytics.

    Raises UnknownName where `spec` starts with no detector's name.
    """
    known = names()
    name, colon, what = spec.partition(":")
    if name in known:
        return name, what if colon and what else None
    if spec.lower().rstrip("/\\").endswith(MODEL_SUFFIXES):
        return "ultralytics", spec
    close = get_close_matches(name, known, n=1)
    hint = ""
    if Path(spec).suffix.lower() in (".json", ".xml", ".txt"):
        hint = f"To use boxes from a file, write labels:{spec}"
    elif spec.lower().startswith(("yolo", "rtdetr")):
        hint = f"To use ultralytics' published weights, write ultralytics:{spec}"
    elif close:
        hint = f"Did you mean {close[0]}{colon}{what}?"
    raise UnknownName("detector", spec, known, hint)


def load(
    spec: str,
    *,
    device: str = "",
    conf: float | None = None,
    iou: float | None = None,
    imgsz: int = 640,
    max_det: int = 300,
    classes: Sequence[str | int] | None = None,
    trust_weights: bool | str = False,
    follow_links: bool = False,
) -> Detector:
    """The detector that `spec` names, ready to detect; `none` has nothing to load and is refused here.

    `conf` and `iou` are the minimum score and the overlap in suppression (None is the detector's own: 0.25 and 0.7,
    nano's 0.48 and 0.5),
    `imgsz` the longest side the model sees, `max_det` the most boxes an image, `classes` the names or numbers to keep
    (None keeps all), `trust_weights` whether a file that can run code may be opened: True, or the SHA-256 of the one
    that may, `follow_links` whether links in a dataset of labels may lead out of it.
    """
    name, what = parse(spec)
    if name == NO_DETECTOR:
        raise UsageError("'none' is no detector to load; the pipeline generates masks from a grid instead")
    for option, value, low, high in (("conf", conf, 0, 1), ("iou", iou, 0, 1)):
        if value is not None and not low <= value <= high:
            raise UsageError(f"{option} is {value}; wanted a number from {low} to {high}")
    for option, count in (("imgsz", imgsz), ("max_det", max_det)):
        if count < 1:
            raise UsageError(f"{option} is {count}; wanted 1 or more")
    make = found()[name].load().load
    takes = inspect.signature(make).parameters
    permits = {"trust_weights": trust_weights, "follow_links": follow_links}
    more: dict[str, Any] = {name: value for name, value in permits.items() if name in takes}
    more |= {option: value for option, value in (("conf", conf), ("iou", iou)) if value is not None}
    detector: Detector = make(what, device=device, imgsz=imgsz, max_det=max_det, classes=classes, **more)
    return detector


def fetch(spec: str) -> tuple[Path, str]:
    """File and SHA-256 of the published weights that `spec` names, downloaded unless they are here.

    The one place where detectors reach the network. Raises UsageError for a detector without published weights.
    """
    name, what = parse(spec)
    download = vars(found()[name].load()).get("fetch") if name != NO_DETECTOR else None
    if what is None or download is None:
        raise UsageError(f"{spec}: nothing to fetch; wanted ultralytics:MODEL or torchvision:MODEL")
    path: Path = download(what)
    return path, hash_file(path)
