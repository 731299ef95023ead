from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from samlabel import plugins
from samlabel.errors import MissingDependency, SamlabelError, UnknownName


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a package of the given modules importable and gives its name."""
    made = []

    def make(**sources: str) -> str:
        name = f"plugin_package_{len(made)}_{tmp_path.name}"
        (tmp_path / name).mkdir()
        for file, source in {"__init__": "", **sources}.items():
            (tmp_path / name / f"{file}.py").write_text(source)
        made.append(name)
        return name

    monkeypatch.syspath_prepend(str(tmp_path))
    yield make
    for module in [one for one in sys.modules if one.startswith("plugin_package_")]:
        del sys.modules[module]


def test_plugins_are_found_by_file_name_and_not_imported(package: Any) -> None:
    name = package(beta="raise SystemExit", alpha="x = 1", _inner="")
    assert list(plugins.find("toy", name)) == ["alpha", "beta"]
    assert plugins.get("toy", "alpha", name).x == 1


def test_a_broken_plugin_stays_in_the_listing_with_its_reason(package: Any) -> None:
    name = package(
        fine="",
        broken="1 / 0",
        lacks="import a_package_that_nobody_has",
        asks="REQUIRES = ('another_that_nobody_has',)",
    )
    problems = {one.name: one.problem for one in plugins.find("toy", name).values()}
    assert problems["fine"] is None
    assert "cannot be imported: ZeroDivisionError" in problems["broken"]
    lacking = "a_package_that_nobody_has"
    assert problems["lacks"] == f"the toy 'lacks' needs the package {lacking!r}: pip install {lacking}"
    assert "another_that_nobody_has" in problems["asks"]
    with pytest.raises(MissingDependency):
        plugins.get("toy", "asks", name)


def test_an_unknown_name_lists_the_known_ones_and_the_nearest(package: Any) -> None:
    with pytest.raises(UnknownName, match="unknown toy 'alpa'; known: alpha, beta. Did you mean alpha?"):
        plugins.get("toy", "alpa", package(alpha="", beta=""))


def test_two_of_one_name_are_an_error(package: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    name = package(alpha="")
    points = [EntryPoint("alpha", "elsewhere:thing", "samlabel.toys"), EntryPoint("gamma", "json", "samlabel.toys")]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda *, group: points)
    with pytest.raises(SamlabelError, match="two toys are called 'alpha'"):
        plugins.find("toy", name)
    del points[0]
    assert plugins.find("toy", name)["gamma"].load().__name__ == "json"
