"""Turns a folder of photos into segmentation labels: a detector finds, Segment Anything outlines.

    from samlabel import auto_annotate

    summary = auto_annotate("photos", output_dir="labels", formats=("coco", "yolo"))

Importing this loads nothing heavy; each public name is fetched when it is first used.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .annotate import auto_annotate, run
    from .errors import SamlabelError
    from .options import (
        ClassOptions,
        Detecting,
        Duplicates,
        Grid,
        JobOptions,
        ModelOptions,
        OutputOptions,
        RunSpec,
        Thresholds,
        TrustOptions,
    )
    from .progress import Progress
    from .protocols import Detector, Image, ImageRef, MaskGenerator, ModelInfo, Segmenter
    from .runs.run import Event, Summary
    from .types import Annotation, Category, Dataset, ImageRecord, Mask

__version__ = "0.1.0"

_HOMES = {
    "Annotation": "types",
    "Category": "types",
    "ClassOptions": "options",
    "Dataset": "types",
    "Detecting": "options",
    "Detector": "protocols",
    "Duplicates": "options",
    "Event": "runs.run",
    "Grid": "options",
    "Image": "protocols",
    "ImageRef": "protocols",
    "ImageRecord": "types",
    "JobOptions": "options",
    "Mask": "types",
    "MaskGenerator": "protocols",
    "ModelInfo": "protocols",
    "ModelOptions": "options",
    "Objects": "objects",
    "OutputOptions": "options",
    "Progress": "progress",
    "RunSpec": "options",
    "SamlabelError": "errors",
    "Segmenter": "protocols",
    "Summary": "runs.run",
    "Thresholds": "options",
    "TrustOptions": "options",
    "auto_annotate": "annotate",
    "run": "annotate",
}

__all__ = [
    "Annotation",
    "Category",
    "ClassOptions",
    "Dataset",
    "Detecting",
    "Detector",
    "Duplicates",
    "Event",
    "Grid",
    "Image",
    "ImageRecord",
    "ImageRef",
    "JobOptions",
    "Mask",
    "MaskGenerator",
    "ModelInfo",
    "ModelOptions",
    "Objects",
    "OutputOptions",
    "Progress",
    "RunSpec",
    "SamlabelError",
    "Segmenter",
    "Summary",
    "Thresholds",
    "TrustOptions",
    "__version__",
    "auto_annotate",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _check_companions() -> None:
    """Both names exist elsewhere as packages, and a file `sam.py` in the current folder wins over ours."""
    home = Path(__file__).resolve().parent.parent
    for name in ("sam", "converters"):
        spec = importlib.util.find_spec(name)
        if spec is None:
            raise ImportError(f"samlabel's package {name!r} is not beside it in {home}; install samlabel again")
        found = Path(next(iter(spec.submodule_search_locations or ()), spec.origin or ".")).resolve()
        if found != home / name:
            raise ImportError(
                f"import {name} finds {spec.origin or found}, which shadows samlabel's own {home / name}; "
                f"rename it, take it off the import path, or run from another folder"
            )


_check_companions()
