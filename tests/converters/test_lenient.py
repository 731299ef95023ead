"""Broken annotations left out, counted under codes, when the reader was asked to go on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

import converters
from samlabel.cli import main
from samlabel.errors import FormatError

GOOD = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 4, 4]}
BROKEN = {
    "bad-category": {**GOOD, "category_id": 7},
    "bad-mask": {**GOOD, "segmentation": [[1, 2, 3]]},
    "bad-box": {**GOOD, "bbox": [0, 0, -4, 4]},
    "no-image": {**GOOD, "image_id": 9},
    "bad-part": {**GOOD, "segmentation": [[1, 1, 9, 1, 9, 9], [1, 2, 3, 4]]},
    "bad-annotation": 7,
}


def broken_file(folder: Path, *codes: str, first: bool = False) -> Path:
    good = [{**GOOD, "id": 1}, {**GOOD, "id": 2, "segmentation": [[1, 1, 9, 1, 9, 9]]}]
    bad = [
        {"id": 10 + n, **BROKEN[code]} if isinstance(BROKEN[code], dict) else BROKEN[code]
        for n, code in enumerate(codes)
    ]
    image = {"id": 1, "file_name": "a.png", "width": 32, "height": 24}
    content = {"images": [image], "annotations": good + bad, "categories": [{"id": 1, "name": "x"}]}
    file = folder / "in.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


@pytest.mark.parametrize("code", BROKEN)
def test_a_broken_annotation_is_left_out_and_counted(code: str, tmp_path: Path) -> None:
    file = broken_file(tmp_path, code)
    with pytest.raises(FormatError):
        converters.convert(file, tmp_path / "out.json", to="coco")
    receipt = converters.convert(file, tmp_path / "out.json", to="coco", lenient=True)
    assert receipt.skipped == {code: 1}
    assert set(receipt.skipped) <= set(converters.SKIPPED)
    kept = [1, 2, 10] if code == "bad-part" else [1, 2]
    assert receipt.objects_in == receipt.objects_out == len(kept)
    assert str(file) in receipt.skipped_examples[code][0]
    back = [a.id for r in converters.read(tmp_path / "out.json").records for a in r.annotations]
    assert back == kept


def test_each_of_many_faults_is_counted_once_however_often_the_file_is_read(tmp_path: Path) -> None:
    file = broken_file(tmp_path, *[code for code in BROKEN for _ in range(8)])
    lenient = converters.Lenient()
    dataset = converters.read(file, lenient=lenient)
    for _ in range(3):
        assert [len(record.annotations) for record in dataset.records] == [2 + 8]
    assert lenient.counts == dict.fromkeys(sorted(BROKEN), 8)
    assert all(len(messages) <= 5 for messages in lenient.examples.values())


def test_a_broken_image_takes_its_objects_along(tmp_path: Path) -> None:
    file = broken_file(tmp_path)
    content = json.loads(file.read_text(encoding="utf-8"))
    content["images"].append({"id": 2, "file_name": "../b.png", "width": 32, "height": 24})
    content["annotations"].append({**GOOD, "id": 3, "image_id": 2})
    file.write_text(json.dumps(content), encoding="utf-8")
    lenient = converters.Lenient()
    assert [r.path for r in converters.read(file, lenient=lenient).records] == ["a.png"]
    assert lenient.counts == {"bad-image": 1, "no-image": 1}


def test_broken_json_is_an_error_all_the_same(tmp_path: Path) -> None:
    file = broken_file(tmp_path)
    file.write_text(file.read_text(encoding="utf-8")[:-20], encoding="utf-8")
    with pytest.raises(FormatError, match="broken JSON"):
        converters.read(file, lenient=converters.Lenient())


def test_broken_rows_of_yolo_are_left_out_and_the_command_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("images", "labels"):
        (tmp_path / "in" / folder).mkdir(parents=True)
    Image.new("RGB", (32, 24)).save(tmp_path / "in" / "images" / "a.png")
    (tmp_path / "in" / "images" / "b.png").write_bytes(b"none")
    (tmp_path / "in" / "labels" / "a.txt").write_text("0 0.5 0.5 0.5 0.5\n9 0.5 0.5 0.1 0.1\n0 nan 1 1 1\n")
    (tmp_path / "in" / "data.yaml").write_text("train: images\nval: images\nnames: [x]\n")
    words = ["convert", str(tmp_path / "in"), str(tmp_path / "out.json"), "--to", "coco"]
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 1
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main([*words, "--lenient"])
    out = capsys.readouterr().out
    assert not end.value.code
    assert "skipped 2 bad-row" in out and "a.txt:2: class 9" in out and "skipped 1 bad-image" in out
    assert len(json.loads((tmp_path / "out.json").read_text())["annotations"]) == 1


@pytest.mark.parametrize(
    "words",
    [
        ["stats", "IN"],
        ["filter", "IN", "OUT.json"],
        ["merge", "IN", "IN", "-o", "OUT.json"],
        ["split", "IN", "OUT", "--part", "a=0.5", "--part", "b=0.5"],
    ],
    ids=lambda words: words[0],
)
@pytest.mark.parametrize("as_json", [False, True], ids=["lines", "json"])
def test_every_command_that_reads_a_dataset_ends_at_what_is_broken_or_counts_it(
    words: list[str], as_json: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = broken_file(tmp_path, "bad-mask", "bad-category", "bad-category")
    places = {"IN": str(file), "OUT": str(tmp_path / "out"), "OUT.json": str(tmp_path / "out.json")}
    words = [places.get(word, word) for word in words] + (["--json"] if as_json else [])
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 1 and "annotation 10" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [file]
    with pytest.raises(SystemExit) as end:
        main([*words, "--lenient"])
    out, err = capsys.readouterr()
    assert not end.value.code, err
    times = 2 if words[0] == "merge" else 1  # it reads the file twice, as two datasets
    if as_json:
        found = json.loads(out)
        assert found["skipped"] == {"bad-category": 2 * times, "bad-mask": times}
        assert str(file) in found["skipped_examples"]["bad-mask"][0]
    else:
        assert f"skipped {times} bad-mask: " in out and f"skipped {2 * times} bad-category: " in out
