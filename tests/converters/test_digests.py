"""Conversions give the label files that they always gave, as `digests.json` has them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.converters import digests

KEPT = json.loads(digests.FILE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", KEPT["cases"])
def test_every_drawn_case_gives_the_same_label_files(name: str, tmp_path: Path) -> None:
    assert dict(digests.of_cases(name, tmp_path)) == KEPT["cases"][name]


@pytest.mark.photos
def test_every_fixture_of_other_tools_gives_the_same_label_files(photos_data: Path, tmp_path: Path) -> None:
    assert dict(digests.of_fixtures(photos_data / "fixtures", tmp_path)) == KEPT["fixtures"]
