from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("kind", ["file", "package"])
@pytest.mark.parametrize("name", ["sam", "converters"])
def test_a_file_that_shadows_our_packages_is_named(tmp_path: Path, name: str, kind: str) -> None:
    shadow = tmp_path / f"{name}.py" if kind == "file" else tmp_path / name / "__init__.py"
    shadow.parent.mkdir(exist_ok=True)
    shadow.write_text("")
    code = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]; import samlabel"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"ImportError: import {name} finds {shadow}, which shadows samlabel's own {ROOT / name}")


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    import samlabel

    with pytest.raises(AttributeError, match="no attribute 'anotate'"):
        samlabel.anotate  # noqa: B018
    assert "auto_annotate" in dir(samlabel)
