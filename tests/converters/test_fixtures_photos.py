"""Every folder and file of other tools: read with as many objects as plain counting finds, or refused in one line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import converters
from samlabel.errors import SamlabelError

pytestmark = pytest.mark.photos

REGIONS = ("polygon", "rectangle", "circle", "mask")


def texts(path: Path, suffix: str) -> list[str]:
    files = [path] if path.is_file() else sorted(path.rglob(f"*{suffix}"))
    return [file.read_text(encoding="utf-8-sig") for file in files]


def counted(path: Path, name: str) -> int:
    """Objects that the files at `path` hold, by their text alone."""
    if name == "coco":
        return sum(len(json.loads(text)["annotations"]) for text in texts(path, ".json"))
    if name == "sa1b":
        return sum(len(json.loads(text)["annotations"]) for text in texts(path, ".json"))
    if name == "voc":
        return sum(text.count("<object>") for text in texts(path, ".xml"))
    if name == "cvat":
        return sum(len(re.findall(r"<(?:box|polygon|mask|ellipse) ", text)) for text in texts(path, ".xml"))
    if name == "labelme":
        if olds := [text for text in texts(path, ".xml") if text.lstrip().startswith("<")]:
            return sum(text.count("<object>") - text.count("<deleted>1") for text in olds)
        objects = set()  # shapes of one label and one group are one
        for place, text in enumerate(texts(path, ".json")):
            for number, shape in enumerate(json.loads(text)["shapes"]):
                if shape["shape_type"] in REGIONS:
                    group = shape["group_id"]
                    objects.add((place, number) if group is None else (place, shape["label"], f"group {group}"))
        return len(objects)
    assert name == "yolo"
    base = path if path.is_dir() else path.parent
    lines = [line for text in texts(base, ".txt") for line in text.splitlines()]
    return sum(bool(re.match(r"\d+( [\d.]+){4,}\s*$", line)) for line in lines)


def test_every_fixture_is_read_whole_or_refused_in_one_line(photos_data: Path, tmp_path: Path) -> None:
    root = photos_data / "fixtures"
    places = [p for p in sorted(root.rglob("*")) if p.is_dir() or p.suffix in (".json", ".xml", ".yaml")]
    read = refused = 0
    for place in places:
        label = place.relative_to(root).as_posix()
        try:
            receipt = converters.convert(place, tmp_path / "never", to="coco", dry_run=True, measure="none")
        except SamlabelError as error:
            assert "\n" not in str(error), label
            refused += 1
            continue
        assert receipt.objects_in == counted(place, receipt.source_format), label
        assert receipt.objects_in or "image_info" in label, label
        read += 1
    assert not (tmp_path / "never").exists()
    print(f"{read} places read, {refused} refused")
    assert read >= 59


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("coco_dataset/coco_captions/annotations/captions_val.json", "a caption"),
        ("coco_dataset/coco_panoptic/annotations/panoptic_val.json", "panoptic segments"),
        ("coco_dataset/coco_labels/annotations/labels_val.json", "neither segmentation nor bbox"),
        ("coco_dataset/coco_instances", "several COCO files"),
        ("coco_dataset/coco_roboflow", "below are train"),
        ("roboflow_dataset/yolo_obb", "oriented boxes of DOTA"),
        ("roboflow_dataset/createml", "no format recognized"),
        ("labelme_dataset/Annotations/subset1", "name the folder that holds Annotations"),
        ("voc_dataset/voc_dataset2", "no size, and no image"),
    ],
)
def test_what_is_not_read_says_why(place: str, words: str, photos_data: Path, tmp_path: Path) -> None:
    with pytest.raises(SamlabelError, match=words):
        converters.convert(photos_data / "fixtures" / place, tmp_path / "never", to="coco", dry_run=True)
