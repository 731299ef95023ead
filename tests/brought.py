"""Plug-ins of other distributions, installed for one test."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

_NUMBERS = count()  # no module of an earlier test is imported again
Bring = Callable[..., None]


def bringing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Bring:
    """`bring(group, name, source, attribute)` installs a module below `folder` with an entry point to it."""

    def bring(group: str, name: str, source: str, attribute: str = "") -> None:
        module = f"brought_{name}_{next(_NUMBERS)}"
        home = folder / module
        info = home / f"{module}-1.0.dist-info"
        info.mkdir(parents=True)
        (home / f"{module}.py").write_text(source, encoding="utf-8")
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n", encoding="utf-8")
        target = f"{module}:{attribute}" if attribute else module
        (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {target}\n", encoding="utf-8")
        monkeypatch.syspath_prepend(str(home))

    return bring
