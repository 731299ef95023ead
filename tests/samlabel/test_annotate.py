from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from samlabel.annotate import auto_annotate, beside
from samlabel.cli._console import print_summary
from samlabel.errors import OutputExists, UnknownName, UsageError, WeightsError
from samlabel.options import ModelOptions, OutputOptions, Thresholds
from samlabel.runs.run import Event, Summary
from samlabel.segmenters import SEGMENTERS
from tests.brought import bringing

pytestmark = pytest.mark.usefixtures("plain_formats")


@pytest.fixture
def annotate(photos: Path, tmp_path: Path, fakes: ModuleType) -> Any:
    """`auto_annotate` of the drawings into `tmp_path/out`; `asked` holds every path that was detected."""

    def call(data: Any = photos, **options: Any) -> Summary:
        detector = options.pop("detector", None) or fakes.Detector()
        options = {"output_dir": tmp_path / "out", "segmenter": fakes.Segmenter(), "device": "cpu", **options}
        try:
            return auto_annotate(data, detector=detector, **options)
        finally:
            call.asked = [path for batch in detector.batches for path in batch]  # type: ignore[attr-defined]

    return call


def labels(out: Path) -> dict[str, bytes]:
    """Every label file below an output, without what may differ between runs (journal, timings)."""
    return {
        file.relative_to(out).as_posix(): file.read_bytes()
        for file in sorted(out.rglob("*"))
        if file.is_file() and ".samlabel" not in file.parts and file.name != "manifest.json"
    }


def test_a_summary_counts_images_objects_and_classes(annotate: Any, tmp_path: Path) -> None:
    summary = annotate(formats=("coco", "yolo"), thresholds=Thresholds(min_area=100))
    assert (summary.images, summary.annotated, summary.resumed, summary.failed, summary.objects) == (3, 3, 0, 0, 2)
    assert (dict(summary.categories), dict(summary.dropped)) == ({"red": 1, "blue": 1}, {"min_area": 1})
    out = tmp_path / "out"
    assert dict(summary.outputs) == {"coco": out / "coco" / "annotations.json", "yolo": out / "yolo"}
    assert sorted(labels(out)) == ["coco/annotations.json", "yolo/a.txt", "yolo/deep/b c.txt", "yolo/zzz.txt"]
    assert json.loads(json.dumps(summary.to_json()))["objects"] == 2
    assert summary.exit_code == 0


@pytest.mark.parametrize(
    ("scores", "told"),
    [((0.3, 0.4, 0.9), True), ((0.3, 0.9, 0.9), False), ((0.6, 0.7, 0.9), False)],
    ids=["two of three", "one of three", "none"],
)
def test_weak_labels_are_reported_with_what_to_do(
    scores: tuple[float, ...], told: bool, annotate: Any, fakes: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    left = list(scores)

    class Unsure(fakes.Detector):
        def detect(self, images: Any) -> Any:
            return [replace(found, scores=[left.pop(0) for _ in range(len(found))]) for found in super().detect(images)]

    print_summary(annotate(detector=Unsure()))
    line = "2 of 3 objects scored under 0.55; a larger detector may find more: `samlabel detectors`"
    assert (line in capsys.readouterr().out) == told


def test_what_a_format_cannot_hold_is_reported_also_when_it_was_written_before(annotate: Any) -> None:
    for _ in range(2):
        assert annotate(formats=("coco", "yolo")).to_json()["losses"] == {"coco": {}, "yolo": {"score-lost": 3}}


def test_a_finished_dataset_run_again_changes_nothing(annotate: Any, tmp_path: Path) -> None:
    annotate()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.suffix != ".jsonl"}
    summary = annotate()
    assert (annotate.asked, summary.annotated, summary.resumed) == ([], 0, 3)
    after = {path: path.stat().st_mtime_ns for path in before if path.is_file() and path.name != "settings.json"}
    assert after.items() <= before.items()


def test_a_new_a_changed_and_a_deleted_photo_cost_only_themselves(
    annotate: Any, photos: Path, tmp_path: Path, fakes: ModuleType
) -> None:
    annotate(formats=("yolo",))
    fakes.draw(photos / "new.png", (0, 0, 5, 5, fakes.RED))
    fakes.draw(photos / "zzz.png", (0, 0, 6, 6, fakes.RED))
    (photos / "a.png").unlink()
    os.utime(photos / "deep" / "b c.png", (1, 1))  # another time, the same bytes
    summary = annotate(formats=("yolo",))
    assert sorted(annotate.asked) == ["new.png", "zzz.png"]
    assert (summary.annotated, summary.resumed) == (2, 1)
    assert sorted(labels(tmp_path / "out")) == ["yolo/deep/b c.txt", "yolo/new.txt", "yolo/zzz.txt"]


def test_another_format_is_written_without_the_models(annotate: Any, tmp_path: Path) -> None:
    annotate(formats=("coco",))
    annotate(formats=("yolo",))
    assert annotate.asked == []
    assert {Path(name).parts[0] for name in labels(tmp_path / "out")} == {"coco", "yolo"}


def test_other_settings_stop_with_what_differs_and_overwrite_redoes(annotate: Any) -> None:
    annotate()
    with pytest.raises(OutputExists, match="detector.conf was the default, is 0.5"):
        annotate(conf=0.5)
    summary = annotate(conf=0.5, output=OutputOptions(overwrite=True))
    assert (summary.annotated, summary.resumed) == (3, 0)


def test_labels_of_someone_else_are_never_touched(annotate: Any, tmp_path: Path) -> None:
    theirs = tmp_path / "out" / "coco" / "annotations.json"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("by hand")
    with pytest.raises(OutputExists, match="did not write"):
        annotate()
    with pytest.raises(OutputExists, match="did not write"):
        annotate(output=OutputOptions(overwrite=True))
    assert theirs.read_text() == "by hand"


def test_an_edited_label_stops_the_next_run_and_overwrite_keeps_a_copy(
    annotate: Any, photos: Path, tmp_path: Path, fakes: ModuleType
) -> None:
    annotate(formats=("yolo",))
    edited = tmp_path / "out" / "yolo" / "a.txt"
    edited.write_text("corrected by a person")
    (tmp_path / "out" / "yolo" / "train.cache").write_text("somebody's cache")
    assert annotate(formats=("yolo",)).annotated == 0  # nothing to do: nothing in the way
    fakes.draw(photos / "new.png")
    with pytest.raises(OutputExists, match="a.txt changed since samlabel wrote it"):
        annotate(formats=("yolo",))
    assert annotate.asked == []
    assert edited.read_text() == "corrected by a person"
    summary = annotate(formats=("yolo",), output=OutputOptions(overwrite=True))
    assert [Path(path).read_text() for path in summary.kept] == ["corrected by a person"]
    assert edited.read_text() != "corrected by a person"
    assert (tmp_path / "out" / "yolo" / "train.cache").read_text() == "somebody's cache"


def test_bad_images_are_listed_retried_and_leave_the_rest_labelled(
    annotate: Any, photos: Path, tmp_path: Path, fakes: ModuleType
) -> None:
    (photos / "broken.jpg").write_bytes(b"no picture")
    summary = annotate()
    failed = [json.loads(line) for line in (tmp_path / "out" / "failed.jsonl").read_text().splitlines()]
    assert [(one["path"], one["stage"]) for one in failed] == [("broken.jpg", "decode")]
    assert (summary.exit_code, summary.annotated, summary.failed) == (3, 3, 1)
    fakes.draw(photos / "broken.jpg", size=(4, 4))
    assert (annotate().exit_code, annotate.asked) == (0, ["broken.jpg"])
    assert not (tmp_path / "out" / "failed.jsonl").exists()


def test_when_all_images_fail_nothing_is_written_and_the_exit_code_is_1(annotate: Any, tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.jpg").write_bytes(b"")
    summary = annotate(tmp_path / "bad")
    assert (summary.exit_code, dict(summary.outputs)) == (1, {})
    assert list(labels(tmp_path / "out")) == ["failed.jsonl"]


def test_a_run_that_is_cut_off_ends_with_the_same_bytes(annotate: Any, tmp_path: Path, fakes: ModuleType) -> None:
    def stop(event: Event) -> None:
        if event.done == 2:
            raise KeyboardInterrupt

    annotate(formats=("coco", "yolo"))
    whole = labels(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        annotate(formats=("coco", "yolo"), progress=stop)
    assert labels(tmp_path / "out") == {}
    summary = annotate(formats=("coco", "yolo"))
    assert (summary.annotated, summary.resumed) == (1, 2)
    assert labels(tmp_path / "out") == whole


def test_an_output_inside_the_photos_is_not_read_back(annotate: Any, photos: Path, fakes: ModuleType) -> None:
    annotate(output_dir=photos / "labels", formats=("coco",))
    fakes.draw(photos / "labels" / "coco" / "copy.png")
    assert annotate(output_dir=photos / "labels", formats=("coco",)).images == 3
    annotate(output_dir=photos, formats=("coco",), output=OutputOptions(overwrite=True))
    fakes.draw(photos / "coco" / "copy.png")
    assert annotate(photos / "deep", output_dir=photos / "deep", formats=("coco",)).images == 1


def test_progress_sees_every_image(annotate: Any) -> None:
    events: list[Event] = []
    annotate(progress=events.append)
    assert [(one.path, one.done, one.total, one.objects) for one in events] == [
        ("a.png", 1, 3, 2),
        ("deep/b c.png", 2, 3, 1),
        ("zzz.png", 3, 3, 0),
    ]


def test_the_manifest_says_what_made_the_labels(annotate: Any, tmp_path: Path) -> None:
    annotate()
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["settings"]["detector"]["name"] == "colours"
    assert manifest["settings"]["images"] == "../photos"
    assert (manifest["counts"]["objects"], manifest["formats"]) == (3, ["coco"])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"formats": ("cocoo",)}, UnknownName, "format 'cocoo'"),
        ({"formats": ()}, UsageError, "no format"),
        ({"device": "cuda:99"}, UsageError, "device 'cuda:99'"),
        ({"device": "toaster"}, UsageError, "device 'toaster'"),
        ({"conf": 2}, UsageError, "conf is 2"),
        ({"segmenter": None, "sam_model": "nanoo"}, UnknownName, "SAM variant 'nanoo'"),
        ({"segmenter": None, "models": ModelOptions(sam_checkpoint="no.pth")}, Exception, "no checkpoint at no.pth"),
    ],
    ids=["format", "no format", "gpu", "device", "threshold", "variant", "checkpoint"],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_made(
    annotate: Any, tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        annotate(**options)
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_file_is_refused(annotate: Any, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        annotate()


def test_a_manifest_of_someone_else_is_never_replaced(annotate: Any, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "manifest.json").write_text("theirs")
    for overwrite in (False, True):
        with pytest.raises(OutputExists, match="did not write"):
            annotate(output=OutputOptions(overwrite=overwrite))
    assert (tmp_path / "out" / "manifest.json").read_text() == "theirs"


def test_another_segmenter_is_chosen_by_its_name_before_the_colon(
    photos: Path, tmp_path: Path, fakes: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = f"from {fakes.__name__} import Segmenter\nASKED = []\n"
    source += "def load(what, **options):\n    ASKED.append(what)\n    return Segmenter()\n"
    bringing(tmp_path / "site", monkeypatch)("samlabel.segmenters", "other", source)
    options = {"detector": fakes.Detector(), "output_dir": tmp_path / "o", "device": "cpu"}
    summary = auto_annotate(photos, sam_model="other:big", **options)
    assert (SEGMENTERS.get("other").ASKED, summary.objects) == (["big"], 3)


def test_positional_arguments_are_those_of_ultralytics() -> None:
    import inspect

    names = list(inspect.signature(auto_annotate).parameters)[:10]
    assert names == [
        "data",
        "det_model",
        "sam_model",
        "device",
        "conf",
        "iou",
        "imgsz",
        "max_det",
        "classes",
        "output_dir",
    ]


def test_labels_go_beside_the_data_when_nobody_says_where(tmp_path: Path) -> None:
    assert beside(tmp_path / "photos") == tmp_path / "photos_auto_annotate_labels"
    with pytest.raises(UsageError, match="output_dir"):
        beside(["a.png", "b.png"])


@pytest.mark.parametrize(
    ("name", "variant"),
    [("sam_b.pt", "vit_b"), ("sam_l.pt", "vit_l"), ("sam_h.pt", "vit_h"), ("mobile_sam.pt", "tiny")],
)
def test_names_of_ultralytics_mean_our_variants(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, variant: str
) -> None:
    monkeypatch.setenv("SAMLABEL_CACHE", str(tmp_path / "empty"))
    with pytest.raises(WeightsError, match=f"^{variant} is not in .*samlabel models pull {variant}"):
        auto_annotate(photos, sam_model=name, output_dir=tmp_path / "out")


def test_what_was_passed_by_is_named_at_the_end(
    photos: Path, tmp_path: Path, fakes: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(out: Path) -> Summary:
        return auto_annotate(
            photos, output_dir=out, detector=fakes.Detector(), segmenter=fakes.Segmenter(), device="cpu"
        )

    (photos / "one.heic").write_bytes(b"x")
    (photos / "notes.txt").write_text("x")
    run(photos / "labels")
    summary = run(tmp_path / "out")
    assert (summary.images, dict(summary.unread), summary.left_out) == (3, {".heic": 1, ".txt": 1}, ("labels",))
    print_summary(summary)
    said = capsys.readouterr().out
    assert "2 other files not read: 1 .heic, 1 .txt" in said and "labels of earlier runs not read: labels" in said
