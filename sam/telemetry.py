"""ONNX Runtime and OpenVINO without the reports of their use that they send to their makers.

Both begin with that when they are imported: OpenVINO looks up its maker's address, ONNX Runtime makes an identifier of
this machine and a queue in the user's cache folder. So they are imported here, and nowhere else in this package.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

_ORT_SWITCH = "ORT_DISABLE_TELEMETRY"
_REPORTER = "openvino_telemetry"
_SENDING = ("send_event", "send_error", "send_stack_trace", "start_session", "end_session")


def import_onnxruntime() -> ModuleType:
    """`onnxruntime`, with its telemetry off for this process; the environment is as before. Raises ImportError."""
    before = os.environ.get(_ORT_SWITCH)
    os.environ[_ORT_SWITCH] = "1"
    try:
        onnxruntime = importlib.import_module("onnxruntime")
    finally:
        if before is None:
            del os.environ[_ORT_SWITCH]
        else:
            os.environ[_ORT_SWITCH] = before
    onnxruntime.disable_telemetry_events()  # where somebody imported it before us
    return onnxruntime


@contextmanager
def quiet_openvino() -> Iterator[ModuleType]:
    """`openvino` with its converter, neither of which reports anything inside. Raises ImportError.

    The converter has a stub for installations without the package that reports, and is made to take that. Where
    somebody imported the converter before us, the real one is silent until the block ends.
    """
    if "openvino.tools.ovc" in sys.modules:
        import openvino

        with _silenced(vars(sys.modules.get(_REPORTER, ModuleType(_REPORTER))).get("Telemetry")):
            yield openvino
        return
    known = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == _REPORTER}
    for name in known:
        del sys.modules[name]
    sys.modules[_REPORTER] = None  # type: ignore[assignment]  # for `import`: a package that is not installed
    try:
        import openvino
        import openvino.tools.ovc
    finally:
        del sys.modules[_REPORTER]
        sys.modules.update(known)
    yield openvino


@contextmanager
def _silenced(reporter: Any) -> Iterator[None]:
    """Inside, nothing that is handed to this class goes anywhere; None is no class."""
    before = {name: vars(reporter)[name] for name in _SENDING if name in vars(reporter)} if reporter else {}
    for name in before:
        setattr(reporter, name, _nothing)
    try:
        yield
    finally:
        for name, method in before.items():
            setattr(reporter, name, method)


def _nothing(*_: object, **__: object) -> None:
    pass
