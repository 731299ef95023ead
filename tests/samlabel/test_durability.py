"""A bounded share of `python -m tests.durability`; the whole takes minutes and prints its counts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# What each check must have done at least; fewer would mean that it proves nothing.
WANTED = {
    "kills": ("kills at random moments", 25),
    "kill": ("kills at a call", 10),
    "torn": ("kills inside a write", 5),
    "full": ("full disks", 5),
    "denied": ("lost permissions", 5),
    "limit": ("file size limits", 3),
    "readonly": ("folders made read-only", 4),
    "signals": ("stops by SIGTERM (exit 143)", 3),
    "lock": ("second runs refused", 4),
    "commands": ("kills of commands", 20),
    "vanished": ("inputs that vanished", 2),
    "inputs": ("inputs tried", 300),
}


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked and killed")
@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n == "commands" else []) for n in WANTED])
def test_a_run_that_was_ended_or_starved_loses_no_byte(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.durability", "--bounded", "--json", name],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    counts = json.loads(done.stdout)
    what, least = WANTED[name]
    assert counts[what] >= least
    assert counts["bytes lost"] == 0
