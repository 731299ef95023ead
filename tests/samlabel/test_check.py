"""`samlabel check`: each fault has its code, and gates end with exit code 4."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samlabel.cli import main
from samlabel.datasets.check import CODES, Limits, check
from samlabel.errors import UnknownName
from samlabel.types import Mask


def mask(x0: int, y0: int, x1: int, y1: int) -> dict[str, Any]:
    pixels = np.zeros((40, 60), bool)
    pixels[y0:y1, x0:x1] = True
    return {"size": [40, 60], "counts": Mask.from_pixels(pixels).counts.decode()}


def thing(number: int, box: tuple[int, int, int, int], **changes: Any) -> dict[str, Any]:
    x0, y0, x1, y1 = box
    return {
        "id": number,
        "image_id": 1,
        "category_id": 1,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "segmentation": mask(*box),
        "iscrowd": 0,
    } | changes


def dataset(folder: Path, *things: dict[str, Any], **changes: Any) -> Path:
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 60, "height": 40}],
        "annotations": list(things),
        "categories": [{"id": 1, "name": "red"}],
    } | changes
    folder.mkdir(exist_ok=True)
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder / "annotations.json"


GOOD = thing(1, (2, 3, 20, 30))
TWO = [{"id": 1, "name": "red"}, {"id": 2, "name": "blue"}]
FAULTS: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "format": ([GOOD | {"category_id": "x"}], {}),
    "no-images": ([], {"images": []}),
    "image-missing": ([], {"images": [{"id": 1, "file_name": "gone.png", "width": 60, "height": 40}]}),
    "image-unreadable": ([], {"images": [{"id": 1, "file_name": "text.png", "width": 60, "height": 40}]}),
    "outside": ([], {"images": [{"id": 1, "file_name": "link.png", "width": 60, "height": 40}]}),
    "image-size": ([], {"images": [{"id": 1, "file_name": "a.png", "width": 61, "height": 40}]}),
    "box-outside": ([GOOD | {"bbox": [2, 3, 90, 20]}], {}),
    "box-empty": ([GOOD | {"bbox": [2, 3, 0, 20]}], {}),
    "box-mask": ([GOOD | {"bbox": [9, 3, 11, 27]}], {}),
    "mask-empty": ([GOOD | {"segmentation": mask(0, 0, 0, 0)}], {}),
    "mask-tiny": ([thing(1, (2, 3, 3, 4))], {}),
    "duplicate": ([GOOD, GOOD | {"id": 2}], {}),
    "duplicate-other": ([GOOD, GOOD | {"id": 2, "category_id": 2}], {"categories": TWO}),
    "category-unused": ([GOOD], {"categories": TWO}),
    "category-twice": ([GOOD], {"categories": [TWO[0], {"id": 2, "name": "red"}]}),
    "imbalance": (
        [thing(i, (i, 0, i + 9, 9)) for i in range(1, 50, 10)] + [thing(99, (2, 20, 9, 30), category_id=2)],
        {"categories": TWO},
    ),
    "no-objects": ([], {}),
}


@pytest.mark.parametrize("code", FAULTS)
def test_a_fault_is_found_under_its_code(tmp_path: Path, photos: Path, code: str) -> None:
    (photos / "text.png").write_text("no picture")
    (photos / "link.png").symlink_to((photos / "a.png").rename(tmp_path / "away.png"))
    shutil.copy(tmp_path / "away.png", photos / "a.png")
    things, changes = FAULTS[code]
    limits = Limits(fail_on="off", allow={code: 0}, max_imbalance=4)
    report = check(dataset(tmp_path / "set", *things, **changes), image_root=photos, limits=limits)
    assert code in report.counts and report.failed == [code] and report.exit_code == 4
    assert {one.severity for one in report.findings if one.code == code} == {CODES[code][0]}


def test_a_sound_dataset_passes_and_each_fault_is_listed_in_the_table(tmp_path: Path, photos: Path) -> None:
    report = check(dataset(tmp_path / "set", GOOD), image_root=photos)
    assert (report.exit_code, report.findings, report.images, report.objects) == (0, [], 1, 1)
    # Readers refuse the first two, the others have tests of their own.
    others = {"image-twice", "unknown-category", "not-compared", "refused", "skipped", "left-out"}
    assert set(CODES) - set(FAULTS) == others


def test_an_image_whose_objects_are_too_many_to_compare_is_noted(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("samlabel.datasets.near_duplicates.PAIRS_MAX", 0)
    report = check(dataset(tmp_path / "set", GOOD, thing(2, (3, 4, 13, 29))), image_root=photos)
    assert report.counts == {"not-compared": 1} and report.exit_code == 0


def test_gates_follow_severity_and_what_is_allowed(tmp_path: Path, photos: Path) -> None:
    file = dataset(tmp_path / "set", GOOD, GOOD | {"id": 2})

    def failed(**options: Any) -> list[str]:
        return check(file, image_root=photos, limits=Limits(**options)).failed

    assert failed() == []
    assert failed(fail_on="warning") == ["duplicate"]
    assert failed(fail_on="warning", allow={"duplicate": 1}) == []
    assert failed(severity={"duplicate": "error"}) == ["duplicate"]
    assert failed(severity={"duplicate": "off"}, fail_on="note") == []
    with pytest.raises(UnknownName, match="Did you mean duplicate"):
        failed(severity={"duplicat": "off"})


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main([str(word) for word in words])
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return call


def test_the_command_ends_with_4_in_each_of_its_outputs(run: Any, tmp_path: Path, photos: Path) -> None:
    file = dataset(tmp_path / "set", GOOD | {"bbox": [2, 3, 90, 20]})
    words = ("check", file, "--images", photos)
    code, out, _ = run(*words)
    assert code == 4 and "error: box-outside: a.png object 1: box" in out and out.endswith("failed: box-outside\n")
    code, out, _ = run(*words, "--json")
    assert code == 4 and json.loads(out)["counts"] == {"box-mask": 1, "box-outside": 1}
    code, out, _ = run(*words, "--output", "sarif")
    sarif = json.loads(out)
    rules = {one["id"] for one in sarif["runs"][0]["tool"]["driver"]["rules"]}
    results = sarif["runs"][0]["results"]
    assert code == 4 and sarif["version"] == "2.1.0" and {one["ruleId"] for one in results} <= rules
    assert {one["level"] for one in results} == {"error", "warning"}
    code, out, _ = run(*words, "--output", "github", "--fail-on", "off")
    assert code == 0 and out.startswith("::error file=") and ",title=box-outside::a.png object 1" in out


def test_a_name_cannot_start_a_workflow_command(run: Any, tmp_path: Path) -> None:
    name = "a\n::error::fake.png"
    file = dataset(tmp_path / "set", images=[{"id": 1, "file_name": name, "width": 60, "height": 40}])
    _, out, _ = run("check", file, "--images", tmp_path, "--output", "github")
    assert all("::error::fake" not in line or not line.startswith("::error::fake") for line in out.splitlines())
    assert "%0A::error::fake" in out


def test_the_output_of_annotate_passes(run: Any, photos: Path, tmp_path: Path, fakes: ModuleType) -> None:
    from samlabel.annotate import auto_annotate

    auto_annotate(
        photos,
        output_dir=tmp_path / "out",
        detector=fakes.Detector(),
        segmenter=fakes.Segmenter(),
        device="cpu",
        formats=("coco", "yolo"),
    )
    for path in ("out", "out/yolo"):
        code, out, err = run("check", tmp_path / path)
        assert code == 0, out + err


def test_every_broken_file_is_listed_and_lenient_makes_them_warnings(tmp_path: Path) -> None:
    file = dataset(tmp_path, GOOD, *(thing(2 + n, (1, 1, 9, 9), category_id=7 + n) for n in range(8)))
    found = check(file)
    assert (found.counts["format"], found.objects, found.exit_code) == (8, 1, 4)
    passed = check(file, lenient=True, limits=Limits(severity={"image-missing": "off"}))
    assert (passed.counts["skipped"], passed.counts["format"], passed.exit_code) == (8, 0, 0)


def test_what_a_reader_leaves_out_is_a_warning(tmp_path: Path) -> None:
    line = {"label": "a", "shape_type": "line", "points": [[1, 1], [5, 5]]}
    content = {"imagePath": "a.png", "imageHeight": 40, "imageWidth": 60, "shapes": [line, line]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    (found,) = [one for one in check(tmp_path).findings if one.code == "left-out"]
    assert (found.image, found.severity) == ("a.png", "warning") and found.message.startswith("2 shape-lost")


def test_a_yolo_file_of_boxes_and_polygons_is_one_that_its_reader_refuses(tmp_path: Path) -> None:
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    Image.new("RGB", (60, 40)).save(tmp_path / "images" / "a.png")
    (tmp_path / "labels" / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n0 0.1 0.1 0.3 0.1 0.3 0.3\n")
    (tmp_path / "data.yaml").write_text("train: images\nval: images\nnames: [x]\n")
    assert check(tmp_path).counts["refused"] == 1
