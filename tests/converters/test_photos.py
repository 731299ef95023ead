"""Real masks of photos and files of other tools: what converters do to them, in numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import converters
from samlabel.geometry import count_parts_and_holes
from samlabel.types import Mask

pytestmark = pytest.mark.photos


def iou(one: np.ndarray, other: np.ndarray) -> float:
    union = (one | other).sum()
    return float((one & other).sum() / union) if union else 1.0


def as_ultralytics_fills_it(row: str, size: tuple[int, int], *, whole: str) -> np.ndarray:
    """The mask that ultralytics makes of a row at the image's own size, after its resampling to 1000 points or more."""
    from ultralytics.data.utils import polygon2mask
    from ultralytics.utils.ops import resample_segments

    points = np.array(row.split()[1:], dtype=np.float32).reshape(-1, 2)
    (points,) = resample_segments([points], max(1000, len(points) + 1))
    points = points * np.array(size[::-1], np.float32)
    if whole == "rounded":
        points = np.round(points)
    return polygon2mask(size, [points.reshape(-1)]).astype(bool)


def test_yolo_rows_of_real_masks_fill_nearly_their_own_pixels_in_ultralytics(photos_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("ultralytics")
    source = photos_data / "photos" / "val.json"
    converters.convert(source, tmp_path, to="yolo", allow_lossy=True, images="none")
    found = {"cut": [], "rounded": []}
    single = []
    for record in converters.read(source).records:
        label = (tmp_path / "labels" / record.path).with_suffix(".txt")
        rows = label.read_text(encoding="utf-8").splitlines()
        assert len(rows) == len(record.annotations)
        for row, annotation in zip(rows, record.annotations, strict=True):
            truth = annotation.mask.to_pixels()
            for whole, scores in found.items():
                scores.append(iou(truth, as_ultralytics_fills_it(row, record.size, whole=whole)))
            if count_parts_and_holes(annotation.mask)[0] == 1:
                single.append(found["cut"][-1])
    for whole, scores in found.items():
        print(
            f"coordinates {whole}: mean IoU {np.mean(scores):.5f} of {len(scores)}, lowest {min(scores):.3f}, "
            f"{np.mean(np.array(scores) == 1):.3%} exact; one part: mean {np.mean(single):.6f}, {min(single):.4f}"
        )
    assert min(np.mean(scores) for scores in found.values()) >= 0.998
    assert np.mean(single) >= 0.9999


@pytest.mark.parametrize("way", [["yolo"], ["sa1b"], ["sa1b", "yolo"]], ids="-".join)
def test_real_masks_come_back_bit_for_bit_by_way_of(way: list[str], photos_data: Path, tmp_path: Path) -> None:
    source = photos_data / "photos" / "val.json"
    at = source
    for step in way:
        converters.convert(at, tmp_path / step, to=step, allow_lossy=True, images="symlink")
        at = tmp_path / step
    receipt = converters.convert(at, tmp_path / "back.json", to="coco", allow_lossy=True)
    assert (receipt.objects_out, receipt.images_out) == (3198, 343)
    want = converters.read(source)
    got = converters.read(tmp_path / "back.json")

    def masks(dataset) -> list[tuple[str, list[tuple[str, Mask]]]]:
        names = {c.id: c.name for c in dataset.categories}
        return [(r.path, [(names[a.category_id], a.mask) for a in r.annotations]) for r in dataset.records]

    assert masks(got) == masks(want)


def test_polygons_of_real_masks_are_exact(photos_data: Path) -> None:
    for record in converters.read(photos_data / "photos" / "val.json").records:
        for annotation in record.annotations:
            assert Mask.from_polygons(annotation.mask.to_polygons(), record.size) == annotation.mask


@pytest.mark.parametrize(
    ("place", "name", "images", "objects"),
    [
        ("segment_anything_dataset", "sa1b", 2, 2),
        ("yolo_dataset/labels", "yolo", 2, 4),
        ("yolo_dataset/strict", "yolo", 1, 2),
        ("roboflow_dataset/yolo", "yolo", 3, None),
        ("coco_dataset/coco_roboflow/train", "coco", 1, 1),
        ("coco_dataset/coco_instances/annotations/instances_val.json", "coco", 1, 2),
        ("coco_dataset/coco_person_keypoints/annotations/person_keypoints_val.json", "coco", 1, 2),
        ("coco_dataset/mmdet_coco/annotations/instances_train.json", "coco", 1, 1),
        ("coco_dataset/coco_stuff/annotations/stuff_val.json", "coco", 1, 1),
    ],
)
def test_files_of_other_tools_are_recognised_and_read(place, name, images, objects, photos_data: Path) -> None:
    path = photos_data / "fixtures" / place
    assert converters.detect_format(path)[0].name == name
    dataset = converters.read(path)
    records = list(dataset.records)
    assert len(records) == images
    assert objects is None or sum(len(record.annotations) for record in records) == objects
    assert dataset.image_root is not None and all((dataset.image_root / record.path).is_file() for record in records)
