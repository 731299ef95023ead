"""What the README shows is run, in order, in one folder with a picture in it.

A block of bash or Python is followed by `<!-- runnable -->`, or by `<!-- not run: why -->`; there is no third kind.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```\n(?:<!-- (runnable|not run: [^>]+) -->)?", re.MULTILINE | re.DOTALL)
BLOCKS = [(language, text, mark) for language, text, mark in BLOCK.findall(README)]
RUNNABLE = [(language, text) for language, text, mark in BLOCKS if mark == "runnable"]


def test_every_block_says_whether_it_is_run() -> None:
    assert len(BLOCKS) == len(re.findall(r"^```(?:bash|python)$", README, re.MULTILINE)) > 5
    assert [text for _, text, mark in BLOCKS if not mark] == []


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `photos/shapes.png`, and the command `samlabel` of this checkout beside it."""
    home = tmp_path_factory.mktemp("readme")
    subprocess.run([sys.executable, ROOT / "examples/draw_picture.py", home / "photos/shapes.png"], check=True)
    command = home / "bin/samlabel"
    command.parent.mkdir()
    start = "from samlabel.cli import main; main()"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c "{start}" "$@"\n')
    command.chmod(0o755)
    return home


@pytest.mark.skipif(os.name == "nt", reason="the blocks are for bash")
@pytest.mark.parametrize(
    ("language", "text"), RUNNABLE, ids=[text.strip().splitlines()[-1][:50] for _, text in RUNNABLE]
)
def test_a_block_of_the_readme_works(language: str, text: str, folder: Path) -> None:
    path = os.pathsep.join([str(folder / "bin"), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    words = ["bash", "-euo", "pipefail", "-c", text] if language == "bash" else [sys.executable, "-c", text]
    run = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]


def test_links_lead_to_files_that_are_here() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links and [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


def test_make_has_the_targets_that_are_promised() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
