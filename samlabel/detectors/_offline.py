"""ultralytics without its side effects on us and without the network.

What ultralytics does is decided in three places: in the environment when it is imported, in attributes of its modules
where the caller imported it before us, and in callbacks of each model that reports its use. The environment and the
attributes are as before when a block here ends; a model that went through `warm_up` never reports.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import MissingDependency

# Read when ultralytics, huggingface_hub and ONNX Runtime are imported; what ultralytics imports comes with it.
_OFFLINE = {
    "YOLO_OFFLINE": "true",  # no look-ups of new versions, no usage reports
    "YOLO_AUTOINSTALL": "false",  # no package is installed because one is missing
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "ORT_DISABLE_TELEMETRY": "1",
}
# Modules whose callbacks send something: today's, and those of ultralytics before 8.4.
_REPORTING = ("ultralytics.utils.events", "ultralytics.hub.utils", "ultralytics.utils.callbacks.hub")
_ABSENT = object()


@contextlib.contextmanager
def offline() -> Iterator[Any]:
    """The module ultralytics; inside, it and what it imports connect to nothing and install nothing."""
    with quiet_import() as ultralytics, contextlib.ExitStack() as stack:
        for name, attribute, value in (
            ("ultralytics.utils.checks", "ONLINE", False),
            ("ultralytics.utils.checks", "AUTOINSTALL", False),
            ("ultralytics.utils.downloads", "is_online", lambda: False),
        ):
            stack.enter_context(replaced(name, attribute, value))
        for name in _REPORTING:
            with contextlib.suppress(ImportError):
                stack.enter_context(_no_reports(importlib.import_module(name)))
        yield ultralytics


@contextlib.contextmanager
def quiet_import() -> Iterator[Any]:
    """The module ultralytics, imported so that it is offline and does not log to stdout, where our results go.

    It would also set OMP_NUM_THREADS=1, which takes all cores but one from torch if torch comes second.
    """
    import torch  # noqa: F401  first, so that it sees the machine's own thread count

    quiet = {} if "YOLO_VERBOSE" in os.environ else {"YOLO_VERBOSE": "false"}
    with _environment({**_OFFLINE, **quiet, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS")}):
        try:
            ultralytics = importlib.import_module("ultralytics")
        except ImportError as error:
            message = f"ultralytics cannot be imported ({error}); install it with: pip install ultralytics"
            raise MissingDependency(message) from error
        yield ultralytics


def warm_up(model: Any, options: Mapping[str, Any]) -> None:
    """Let an ultralytics model load all it needs, while `offline` holds, and never report what it is used for."""
    import numpy as np

    model.predict(np.zeros((32, 32, 3), np.uint8), **options)
    for callbacks in model.predictor.callbacks.values():
        callbacks[:] = [one for one in callbacks if one.__module__ not in _REPORTING]


@contextlib.contextmanager
def _environment(values: Mapping[str, str | None]) -> Iterator[None]:
    """Inside, variables have these values; None is whatever they have. Afterwards all are as before."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update({name: value for name, value in values.items() if value is not None})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def replaced(module: str, name: str, value: object) -> Iterator[None]:
    """Inside, an attribute of a module has another value; a version that lacks the attribute goes without."""
    owner = vars(importlib.import_module(module))
    before = owner.get(name, _ABSENT)
    if before is _ABSENT:
        yield
        return
    owner[name] = value
    try:
        yield
    finally:
        owner[name] = before


@contextlib.contextmanager
def _no_reports(module: Any) -> Iterator[None]:
    events = vars(module).get("events")
    if events is None:
        yield
        return
    before, events.enabled = events.enabled, False
    try:
        yield
    finally:
        events.enabled = before
