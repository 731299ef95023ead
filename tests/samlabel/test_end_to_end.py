"""Pictures to label files of every real format, with a seeded SAM behind drawn detections."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import converters
from samlabel.annotate import auto_annotate
from samlabel.options import Grid, OutputOptions, Thresholds
from samlabel.runs.run import Summary
from samlabel.segmenters.sam import SamSegmenter

NAMES = converters.names()


@pytest.fixture(scope="module")
def segmenter() -> SamSegmenter:
    import sam

    return SamSegmenter(sam.load("nano", seed=0), weights="seed 0", grid=Grid())


@pytest.fixture
def annotate(photos: Path, fakes: ModuleType, segmenter: SamSegmenter) -> Any:
    def call(out: Path, **options: Any) -> Summary:
        return auto_annotate(
            photos,
            output_dir=out,
            detector=fakes.Detector(),
            segmenter=segmenter,
            device="cpu",
            **{"formats": NAMES, **options},
        )

    return call


def files(out: Path) -> dict[str, bytes]:
    return {
        one.relative_to(out).as_posix(): one.read_bytes()
        for name in NAMES
        for one in sorted((out / name).rglob("*"))
        if one.is_file()
    }


def test_one_run_writes_every_format_and_each_reads_back(annotate: Any, tmp_path: Path) -> None:
    summary = annotate(tmp_path / "out")
    assert (summary.images, summary.failed) == (3, 0) and summary.objects > 0
    for name in NAMES:
        found = converters.read(summary.outputs[name], name)
        records = {record.path: record for record in found.records}
        assert len(records) == 3, name
        assert sum(len(record.annotations) for record in records.values()) == summary.objects, name


@pytest.mark.parametrize("name", ["", *NAMES])
def test_an_output_is_viewed_with_its_own_pictures(
    annotate: Any, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from samlabel.cli import main

    summary = annotate(tmp_path / "out")
    with pytest.raises(SystemExit) as end:
        main(["view", str(tmp_path / "out" / name), "--out", str(tmp_path / "view"), "--json"])
    report = json.loads(capsys.readouterr().out)
    assert end.value.code == 0, report
    assert (report["images"], report["objects"], report["failures"]) == (3, summary.objects, [])
    assert len(list((tmp_path / "view" / "pictures").rglob("*.jpg"))) == 3


@pytest.mark.parametrize("source", ["", "coco", "coco/annotations.json"])
def test_an_output_is_converted_with_its_pictures(
    annotate: Any, photos: Path, tmp_path: Path, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from samlabel.cli import main

    annotate(tmp_path / "out", formats=("coco",))
    words = ["convert", str(tmp_path / "out" / source), str(tmp_path / "converted"), "--to", "yolo"]
    with pytest.raises(SystemExit) as refused:
        main(words)
    assert refused.value.code == 4
    assert "score-lost" in capsys.readouterr().err and not (tmp_path / "converted").exists()
    with pytest.raises(SystemExit) as done:
        main([*words, "--allow-lossy", "--json"])
    out, err = capsys.readouterr()
    assert done.value.code == 0, err
    receipt = json.loads(out)
    assert receipt["images_out"] == 3 and receipt["losses"]["score-lost"] == receipt["objects_in"] > 0
    assert len(list((tmp_path / "converted" / "images").rglob("*.png"))) == 3


def test_pycocotools_loads_what_was_written(annotate: Any, tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    path = annotate(tmp_path / "out", formats=("coco",)).outputs["coco"]
    loaded = COCO(str(path))
    assert path == tmp_path / "out" / "coco" / "annotations.json"
    assert [image["file_name"] for image in loaded.loadImgs(loaded.getImgIds())] == ["a.png", "deep/b c.png", "zzz.png"]
    for one in loaded.loadAnns(loaded.getAnnIds()):
        assert int(loaded.annToMask(one).sum()) == one["area"] > 0


def test_the_same_input_gives_the_same_bytes_also_after_a_cut(annotate: Any, tmp_path: Path) -> None:
    def stop(event: Any) -> None:
        raise KeyboardInterrupt

    annotate(tmp_path / "one")
    with pytest.raises(KeyboardInterrupt):
        annotate(tmp_path / "two", progress=stop)
    annotate(tmp_path / "two")
    one, two = files(tmp_path / "one"), files(tmp_path / "two")
    assert one.keys() == two.keys() and len(one) >= len(NAMES)
    assert [name for name in one if one[name] != two[name]] == []


def test_a_photo_turned_by_exif_is_labelled_upright(annotate: Any, photos: Path, tmp_path: Path) -> None:
    from PIL import Image as pillow

    exif = pillow.Exif()
    exif[0x0112] = 6
    pillow.new("RGB", (60, 40), (200, 0, 0)).save(photos / "turned.png", exif=exif)
    path = annotate(tmp_path / "out", formats=("coco",)).outputs["coco"]
    sizes = {image["file_name"]: (image["height"], image["width"]) for image in json.loads(path.read_text())["images"]}
    assert sizes["turned.png"] == (60, 40) and sizes["a.png"] == (40, 60)


@pytest.mark.parametrize("images", ["copy", "hardlink", "symlink", "none"])
def test_pictures_come_along_as_asked_and_links_still_point_somewhere(
    annotate: Any, photos: Path, tmp_path: Path, images: str
) -> None:
    annotate(tmp_path / "out", formats=("coco",), output=OutputOptions(place_images=images))
    placed = tmp_path / "out" / "coco" / "images" / "deep" / "b c.png"
    assert placed.exists() == (images != "none")
    if images != "none":
        assert placed.read_bytes() == (photos / "deep" / "b c.png").read_bytes()
        assert placed.is_symlink() == (images == "symlink")


def test_every_object_that_is_dropped_is_counted(annotate: Any, tmp_path: Path) -> None:
    thresholds = Thresholds(pred_iou_thresh=1.0)
    summary = annotate(tmp_path / "out", thresholds=thresholds)
    assert summary.objects + sum(summary.dropped.values()) == 3
    assert "pred_iou_thresh" in summary.dropped
