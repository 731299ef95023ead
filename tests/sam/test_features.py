"""The table of features: printed, pasted into the README of `sam`, and true."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sam
from sam.features import FEATURES, table

ROOT = Path(__file__).resolve().parents[2]


def test_the_readme_holds_the_table_that_is_printed():
    run = subprocess.run(
        [sys.executable, "-m", "sam", "features"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    readme = (ROOT / "sam" / "README.md").read_text(encoding="utf-8")
    pasted = readme.partition("<!-- features -->\n")[2].partition("\n<!-- end of features -->")[0]
    assert pasted == run.stdout.strip() == table()


@pytest.mark.parametrize("here", sorted({here for _, here, _ in FEATURES if here.startswith("sam.")}))
def test_what_the_table_names_exists(here):
    parts = here.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for name in parts[length:]:
            found = getattr(found, name)
        return
    pytest.fail(f"{here} cannot be imported")


@pytest.mark.parametrize("here", sorted({here for _, here, _ in FEATURES if here.startswith("samlabel ")}))
def test_the_commands_that_the_table_names_exist(here):
    from typer.main import get_command

    from samlabel.cli import app

    command = get_command(app)
    _, *words = here.split()
    while words and not words[0].startswith("-"):
        command = command.commands[words.pop(0)]
    flags = {flag for one in command.params for flag in getattr(one, "opts", ())}
    assert {word for word in words if re.match("--", word)} <= flags


def test_the_registry_of_segment_anything_builds_a_model():
    assert {"default", "vit_b", "vit_l", "vit_h", "vit_t", "nano"} <= set(sam.sam_model_registry)
    model = sam.sam_model_registry["nano"](checkpoint=None)
    assert model.variant.name == "nano"
    with pytest.raises(sam.WeightsError, match="sam_vit_h_4b8939.pth"):
        sam.sam_model_registry["default"]()
