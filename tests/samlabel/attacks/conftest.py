from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.tiny_yolo import SIDE, seeded_tiny_yolo


class Evil:
    """Unpickled, it makes a file."""

    def __init__(self, target: Path) -> None:
        self.target = str(target)

    def __reduce__(self) -> Any:
        return (open, (self.target, "w"))


@pytest.fixture
def pwned(tmp_path: Path) -> Path:
    """The file that shows that an attack worked."""
    return tmp_path / "pwned"


@pytest.fixture
def evil(pwned: Path) -> bytes:
    """A pickle that makes `pwned` when it is opened."""
    return pickle.dumps(Evil(pwned))


@pytest.fixture(scope="session")
def seeded_yolo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a YOLO with random weights."""
    pytest.importorskip("ultralytics")
    return seeded_tiny_yolo(tmp_path_factory.mktemp("seeded-yolo") / "seeded.pt")


@pytest.fixture(scope="session")
def exported_yolo(seeded_yolo: Path) -> dict[str, Path]:
    """The same as `.onnx` and as a folder for OpenVINO, by these ends of their names."""
    from sam.telemetry import import_onnxruntime, quiet_openvino
    from samlabel.detectors._offline import offline

    import_onnxruntime()
    made = {}
    with offline() as ultralytics, quiet_openvino():
        for form, suffix in (("onnx", ".onnx"), ("openvino", "_openvino_model")):
            model = ultralytics.YOLO(str(seeded_yolo))
            written = Path(model.export(format=form, imgsz=SIDE, device="cpu", verbose=False))
            made[suffix] = seeded_yolo.parent / f"exported{suffix}"
            shutil.move(written, made[suffix])
    return made
