from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from samlabel.pipeline.context import Labeled
from samlabel.runs.journal import Journal, record_from_json, record_to_json
from samlabel.types import Annotation, ImageRecord, Mask

MASK = Mask.from_pixels(np.eye(5, 8, dtype=bool))
FULL = Annotation(
    7,
    (0.1, 0.2, 5.0, 5.0),
    MASK,
    1 / 3,
    float(np.float32(0.7)),
    0.0,
    True,
    "a+b",
    (0.0, 0.0, 1.5, 2.0),
    ((1.5, 2.5),),
    (0.0, 0.0, 8.0, 5.0),
    0,
    {"note": "ü\t\n"},
)


def labelled(path: str, *annotations: Annotation) -> Labeled:
    return Labeled(ImageRecord(path, (5, 8), annotations), "ab" * 32, (10, 20), {"empty_mask": 1})


def write(path: Path, *names: str, settings: str = "s") -> None:
    with Journal(path, settings) as journal:
        for name in names:
            journal.append(labelled(name, FULL))


@pytest.mark.parametrize(
    "record",
    [
        ImageRecord("a b/ü.png", (5, 8), (FULL, Annotation(1, (0, 0, 0, 0)))),
        ImageRecord("empty.png", (1, 1)),
        ImageRecord("ids.png", (5, 8), (FULL,), id=0, extra={"licence": [1, None]}),
    ],
    ids=["every field", "negative", "ids"],
)
def test_a_record_survives_the_journal_exactly(tmp_path: Path, record: ImageRecord) -> None:
    with Journal(tmp_path / "j", "s") as journal:
        journal.append(Labeled(record, "00", (1, 2)))
        assert journal.record(record.path) == record
    with Journal(tmp_path / "j", "s") as journal:
        assert list(journal.records([record.path])) == [record]


def test_numpy_scores_are_stored_as_the_numbers_they_are() -> None:
    annotation = Annotation(np.int64(3), (0, 0, 1, 1), MASK, np.float32(0.1))  # type: ignore[arg-type]
    back = record_from_json(record_to_json(ImageRecord("a", (5, 8), (annotation,)))).annotations[0]
    assert (back.category_id, back.score) == (3, float(np.float32(0.1)))


@pytest.mark.parametrize("lost", range(1, 60, 7))
def test_a_torn_last_line_is_cut_off_and_the_rest_stays(tmp_path: Path, lost: int) -> None:
    path = tmp_path / "j"
    write(path, "a", "b")
    whole = path.read_bytes()
    path.write_bytes(whole[:-lost])
    with Journal(path, "s") as journal:
        assert list(journal.entries) == ["a"]
        journal.append(labelled("b", FULL))
    assert path.read_bytes() == whole


def test_a_damaged_line_in_the_middle_costs_only_its_image(tmp_path: Path) -> None:
    path = tmp_path / "j"
    write(path, "a", "b", "c")
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b"empty_mask", b"empty_mosk")
    path.write_bytes(b"".join(lines))
    with Journal(path, "s") as journal:
        assert (list(journal.entries), journal.discarded) == (["a", "c"], 1)


def test_the_last_line_of_an_image_counts(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", "s") as journal:
        journal.append(labelled("a", FULL))
        journal.append(labelled("a"))
    with Journal(tmp_path / "j", "s") as journal:
        assert journal.record("a").annotations == ()


def test_lines_of_other_settings_do_not_count(tmp_path: Path) -> None:
    write(tmp_path / "j", "a", settings="before")
    with Journal(tmp_path / "j", "now") as journal:
        assert journal.entries == {}


def test_totals_count_and_identify_what_they_count(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", "s") as journal:
        journal.append(labelled("a", FULL, FULL))
        journal.append(labelled("b"))
        both, one = journal.totals(["a", "b"]), journal.totals(["a"])
    assert (both.images, both.objects, both.categories, both.dropped) == (2, 2, {7: 2}, {"empty_mask": 2})
    assert both.digest != one.digest


@pytest.mark.parametrize(
    ("scores", "weak"), [([0.3, 0.54, 0.55, 0.9], 2), ([None, 0.9], 0), ([], 0)], ids=["some", "no score", "nothing"]
)
def test_totals_count_objects_that_the_detector_was_not_sure_of(
    scores: list[float | None], weak: int, tmp_path: Path
) -> None:
    with Journal(tmp_path / "j", "s") as journal:
        journal.append(labelled("a", *(replace(FULL, score=score) for score in scores)))
        assert journal.totals(["a"]).weak == weak
    with Journal(tmp_path / "j", "s") as journal:
        assert journal.totals(["a"]).weak == weak, "the same when the run is taken up again"
