"""What several tests share: a trained YOLO, and the folder of real photos."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from tests.tiny_yolo import train_tiny_yolo

# ultralytics writes its settings when it is imported; they must not land in the home of whoever runs the tests.
if "YOLO_CONFIG_DIR" not in os.environ:
    settings = tempfile.TemporaryDirectory(prefix="samlabel-yolo-")
    os.environ["YOLO_CONFIG_DIR"] = settings.name
# Nor must what tests trust become trusted on this machine.
data = tempfile.TemporaryDirectory(prefix="samlabel-data-")
os.environ["XDG_DATA_HOME"] = data.name
os.environ.setdefault("YOLO_OFFLINE", "true")
os.environ.setdefault("YOLO_AUTOINSTALL", "false")


@pytest.fixture(scope="session")
def tiny_yolo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a real YOLO that knows red squares and blue circles, trained once a test run."""
    pytest.importorskip("ultralytics")
    return train_tiny_yolo(tmp_path_factory.mktemp("tiny-yolo") / "set")


@pytest.fixture
def photos_data() -> Path:
    """The folder of real photos and weights that SAMLABEL_DATA names; tests that want it are skipped without it."""
    folder = os.environ.get("SAMLABEL_DATA")
    if not folder:
        pytest.skip("SAMLABEL_DATA is not set")
    path = Path(folder)
    assert path.is_dir(), f"SAMLABEL_DATA={folder} is no folder"
    return path
