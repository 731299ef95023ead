from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

_FILE = Path(__file__).with_name("fakes.py")


@pytest.fixture(scope="session")
def fakes() -> ModuleType:
    """Models and formats that need no weights; see `fakes.py`."""
    spec = importlib.util.spec_from_file_location("samlabel_test_fakes", _FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def plain_formats(fakes: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Label formats of the fakes in the place of the real ones."""
    from samlabel import formats

    for name in ("write", "names", "get"):
        monkeypatch.setattr(formats, name, getattr(fakes, name))


@pytest.fixture
def photos(tmp_path: Path, fakes: ModuleType) -> Path:
    """Three drawings: two objects, one object, none."""
    folder = tmp_path / "photos"
    fakes.draw(folder / "a.png", (2, 3, 20, 30, fakes.RED), (30, 5, 50, 20, fakes.BLUE))
    fakes.draw(folder / "deep" / "b c.png", (1, 1, 9, 9, fakes.BLUE), size=(20, 20))
    fakes.draw(folder / "zzz.png")
    return folder
