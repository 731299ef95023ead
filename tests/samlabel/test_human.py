"""Labels that people edited or brought survive every kind of run after that."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import converters
from samlabel.annotate import auto_annotate
from samlabel.errors import Conflicted, OutputExists
from samlabel.options import OutputOptions
from samlabel.runs.run import Summary
from samlabel.types import Annotation, Category, Dataset, ImageRecord, Mask

HAND = Mask.from_pixels(np.pad(np.ones((5, 7), bool), ((3, 32), (4, 49))))  # 40 x 60
REDO, UPDATE = OutputOptions(overwrite=True), OutputOptions(update=True)


@pytest.fixture
def annotate(photos: Path, tmp_path: Path, fakes: ModuleType) -> Any:
    def call(**options: Any) -> Summary:
        detector = fakes.Detector()
        options = {"output_dir": tmp_path / "out", "device": "cpu", "formats": ("coco", "yolo"), **options}
        try:
            return auto_annotate(photos, detector=detector, segmenter=fakes.Segmenter(), **options)
        finally:
            call.asked = [path for batch in detector.batches for path in batch]  # type: ignore[attr-defined]

    return call


def records(out: Path, name: str = "coco") -> dict[str, tuple[Annotation, ...]]:
    return {record.path: record.annotations for record in converters.read(out / name, name).records}


def edit_coco(out: Path) -> None:
    """A person moves the first object of a.png to where HAND is, and calls it a dog."""
    file = out / "coco" / "annotations.json"
    content = json.loads(file.read_text())
    content["categories"].append({"id": 99, "name": "dog"})
    image = next(one["id"] for one in content["images"] if one["file_name"] == "a.png")
    first = next(one for one in content["annotations"] if one["image_id"] == image)
    first |= {
        "segmentation": {"size": [40, 60], "counts": HAND.counts.decode()},
        "bbox": [4, 3, 7, 5],
        "category_id": 99,
    }
    file.write_text(json.dumps(content))


def edit_yolo(out: Path) -> None:
    """A person deletes the first row of a.png."""
    file = out / "yolo" / "labels" / "a.txt"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[1:]))


AGAIN = {
    "the same": {},
    "--update": {"output": UPDATE, "conf": 0.5},
    "--overwrite": {"output": REDO},
    "--overwrite, other settings": {"output": REDO, "conf": 0.5},
}


@pytest.mark.parametrize("options", AGAIN.values(), ids=AGAIN)
def test_an_edit_in_coco_survives_every_run_and_reaches_the_other_format(
    annotate: Any, tmp_path: Path, options: dict[str, Any]
) -> None:
    before = annotate()
    scores = [one.score for one in records(tmp_path / "out")["a.png"]]
    edit_coco(tmp_path / "out")
    for _ in range(2):
        summary = annotate(**options)
        assert "a.png" not in annotate.asked
        edited, other = records(tmp_path / "out")["a.png"]
        names = {one.id: one.name for one in converters.read(tmp_path / "out" / "coco").categories}
        assert (edited.source, edited.mask, names[edited.category_id]) == ("human", HAND, "dog")
        assert (other.source, other.score) == ("colours+boxes", scores[1])
        assert any(one.mask == HAND for one in records(tmp_path / "out", "yolo")["a.png"])
        assert (summary.human, summary.conflicts, summary.objects) == (1, (), before.objects)
        assert summary.categories["dog"] == 1


def test_a_row_deleted_in_yolo_stays_deleted_and_the_rest_keeps_its_scores(annotate: Any, tmp_path: Path) -> None:
    annotate()
    whole = records(tmp_path / "out")["a.png"]
    edit_yolo(tmp_path / "out")
    summary = annotate(output=REDO)
    assert records(tmp_path / "out")["a.png"] == (whole[1],) or [
        (one.mask, one.score, one.source) for one in records(tmp_path / "out")["a.png"]
    ] == [(whole[1].mask, whole[1].score, whole[1].source)]
    assert summary.human == 1
    assert [Path(path).name for path in summary.kept] == ["a.txt"], "the person's own file is kept as well"


def test_two_formats_edited_differently_stop_the_run_and_are_listed(annotate: Any, tmp_path: Path) -> None:
    annotate()
    edit_coco(tmp_path / "out")
    edit_yolo(tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.[jt]*") if ".samlabel" not in path.parts}
    with pytest.raises(Conflicted, match="a.png: .*both edited") as caught:
        annotate(output=REDO)
    assert caught.value.exit_code == 4
    listed = [json.loads(line) for line in (tmp_path / "out" / "conflicts.jsonl").read_text().splitlines()]
    assert [(one["path"], one["kind"]) for one in listed] == [("a.png", "two-edits")]
    assert before == {path: path.read_bytes() for path in before}


def test_an_edit_that_cannot_be_read_stops_and_is_never_replaced_without_a_copy(annotate: Any, tmp_path: Path) -> None:
    annotate()
    file = tmp_path / "out" / "coco" / "annotations.json"
    file.write_text("{ half an edit")
    with pytest.raises(OutputExists, match="changed since samlabel wrote it"):
        annotate(output=UPDATE, conf=0.5)
    assert file.read_text() == "{ half an edit"
    summary = annotate(output=REDO, conf=0.5)
    assert [Path(path).read_text() for path in summary.kept] == ["{ half an edit"]


@pytest.mark.parametrize("name", ["coco", "yolo"])
def test_labels_brought_in_any_format_are_a_person_s(annotate: Any, photos: Path, tmp_path: Path, name: str) -> None:
    record = ImageRecord("a.png", (40, 60), (Annotation(5, HAND.box, HAND),))
    converters.write(Dataset((Category(5, "red"),), [record], photos), tmp_path / "brought", format=name)
    summary = annotate(output=OutputOptions(accept=tmp_path / "brought"))
    assert "a.png" not in annotate.asked and summary.human == 1
    (one,) = records(tmp_path / "out")["a.png"]
    assert (one.source, one.mask, one.category_id) == ("human", HAND, 1), "red is category 1 of the detector"
    assert annotate(output=OutputOptions(accept=tmp_path / "brought")).annotated == 0
    edit_yolo(tmp_path / "out")
    with pytest.raises(Conflicted, match="brought with other objects"):
        annotate(output=OutputOptions(accept=tmp_path / "brought"))


def brought(tmp_path: Path, *names: str, size: tuple[int, int] = (40, 60)) -> OutputOptions:
    """Options that accept labels of images of these names, made by a model on images that are not there."""
    mask = HAND if size == HAND.size else Mask.from_pixels(np.ones(size, bool))
    scored = Annotation(5, mask.box, mask, score=0.5, predicted_iou=0.6, stability_score=0.7)
    labels = [ImageRecord(name, size, (scored,)) for name in names]
    converters.write(Dataset((Category(5, "red"),), labels), tmp_path / "brought", format="coco")
    return OutputOptions(accept=tmp_path / "brought")


@pytest.mark.parametrize(
    ("names", "taken", "left"),
    [
        (("a.png",), {"a.png"}, []),
        (("elsewhere/a.png",), {"a.png"}, []),
        (("a.jpg",), {"a.png"}, []),
        (("a.png", "none.png"), {"a.png"}, [("none.png", "unknown-image")]),
        (("a.png", "elsewhere/a.png"), {"a.png"}, [("elsewhere/a.png", "two-labels")]),
    ],
    ids=["path", "file name", "stem", "one without an image", "two for one image"],
)
def test_labels_find_their_image_by_path_then_name_then_stem(
    annotate: Any, tmp_path: Path, names: tuple[str, ...], taken: set[str], left: list[tuple[str, str]]
) -> None:
    summary = annotate(output=brought(tmp_path, *names))
    found = records(tmp_path / "out")
    human = {path for path, objects in found.items() if any(one.source == "human" for one in objects)}
    assert (human, [(one.path, one.kind) for one in summary.conflicts]) == (taken, left)
    assert {(one.score, one.predicted_iou, one.stability_score) for path in human for one in found[path]} == {
        (None, None, None)
    }


def test_a_name_without_its_suffix_is_not_enough_for_an_image_of_another_size(annotate: Any, tmp_path: Path) -> None:
    summary = annotate(output=brought(tmp_path, "a.jpg", "zzz.png", size=(40, 60)))
    assert summary.human == 2
    with pytest.raises(Conflicted, match=r"none of its 1 images is in .*, the first is a.jpg; expected the same"):
        annotate(output=brought(tmp_path / "other", "a.jpg", size=(30, 50)))


def test_labels_that_meet_no_image_are_refused_and_nothing_changes(annotate: Any, tmp_path: Path) -> None:
    with pytest.raises(Conflicted, match="none of its 2 images is in") as refused:
        annotate(output=brought(tmp_path, "x.png", "y.png"))
    assert refused.value.exit_code == 4 and annotate.asked == []


def test_a_picture_that_changed_under_a_person_s_labels_is_named(
    annotate: Any, photos: Path, tmp_path: Path, fakes: ModuleType
) -> None:
    annotate()
    edit_coco(tmp_path / "out")
    annotate()
    fakes.draw(photos / "a.png", (0, 0, 9, 9, fakes.RED))
    summary = annotate()
    assert [one.kind for one in summary.conflicts] == ["picture-changed"]
    assert records(tmp_path / "out")["a.png"][0].mask == HAND
    fakes.draw(photos / "a.png", size=(10, 10))
    summary = annotate()
    assert [(one.path, one.stage) for one in summary.failures] == [("a.png", "human")] and summary.exit_code == 3
    fakes.draw(photos / "a.png", (0, 0, 9, 9, fakes.RED))
    assert annotate().exit_code == 0 and records(tmp_path / "out")["a.png"][0].mask == HAND


def test_overwrite_leaves_every_file_that_samlabel_did_not_write(annotate: Any, tmp_path: Path) -> None:
    annotate()
    theirs = [tmp_path / "out" / name for name in ("notes.md", "coco/mine.json", "yolo/labels/extra.md", "own/x.txt")]
    for file in theirs:
        file.parent.mkdir(exist_ok=True)
        file.write_text("mine")
    annotate(output=REDO, conf=0.5)
    annotate(output=REDO, conf=0.6)
    assert [file.read_text() for file in theirs] == ["mine"] * 4
