"""The job of `examples/ci` runs as cron would run it, and the workflow names commands that exist."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
CI = ROOT / "examples" / "ci"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with one photo, the settings, and the command `samlabel` of this checkout on the path."""
    subprocess.run([sys.executable, ROOT / "examples/draw_picture.py", tmp_path / "photos/shapes.png"], check=True)
    shutil.copy(CI / "samlabel.toml", tmp_path)
    command = tmp_path / "bin/samlabel"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m samlabel "$@"\n')
    command.chmod(0o755)
    return tmp_path


@pytest.mark.skipif(os.name == "nt", reason="a shell job")
def test_the_shell_job_labels_checks_and_says_what_failed(home: Path) -> None:
    path = os.pathsep.join([str(home / "bin"), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    run = ["sh", str(CI / "job.sh"), "samlabel.toml"]
    (home / "photos/broken.jpg").write_bytes(b"no picture")
    first = subprocess.run(run, cwd=home, env=environment, capture_output=True, text=True)
    assert first.returncode == 3, first.stderr[-3000:]
    assert 'pictures = ["photos"]  # samlabel.toml' in first.stdout and "passed" in first.stdout
    assert "\x1b" not in first.stdout + first.stderr, "no colour and no bar off a terminal"
    (home / "photos/broken.jpg").unlink()
    second = subprocess.run(run, cwd=home, env=environment, capture_output=True, text=True)
    assert second.returncode == 0, second.stderr[-3000:]
    assert "1 from an earlier run" in second.stdout
    log = [json.loads(line) for line in (home / "labels.log.jsonl").read_text().splitlines()]
    assert [one["event"] for one in log] == ["start", "failed", "image", "end", "start", "end"]
    assert log[3]["exit_code"] == 3 and log[5]["summary"]["resumed"] == 1
    environment["SAMLABEL_CONF"] = "0.9"
    refused = subprocess.run(run, cwd=home, env=environment, capture_output=True, text=True)
    assert refused.returncode == 2 and "detector.conf was 0.5, is 0.9" in refused.stderr


def test_the_workflow_runs_commands_and_flags_that_exist() -> None:
    import typer

    from samlabel.cli import app

    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    text = (CI / "github.yml").read_text(encoding="utf-8")
    steps = yaml.safe_load(text)["jobs"]["label"]["steps"]
    lines = [shlex.split(step["run"]) for step in steps if step.get("run", "").startswith("samlabel ")]
    assert {line[1] for line in lines} == {"annotate", "check"}
    for line in lines:
        flags = {flag for parameter in known[line[1]].params for flag in parameter.opts}
        assert {word for word in line if word.startswith("--")} <= flags, line
    assert re.search(r"cron:", text)
