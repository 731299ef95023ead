"""Damaged and made-up label files: one clear line or a dataset, never a traceback, a hang or a stray write.

A few inputs of every kind; `python -m tests.fuzz --inputs 20000` runs as many as that and prints the counts.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import converters
from converters.formats.labelstudio.brush import brush_decode, brush_encode
from samlabel.errors import FormatError
from samlabel.geometry import mask_from_rows, mask_rows
from samlabel.types import Mask
from tests.converters.cases import files_of
from tests.fuzz import judge as judging
from tests.fuzz.__main__ import explode, make_up, mutate
from tests.fuzz.child import in_child
from tests.fuzz.generated import DATASETS
from tests.fuzz.seeds import OTHERS

DAMAGED = [*(f"own {name}" for name in converters.names()), *OTHERS]


@pytest.mark.parametrize("title", DAMAGED)
def test_damaged_files_are_read_or_refused_in_one_line(title: str, tmp_path: Path) -> None:
    counts, faults = mutate(title, 25, 0, tmp_path)
    assert faults == []
    assert counts.total() == 25 and counts["refused"] > 3
    assert [f for f in files_of(tmp_path) if not f.startswith("sound/")] == []


@pytest.mark.parametrize("kind", DATASETS)
def test_made_up_files_are_read_or_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    counts, faults = make_up(kind, 25, 0, tmp_path)
    assert faults == []
    assert counts.total() == 25


def test_the_judge_sees_writes_outside_and_inputs_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError, match="os.mkdir"), judging.only_below(tmp_path / "in"):
        (tmp_path / "out").mkdir()
    monkeypatch.setattr(judging, "SECONDS", 0.05)
    with pytest.raises(judging.Hung), judging.in_time():
        time.sleep(5)


QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@QUICK
@given(st.integers(1, 12), st.integers(1, 12), st.data())
def test_brushes_come_back_for_any_pixels(height: int, width: int, data: st.DataObject) -> None:
    bits = data.draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
    mask = Mask.from_pixels(np.array(bits).reshape(height, width))
    rows = mask_rows(mask)
    assert brush_decode(bytes(brush_encode(rows)), mask.size).tolist() == rows.tolist()
    assert mask_from_rows(rows, mask.size, whole=mask.size) == mask


@QUICK
@given(st.binary(max_size=200), st.integers(1, 40), st.integers(1, 40))
def test_any_bytes_are_a_brush_of_that_size_or_a_value_error(data: bytes, height: int, width: int) -> None:
    header = (height * width * 4).to_bytes(4, "big")
    for candidate in (data, header + data):
        try:
            assert brush_decode(candidate, (height, width)).sum() == height * width
        except ValueError as error:
            assert str(error)


def test_a_brush_of_a_run_beyond_16_bits_comes_back() -> None:
    pixels = np.zeros((300, 300), bool)
    pixels[10:290] = True
    rows = mask_rows(Mask.from_pixels(pixels))
    assert brush_decode(bytes(brush_encode(rows)), pixels.shape).tolist() == rows.tolist()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no limits on memory there")
@pytest.mark.parametrize("kind", ["yaml", "json values", "coco rle"])
def test_bombs_are_read_or_refused_within_their_limits(kind: str, tmp_path: Path) -> None:
    counts, faults = explode(kind, 4, 0, tmp_path)
    assert faults == []
    assert counts.total() == 4 and counts["FAULTY"] == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no limits on memory there")
def test_a_child_that_takes_too_much_or_breaks_is_a_fault() -> None:
    def refuse() -> None:
        raise FormatError("a.json: nested too deep")

    assert in_child(refuse) == ("refused", "")
    assert in_child(lambda: bytearray(6 << 30))[0] == "FAULTY"
    assert "1" in in_child(lambda: len(bytes(range(1, 256)) * 5_000_000))[1]
    assert "ZeroDivisionError" in in_child(lambda: 1 // 0)[1]
