"""Every distribution that the packages import is declared in pyproject.toml, and every declared one is imported."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("converters", "sam", "samlabel")
DISTRIBUTIONS = {"cv2": "opencv-python", "PIL": "pillow", "yaml": "pyyaml"}  # where it is not the import's own name
STANDARD = sys.stdlib_module_names | {"tomllib"}  # of Python 3.11; tomli is declared for 3.10


def imports(tree: ast.AST, *, lazy: bool = False) -> Iterator[tuple[str, bool]]:
    """Top-level names of absolute imports, each with whether it is lazy: in a function, or for type checkers only."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0], lazy
        for_types = isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        function = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        yield from imports(node, lazy=lazy or for_types or function)


@cache
def imported() -> dict[str, list[tuple[str, bool]]]:
    """Distribution -> the files that import it, each with whether it does so lazily."""
    found: dict[str, list[tuple[str, bool]]] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for name, lazy in imports(ast.parse(path.read_text(encoding="utf-8"))):
                if name not in STANDARD and name not in PACKAGES:
                    place = (path.relative_to(ROOT).as_posix(), lazy)
                    found.setdefault(DISTRIBUTIONS.get(name, name), []).append(place)
    return found


@cache
def project() -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return table


def distributions(requirements: list[str]) -> set[str]:
    """Their names as the package index compares them."""
    names = [re.match(r"[A-Za-z0-9._-]+", requirement) for requirement in requirements]
    return {re.sub(r"[-_.]+", "-", name.group()).lower() for name in names if name}


def core() -> set[str]:
    return distributions(project()["dependencies"])


def extras() -> set[str]:
    """Distributions of the extras that users install, not of those that developers do."""
    groups = project()["optional-dependencies"]
    return {name for extra in groups.keys() - {"lint", "test"} for name in distributions(groups[extra])}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import a.b, c", [("a", False), ("c", False)]),
        ("from a.b import c", [("a", False)]),
        ("from . import a\nfrom .a import b", []),
        ("def f():\n    with x:\n        import a", [("a", True)]),
        ("class C:\n    import a\n    def f(self):\n        from b import c", [("a", False), ("b", True)]),
        ("try:\n    import a\nexcept ImportError:\n    import b", [("a", False), ("b", False)]),
        ("if TYPE_CHECKING:\n    import a", [("a", True)]),
    ],
    ids=["module", "name of a module", "relative", "in a function", "in a class", "guarded", "for type checkers"],
)
def test_the_reader_of_imports_sees_each_way_of_writing_one(source: str, found: list[tuple[str, bool]]) -> None:
    assert list(imports(ast.parse(source))) == found


def test_every_import_is_declared() -> None:
    missing = {name: places for name, places in imported().items() if name not in core() | extras()}
    assert missing == {}


def test_what_only_an_extra_brings_is_imported_lazily() -> None:
    eager = [
        f"{path} imports {name}"
        for name, places in imported().items()
        if name not in core()
        for path, lazy in places
        if not lazy
    ]
    assert eager == []


def test_every_core_dependency_is_imported() -> None:
    assert core() - imported().keys() == set()


def test_opencv_is_declared_in_the_build_that_ultralytics_requires() -> None:
    declared = {name for name in core() | extras() if name.startswith("opencv")}
    assert declared == {"opencv-python"}
