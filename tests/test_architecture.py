"""Imports point one way: read with ast, so that a lazy import inside a function counts as well."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# What a module of samlabel may import is everything on its own step or a lower one.
STEPS = {
    "errors": 0,
    "text": 0,
    "cores": 0,
    "decoders": 0,
    "progress": 0,
    "file_state": 0,
    "reach": 0,
    "image_files": 0,
    "types": 0,
    "geometry": 0,
    "walk": 1,
    "compare": 1,
    "files": 1,
    "lock": 1,
    "option_info": 1,
    "objects": 1,
    "protocols": 1,
    "plugins": 1,
    "sources": 2,
    "options": 3,
    "hub": 3,
    "formats": 3,
    "datasets": 4,
    "detectors": 4,
    "segmenters": 4,
    "review": 4,
    "pipeline": 5,
    "runs": 6,
    "annotate": 7,
    "generate": 7,
    "bench": 7,
    "training": 7,
    "cli": 8,
    "__main__": 9,
}

# Imports inside functions that close a circle, and why they may; nothing else may.
CIRCLES = {
    ("samlabel.types", "samlabel.geometry"): "a mask turns into polygons and back by geometry, which is made of masks",
}

MAY_IMPORT_SAM = (
    "samlabel.segmenters.sam",
    "samlabel.detectors.ultralytics",  # its exports run in the same runtimes, which report where `sam` does not stop it
    "samlabel.detectors.torchvision",  # what a checkpoint may claim is the same for both
    "samlabel.training",
)
VALUES_AND_FILES = ("cores", "types", "geometry", "errors", "decoders", "image_files", "reach", "files", "lock")
CONVERTERS_MAY_IMPORT = {*VALUES_AND_FILES, "option_info", "plugins"}
HEAVY = ("torch", "torchvision", "ultralytics", "transformers", "cv2", "pycocotools", "sam")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").exists()


def imported_modules(source: str, module: str, *, package: bool) -> Iterator[str]:
    """Absolute names of all that `source` imports; `from a import b` gives a.b where that is a module."""
    home = module.split(".") if package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = home[: len(home) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            for alias in node.names:
                deeper = f"{base}.{alias.name}"
                yield deeper if base.split(".")[0] in ("samlabel", "sam", "converters") and is_module(deeper) else base


def edges(package: str) -> list[tuple[str, str]]:
    found = []
    for path in sorted((ROOT / package).rglob("*.py")):
        module = module_name(path)
        source = path.read_text(encoding="utf-8")
        found += [(module, target) for target in imported_modules(source, module, package=path.stem == "__init__")]
    return found


def within(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def step(module: str) -> int:
    part = module.split(".")[1]
    assert part in STEPS, f"{module}: say in STEPS of this test which step it stands on"
    return STEPS[part]


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("from .types import Mask", "samlabel.types"),
        ("from . import types", "samlabel.types"),
        ("def f():\n    import torch.nn", "torch.nn"),
        ("from samlabel.errors import UsageError", "samlabel.errors"),
        ("from sam import load", "sam"),
    ],
    ids=["relative", "relative module", "inside a function", "absolute", "package"],
)
def test_the_reader_of_imports_sees_each_way_of_writing_one(source: str, target: str) -> None:
    assert list(imported_modules(source, "samlabel.bench", package=False)) == [target]


def test_no_module_of_samlabel_imports_from_a_step_above_it() -> None:
    upward = [
        f"{module} imports {target}"
        for module, target in edges("samlabel")
        if module != "samlabel" and target.startswith("samlabel.") and step(target) > step(module)
    ]
    assert upward == []


def in_circles(imports: Iterable[tuple[str, str]]) -> set[str]:
    """Modules that lie in a circle of imports or on a way from one to another."""
    left = set(imports)
    while True:
        inner = {(module, target) for module, target in left if module in {t for _, t in left}}
        inner = {(module, target) for module, target in inner if target in {m for m, _ in inner}}
        if inner == left:
            return {module for module, _ in left}
        left = inner


def our_imports() -> set[tuple[str, str]]:
    """All of the three packages; of the front door a module takes the version alone, as another test sees to."""
    found = (edge for package in ("samlabel", "sam", "converters") for edge in edges(package))
    return {(module, target) for module, target in found if target not in ("samlabel", module)}


@pytest.mark.parametrize(
    ("imports", "circle"),
    [
        ([("a", "b"), ("b", "c")], set()),
        ([("a", "b"), ("b", "a")], {"a", "b"}),
        ([("a", "b"), ("b", "c"), ("c", "b"), ("c", "d")], {"b", "c"}),
    ],
    ids=["one way", "two", "between others"],
)
def test_a_circle_of_imports_is_found(imports: list[tuple[str, str]], circle: set[str]) -> None:
    assert in_circles(imports) == circle


def test_no_modules_import_each_other_but_for_the_listed() -> None:
    assert in_circles(our_imports() - CIRCLES.keys()) == set()


@pytest.mark.parametrize("listed", CIRCLES, ids=" ".join)
def test_a_listed_import_closes_a_circle(listed: tuple[str, str]) -> None:
    assert listed in our_imports()
    assert set(listed) <= in_circles(our_imports() - CIRCLES.keys() | {listed})


def test_every_step_is_of_a_module() -> None:
    assert [name for name in STEPS if not is_module(f"samlabel.{name}")] == []


def test_nothing_inside_samlabel_imports_the_front_door_but_for_the_version() -> None:
    for path in sorted((ROOT / "samlabel").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "samlabel" and not node.level:
                names = {alias.name for alias in node.names if not is_module(f"samlabel.{alias.name}")}
                assert names <= {"__version__"}, f"{path.name} imports {names} from samlabel"


def test_converters_import_only_the_values_of_samlabel() -> None:
    outside = [
        f"{module} imports {target}"
        for module, target in edges("converters")
        if within(target, "sam")
        or (
            within(target, "samlabel")
            and target.split(".")[1:2] != []
            and target.split(".")[1] not in CONVERTERS_MAY_IMPORT
        )
    ]
    assert outside == []


def test_samlabel_reaches_converters_through_one_module() -> None:
    assert {module for module, target in edges("samlabel") if within(target, "converters")} == {"samlabel.formats"}


def test_sam_imports_nothing_of_ours() -> None:
    ours = [f"{m} imports {t}" for m, t in edges("sam") if within(t, "samlabel") or within(t, "converters")]
    assert ours == []


def test_only_the_sam_segmenter_and_training_import_sam() -> None:
    others = [
        f"{module} imports {target}"
        for module, target in edges("samlabel")
        if within(target, "sam") and not any(within(module, allowed) for allowed in MAY_IMPORT_SAM)
    ]
    assert others == []


def loaded_after(code: str) -> set[str]:
    """Top-level packages in sys.modules of a fresh interpreter that ran `code`."""
    report = "import json, sys; sys.stderr.write('\\n' + json.dumps(sorted({n.split('.')[0] for n in sys.modules})))"
    run = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert run.returncode == 0, run.stderr
    return set(json.loads(run.stderr.splitlines()[-1]))


@pytest.mark.parametrize(
    "code",
    [
        "import samlabel",
        "import converters",
        "import samlabel.types, samlabel.errors, samlabel.protocols, samlabel.geometry",
        "import samlabel.detectors; samlabel.detectors.names()",
        "import samlabel.review.view",
        *(
            f"import sys\nfrom samlabel.cli import main\nsys.argv = {['samlabel', *words, '--help']!r}\n"
            "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code"
            for words in ([], ["annotate"], ["convert"], ["view"], ["models"], ["formats"])
        ),
    ],
    ids=lambda code: code.splitlines()[-3][11:] if "argv" in code else code[:40],
)
def test_asking_loads_nothing_heavy(code: str) -> None:
    assert loaded_after(code) & set(HEAVY) == set()


def test_public_names_are_these() -> None:
    import samlabel

    assert set(samlabel.__all__) == {
        "Annotation",
        "Category",
        "ClassOptions",
        "Dataset",
        "Detecting",
        "Duplicates",
        "ImageRef",
        "MaskGenerator",
        "Objects",
        "Detector",
        "Event",
        "Grid",
        "Image",
        "ImageRecord",
        "JobOptions",
        "Mask",
        "ModelInfo",
        "ModelOptions",
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
    }
    for name in samlabel.__all__:
        assert getattr(samlabel, name) is not None


def test_the_command_and_the_package_give_the_version_of_the_distribution() -> None:
    import samlabel

    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{samlabel.__version__}"' in text
