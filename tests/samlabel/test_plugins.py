from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from samlabel.errors import MissingDependency, SamlabelError, UnknownName
from samlabel.plugins import Registry, module_with
from tests.brought import bringing


def toys(package: str) -> Registry[Any]:
    """The plug-ins of the kind "toy" in `package`, taken as they are."""
    return Registry("toy", package, lambda _, found: found)


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
    assert list(toys(name).found()) == ["alpha", "beta"]
    assert toys(name).get("alpha").x == 1


def test_a_broken_plugin_stays_in_the_listing_with_its_reason(package: Any) -> None:
    name = package(
        fine="",
        broken="1 / 0",
        lacks="import a_package_that_nobody_has",
        asks="REQUIRES = ('another_that_nobody_has',)",
    )
    problems = {one.name: one.problem for one in toys(name).found().values()}
    assert problems["fine"] is None
    assert "cannot be imported: ZeroDivisionError" in problems["broken"]
    lacking = "a_package_that_nobody_has"
    assert problems["lacks"] == f"the toy 'lacks' needs the package {lacking!r}: pip install {lacking}"
    assert "another_that_nobody_has" in problems["asks"]
    with pytest.raises(MissingDependency):
        toys(name).get("asks")


def test_an_unknown_name_lists_the_known_ones_and_the_nearest(package: Any) -> None:
    with pytest.raises(UnknownName, match="unknown toy 'alpa'; known: alpha, beta. Did you mean alpha?"):
        toys(package(alpha="", beta="")).get("alpa")


def test_two_of_one_name_are_an_error(package: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = package(alpha="")
    bring = bringing(tmp_path / "site", monkeypatch)
    bring("samlabel.toys", "gamma", "thing = 5", "thing")
    assert toys(name).get("gamma") == 5
    bring("samlabel.toys", "alpha", "")
    with pytest.raises(SamlabelError, match="two toys are called 'alpha'"):
        toys(name).found()


@pytest.mark.parametrize(
    ("source", "attribute", "words"),
    [("", "", "lacks load"), ("load = 5", "", "lacks load"), ("load = 5", "load", "is int 5; wanted a module")],
    ids=["no function", "no function of that name", "no module"],
)
def test_a_plugin_that_lacks_what_its_kind_needs_says_so(
    package: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, attribute: str, words: str
) -> None:
    bringing(tmp_path / "site", monkeypatch)("samlabel.toys", "gamma", source, attribute)
    registry = Registry("toy", package(), module_with("load"))
    assert words in (registry.found()["gamma"].problem or "")
    assert registry.usable() == {}
