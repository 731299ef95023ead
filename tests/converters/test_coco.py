"""COCO: pycocotools reads and evaluates what we write; what we read is checked."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import converters
from samlabel.errors import FormatError
from samlabel.types import Dataset, Mask
from tests.converters.cases import CASES, HOLED, LETTERS, SIZE, TWO, drawn, one, thing

CATEGORIES = [{"id": 1, "name": "cat"}]


def coco_file(folder: Path, *annotations: dict[str, Any], images: list[dict[str, Any]] | None = None) -> Path:
    image = {"id": 1, "file_name": "a.png", "width": 32, "height": 24}
    content = {
        "images": [image] if images is None else images,
        "annotations": [{"id": n, "image_id": 1, "category_id": 1, **a} for n, a in enumerate(annotations, start=1)],
        "categories": CATEGORIES,
    }
    file = folder / "annotations.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def read_one(file: Path):
    (record,) = converters.read(file, "coco").records
    (annotation,) = record.annotations
    return annotation


@pytest.mark.parametrize("segmentation", ["rle", "polygons"])
@pytest.mark.parametrize("case", ["hole", "two parts", "nested parts", "crowd", "scores", "names", "one pixel"])
def test_pycocotools_loads_every_mask_as_it_was(case: str, segmentation: str, tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    dataset = drawn(case, tmp_path / "photos")
    converters.write(dataset, tmp_path / "out.json", "coco", segmentation=segmentation)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(tmp_path / "out.json"))
    loaded = [coco.annToMask(coco.anns[number]).astype(bool) for number in sorted(coco.anns)]
    wanted = [a.mask.to_pixels() for record in dataset.records for a in record.annotations]
    assert len(loaded) == len(wanted) and all(map(np.array_equal, loaded, wanted))
    areas = [coco.anns[number]["area"] for number in sorted(coco.anns)]
    assert areas == [int(pixels.sum()) for pixels in wanted]


def test_cocoeval_finds_our_file_equal_to_itself(tmp_path: Path) -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    records = one(thing(HOLED, 1, score=0.5), thing(TWO, 3, score=0.75))
    converters.write(Dataset(LETTERS, records), tmp_path / "out.json", "coco")
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(tmp_path / "out.json"))
        found = truth.loadRes(list(json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["annotations"]))
        scores = COCOeval(truth, found, "segm")
        scores.evaluate()
        scores.accumulate()
        scores.summarize()
    assert scores.stats[0] == pytest.approx(1.0)


def test_ids_of_the_file_come_back_out_and_objects_without_one_get_free_numbers(tmp_path: Path) -> None:
    categories, records = CASES["ids with gaps"]
    extra = one(thing(HOLED), thing(TWO, id=70), path="c.png")  # 70 is taken
    converters.write(Dataset(categories, records + extra), tmp_path / "out.json", "coco")
    content = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert [a["id"] for a in content["annotations"]] == [70, 4, 9, 1, 2]
    assert [i["id"] for i in content["images"]] == [12, 5, 1]


def test_fields_of_other_tools_pass_through(tmp_path: Path) -> None:
    file = coco_file(
        tmp_path,
        {"bbox": [1, 2, 3, 4], "keypoints": [1, 2, 2], "num_keypoints": 1, "attributes": {"x": "ä"}},
        images=[{"id": 1, "file_name": "a.png", "width": 32, "height": 24, "licence": 7}],
    )
    content = json.loads(file.read_text(encoding="utf-8"))
    content["info"] = {"year": 2017}
    content["categories"][0]["supercategory"] = "animal"
    file.write_text(json.dumps(content), encoding="utf-8")
    converters.convert(file, tmp_path / "out.json", to="coco")
    back = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert back["info"] == {"year": 2017}
    assert back["images"][0]["licence"] == 7
    assert back["categories"] == content["categories"]
    assert {k: back["annotations"][0][k] for k in ("bbox", "keypoints", "attributes")} == {
        k: content["annotations"][0][k] for k in ("bbox", "keypoints", "attributes")
    }


@pytest.mark.parametrize(
    "segmentation",
    [
        {"size": list(SIZE), "counts": TWO.counts.decode()},
        {"size": list(SIZE), "counts": __import__("samlabel.geometry", fromlist=["x"]).mask_runs(TWO).tolist()},
        TWO.to_polygons(),
    ],
    ids=["compressed", "uncompressed", "polygons"],
)
def test_every_form_of_a_mask_is_read(segmentation: Any, tmp_path: Path) -> None:
    assert read_one(coco_file(tmp_path, {"segmentation": segmentation})).mask == TWO


@pytest.mark.parametrize("segmentation", [None, []], ids=["null", "empty list"])
def test_an_object_without_segmentation_is_a_box(segmentation: Any, tmp_path: Path) -> None:
    annotation = read_one(coco_file(tmp_path, {"bbox": [1, 2, 3.5, 4], "segmentation": segmentation}))
    assert annotation.mask is None and annotation.box == (1, 2, 4.5, 6)


def test_a_byte_order_mark_and_windows_separators_are_read(tmp_path: Path) -> None:
    file = coco_file(tmp_path, images=[{"id": 1, "file_name": "sub\\a.png", "width": 32, "height": 24}])
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b", ", b",\r\n"))
    assert [record.path for record in converters.read(file, "coco").records] == ["sub/a.png"]


def test_ids_of_text_come_back_out(tmp_path: Path) -> None:
    file = coco_file(tmp_path, {"id": "x-1", "image_id": "p", "bbox": [0, 0, 1, 1]})
    content = json.loads(file.read_text(encoding="utf-8"))
    content["images"][0]["id"] = "p"
    file.write_text(json.dumps(content), encoding="utf-8")
    converters.convert(file, tmp_path / "out.json", to="coco")
    back = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    (image,), (annotation,) = back["images"], back["annotations"]
    assert (image["id"], annotation["id"], annotation["image_id"]) == ("p", "x-1", "p")


def rle(counts: Any, size: Any = SIZE) -> dict[str, Any]:
    return {"segmentation": {"size": list(size), "counts": counts}}


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        ({"bbox": [0, 0, 1, 1], "image_id": 9}, "annotation 1 is on image 9"),
        ({"bbox": [0, 0, 1, 1], "category_id": 2}, "annotation 1: category_id 2"),
        ({"bbox": [0, 0, 1, 1], "category_id": [1]}, "category_id"),
        ({"bbox": [0, 0, -1, 1]}, "annotation 1: bbox .* negative"),
        ({"bbox": [0, 0, 1]}, "annotation 1: bbox"),
        ({"bbox": [0, 0, 1, None]}, "annotation 1: bbox"),
        ({"bbox": "0 0 1 1"}, "annotation 1: bbox"),
        ({"bbox": [0, 0, 1e300, 1]}, "annotation 1: bbox"),
        ({}, "neither segmentation nor bbox"),
        ({"segmentation": [[1, 2, 3, 4]]}, "three points"),
        ({"segmentation": [[1, 2, 3, 4, 5]]}, "x y pairs"),
        ({"segmentation": [[1, 2, 3, 4, "a", 5]]}, "numbers"),
        ({"segmentation": "x"}, "neither polygons nor RLE"),
        ({"segmentation": {"size": [24, 32]}}, "neither polygons nor RLE"),
        (rle("X" * 50), "annotation 1: RLE"),
        (rle([5, 5]), "cover 10 pixels"),
        (rle([24 * 32, 0], (32, 24)), "size"),
        (rle("ooooooooo0", (10**6, 10**6)), "size"),
        (rle([10**10]), "cover"),
        (rle([-1, 24 * 32 + 1]), "negative"),
        (rle([0.5, 767.5]), "whole numbers"),
        ({"bbox": [0, 0, 1, 1], "score": "high"}, "score"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_broken_annotation_is_one_line_with_file_id_and_rule(annotation, words: str, tmp_path: Path) -> None:
    file = coco_file(tmp_path, annotation)
    with pytest.raises(FormatError, match=words) as error:
        list(converters.read(file, "coco").records)
    assert "\n" not in str(error.value) and str(error.value).startswith(str(file))


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ({"file_name": "../a.png"}, "leaves the dataset"),
        ({"file_name": "/etc/passwd"}, "leaves the dataset"),
        ({"file_name": "C:\\a.png"}, "leaves the dataset"),
        ({"file_name": "..\\..\\a.png"}, "leaves the dataset"),
        ({"file_name": "a" * 252 + ".png"}, "longer than that of any file"),
        ({"file_name": "\ud800.png"}, "half a character"),
        ({"file_name": ""}, "file_name"),
        ({"file_name": 5}, "file_name"),
        ({"height": -1}, "size"),
        ({"height": 0}, "size"),
        ({"height": 10**9, "width": 10**9}, "size"),
        ({"width": None}, "size"),
        ({"id": None}, "no id"),
        ({"id": 2, "also": 1}, "already image"),
        ({"id": 1, "file_name": "b.png", "also": 1}, "two images"),
    ],
    ids=str,
)
def test_a_broken_image_is_one_line(image: dict[str, Any], words: str, tmp_path: Path) -> None:
    good = {"id": 1, "file_name": "a.png", "width": 32, "height": 24}
    images = [good, {**good, **image}] if "also" in image or image.get("id") == 2 else [{**good, **image}]
    with pytest.raises(FormatError, match=words) as error:
        list(converters.read(coco_file(tmp_path, images=images), "coco").records)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        '{"images": [}',
        '{"images": {}}',
        "[]",
        "nul",
        '{"images": [], "annotations": 5}',
        '{"images": [], "annotations": [7]}',
        '{"images": [], "categories": [{"id": 1}]}',
        '{"images": [], "categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}',
        '{"images": [], "x": NaN}',
        '{"images": [], "x": ' + "[" * 100_000,
    ],
    ids=lambda text: text[:40],
)
def test_broken_json_is_a_format_error(text: str, tmp_path: Path) -> None:
    file = tmp_path / "annotations.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(FormatError) as error:
        list(converters.read(file, "coco").records)
    assert "\n" not in str(error.value) and str(file) in str(error.value)


def test_bytes_that_are_no_text_are_a_format_error(tmp_path: Path) -> None:
    (tmp_path / "annotations.json").write_bytes(b'{"images": "\xff\xfe"}')
    with pytest.raises(FormatError, match="UTF-8"):
        converters.read(tmp_path / "annotations.json", "coco")


@pytest.mark.parametrize("key", [5, "five"], ids=repr)
@pytest.mark.parametrize("lenient", [False, True], ids=["strict", "lenient"])
def test_repeated_annotation_ids_become_new_ones_with_a_note(key: Any, lenient: bool, tmp_path: Path) -> None:
    file = coco_file(tmp_path, *({"id": key, "bbox": [0, 0, side, 1]} for side in (1, 2, 3)))
    receipt = converters.convert(file, tmp_path / "out.json", to="coco", lenient=lenient)
    assert (receipt.objects_out, receipt.notes, receipt.skipped) == (3, {"annotation-ids-changed": 2}, {})
    written = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["annotations"]
    assert [one["bbox"][2] for one in written] == [1, 2, 3] and len({one["id"] for one in written}) == 3


def test_an_empty_polygon_says_what_no_polygon_says(tmp_path: Path) -> None:
    ring = [1, 1, 12, 2, 12, 20]
    file = coco_file(tmp_path, {"segmentation": [[]], "bbox": [1, 2, 3, 4]}, {"segmentation": [[], ring]})
    (record,) = converters.read(file).records
    assert (record.annotations[0].mask, record.annotations[0].box) == (None, (1, 2, 4, 6))
    assert record.annotations[1].mask is not None and record.annotations[1].mask.area > 0


def test_numbers_are_written_short_and_masks_as_text(tmp_path: Path) -> None:
    converters.write(Dataset(LETTERS, one(thing(HOLED))), tmp_path / "out.json", "coco")
    text = (tmp_path / "out.json").read_text(encoding="utf-8")
    assert '"bbox":[4,4,16,16]' in text and "Brücke" in text
    assert json.loads(text)["annotations"][0]["segmentation"] == {"size": [24, 32], "counts": HOLED.counts.decode()}


def test_a_stream_is_written_without_keeping_it(tmp_path: Path) -> None:
    import tracemalloc

    mask = Mask.from_pixels(np.eye(64, dtype=bool))

    def records(count: int):
        for number in range(count):
            yield from one(*(thing(mask) for _ in range(20)), path=f"{number}.png", size=(64, 64))

    peaks = []
    for count in (20, 200):
        tracemalloc.start()
        converters.write(Dataset(LETTERS, records(count)), tmp_path / f"{count}.json", "coco")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # 3,600 further objects of about 200 bytes of JSON would be 0.7 MB.
    assert peaks[1] - peaks[0] < 200_000


AREA = 702.1057499999998  # of a polygon, as official files have it: no whole number of pixels


@pytest.mark.parametrize(
    ("options", "kept"),
    [({}, True), ({"segmentation": "polygons"}, True), ({"segmentation": "polygons", "tolerance": 2.0}, False)],
    ids=["rle", "polygons", "polygons made smaller"],
)
@pytest.mark.parametrize("iscrowd", [0, 1])
def test_an_area_that_the_file_gave_is_kept_with_its_mask(
    options: dict[str, Any], kept: bool, iscrowd: int, tmp_path: Path
) -> None:
    ring = [1, 1, 12, 2, 30, 1, 30, 20, 1, 20]
    file = coco_file(tmp_path, {"segmentation": [ring], "bbox": [1, 1, 29, 19], "area": AREA, "iscrowd": iscrowd})
    converters.convert(file, tmp_path / "out.json", to="coco", allow_lossy=True, **options)
    (entry,) = json.loads((tmp_path / "out.json").read_text())["annotations"]
    assert entry["area"] == (AREA if kept else read_one(file).mask.area)


def test_an_area_of_a_box_alone_is_kept_too(tmp_path: Path) -> None:
    file = coco_file(tmp_path, {"bbox": [1, 1, 29, 19], "area": 300})
    converters.convert(file, tmp_path / "out.json", to="coco")
    assert json.loads((tmp_path / "out.json").read_text())["annotations"][0]["area"] == 300


@pytest.mark.parametrize("area", [None, "9", True, -1, 1e300, [4]], ids=repr)
def test_what_is_no_area_gives_way_to_that_of_the_mask(area: Any, tmp_path: Path) -> None:
    file = coco_file(tmp_path, {"segmentation": [[1, 1, 30, 1, 30, 20]], "bbox": [1, 1, 29, 19], "area": area})
    converters.convert(file, tmp_path / "out.json", to="coco")
    (entry,) = json.loads((tmp_path / "out.json").read_text())["annotations"]
    assert entry["area"] == read_one(file).mask.area and type(entry["area"]) is int
