"""The bundled detector: its network, classes, suppression, what it makes of odd images, and weights that fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from samlabel import detectors
from samlabel.detectors import nano
from samlabel.detectors._nano_classes import COCO_CLASSES
from samlabel.detectors._nano_inference import Found, pooled
from samlabel.detectors._nanodet import BINS, Cells, NanoDet, normalized
from samlabel.errors import UnknownName, WeightsError
from samlabel.protocols import Detector, Image


def drawn(height: int = 120, width: int = 160) -> Image:
    """A blue block on gray ground."""
    pixels = np.full((height, width, 3), 200, np.uint8)
    pixels[height // 4 : height // 2, width // 4 : width // 2] = (40, 90, 160)
    return Image("drawn.png", pixels)


@pytest.fixture(scope="module")
def loose() -> Detector:
    """The bundled detector, made to keep even what it does not believe in."""
    return detectors.load("nano", conf=0.001, max_det=50)


def test_category_ids_are_coco_s_order() -> None:
    ids = {category.name: category.id for category in detectors.load("nano").info.categories}
    assert [ids[name] for name in ("person", "bicycle", "tv", "toothbrush")] == [1, 2, 63, 80]
    assert len(set(COCO_CLASSES)) == len(ids) == 80


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [(["animal"], None), (["cat"], [16]), (["3", "person"], [1, 3]), (None, list(range(1, 81)))],
    ids=["unknown", "name", "number and name", "all"],
)
def test_classes_are_kept_by_name_or_category_id(wanted: list[str] | None, ids: list[int] | None) -> None:
    if ids is None:
        with pytest.raises(UnknownName, match="unknown class 'animal'"):
            detectors.load("nano", classes=wanted)
        return
    detector = detectors.load("nano", conf=0.001, classes=wanted)
    assert [category.id for category in detector.info.categories] == ids
    (found,) = detector.detect([drawn()])
    assert len(found) > 0 and set(found.category_ids.tolist()) <= set(ids)


def test_boxes_lie_inside_the_image_best_first_and_hold_an_area(loose: Detector) -> None:
    (found,) = loose.detect([drawn(60, 100)])
    assert len(found) == 50
    assert (found.boxes >= 0).all() and (found.boxes[:, 2] <= 100).all() and (found.boxes[:, 3] <= 60).all()
    assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()
    assert (np.diff(found.scores) <= 0).all()


def test_the_default_score_is_what_is_used_when_none_is_given() -> None:
    (found,) = detectors.load("nano", conf=nano.CONF).detect([drawn()])
    (default,) = detectors.load("nano").detect([drawn()])
    assert np.array_equal(found.boxes, default.boxes) and (default.scores >= nano.CONF).all()


@pytest.mark.parametrize(
    ("height", "width"), [(3, 5000), (5000, 3), (1, 1), (2000, 31)], ids=["wide", "tall", "one pixel", "narrow"]
)
def test_an_image_of_any_shape_is_looked_at(height: int, width: int, loose: Detector) -> None:
    (found,) = loose.detect([drawn(height, width)])
    assert (found.boxes >= 0).all() and (found.boxes <= [width, height, width, height]).all()


@pytest.mark.parametrize("sort", ["L", "I;16", "LA", "1"], ids=["gray", "16-bit", "gray with alpha", "bilevel"])
def test_gray_and_16_bit_files_give_the_boxes_of_the_same_picture_in_rgb(sort: str, tmp_path: Path) -> None:
    from PIL import Image as PILImage

    from samlabel.sources.images import decode

    gray = np.repeat(np.where(np.arange(160) < 80, 0, 255)[None], 120, 0).astype(np.uint8)
    if sort == "I;16":
        file = PILImage.fromarray(gray.astype(np.uint16) * 257)
    else:
        file = PILImage.fromarray(gray).convert(sort)
    file.save(tmp_path / "a.png")
    PILImage.fromarray(gray).convert("RGB").save(tmp_path / "b.png")
    detector = detectors.load("nano", conf=0.01)
    one, other = (detector.detect([decode(tmp_path, name).image])[0] for name in ("a.png", "b.png"))
    assert np.array_equal(one.boxes, other.boxes) and np.array_equal(one.scores, other.scores)


def test_the_number_of_threads_does_not_change_what_is_found(loose: Detector) -> None:
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            results.append(loose.detect([drawn()])[0])
    finally:
        torch.set_num_threads(before)
    one, other = results
    assert np.array_equal(one.category_ids, other.category_ids)
    assert np.abs(one.scores - other.scores).max() <= 2e-6 and np.abs(one.boxes - other.boxes).max() <= 0.01


def test_several_threads_at_once_find_what_one_finds(loose: Detector) -> None:
    from concurrent.futures import ThreadPoolExecutor

    images = [drawn(100 + 10 * k, 160) for k in range(6)]
    with ThreadPoolExecutor(3) as threads:
        together = list(threads.map(lambda image: loose.detect([image])[0], images))
    for image, found in zip(images, together, strict=True):
        (alone,) = loose.detect([image])
        assert np.abs(found.scores - alone.scores).max() <= 2e-6


def found_of(rows: Sequence[tuple[Sequence[float], float, int]]) -> Found:
    boxes, scores, classes = zip(*rows, strict=True)
    return Found(torch.tensor(boxes), torch.tensor(scores), torch.tensor(classes))


@pytest.mark.parametrize(
    ("second", "kept"),
    [
        (([0.0, 0, 10, 8], 0.8, 5), [5]),  # IoU 0.8
        (([0.0, 0, 10, 8], 0.8, 7), [5]),
        (([0.0, 0, 10, 6], 0.8, 5), [5]),  # IoU 0.6
        (([0.0, 0, 10, 6], 0.8, 7), [5, 7]),
        (([0.0, 0, 10, 4], 0.8, 5), [5, 5]),  # IoU 0.4
    ],
    ids=["same class, same place", "a bus is no truck too", "same class, half", "a rider on a horse", "two of a class"],
)
def test_one_object_gets_one_box_whatever_size_saw_it(
    second: tuple[Sequence[float], float, int], kept: list[int]
) -> None:
    looks = [found_of([([0.0, 0, 10, 10], 0.9, 5)]), found_of([second])]
    assert pooled(looks, iou=0.5, most=10).classes.tolist() == kept
    assert pooled(looks[::-1], iou=0.5, most=10).classes.tolist() == kept, "the order of looks does not matter"


def test_only_the_best_boxes_are_kept() -> None:
    rows = [([20.0 * k, 0, 20.0 * k + 10, 10], 0.1 + 0.1 * k, 0) for k in range(5)]
    assert pooled([found_of(rows)], iou=0.5, most=2).boxes[:, 0].tolist() == [80.0, 60.0]


def test_a_side_lies_at_the_mean_of_its_distribution() -> None:
    sides = torch.full((1, 1, 4, BINS), -1e4)
    sides[0, 0, 0, 1] = sides[0, 0, 1, 2] = sides[0, 0, 3, 7] = 0.0
    sides[0, 0, 2, 3:5] = 0.0  # half way between 3 and 4
    cells = Cells(torch.zeros(1, 1, 1), sides, torch.tensor([[100.0, 50.0]]), torch.tensor([8.0]))
    assert cells.boxes()[0, 0].tolist() == [92.0, 34.0, 128.0, 106.0]


def test_every_stride_has_its_cells_and_every_cell_its_point() -> None:
    cells = NanoDet(3).eval()(normalized(torch.zeros(2, 3, 64, 128)))
    assert cells.logits.shape == (2, 8 * 16 + 4 * 8 + 2 * 4 + 1 * 2, 3)
    assert cells.points[:2].tolist() == [[0.0, 0.0], [8.0, 0.0]] and cells.points[-1].tolist() == [64.0, 0.0]
    assert cells.strides.unique().tolist() == [8.0, 16.0, 32.0, 64.0]


def _other(folder: Path) -> Path:
    save_file({"something": torch.zeros(1)}, folder / "other.safetensors")
    return folder / "other.safetensors"


def _more_classes(folder: Path) -> Path:
    state = load_file(nano.WEIGHTS)
    state["heads.0.2.bias"] = torch.zeros(len(state["heads.0.2.bias"]) + 1)
    save_file(state, folder / "more.safetensors")
    return folder / "more.safetensors"


def _broken(folder: Path) -> Path:
    (folder / "broken.safetensors").write_bytes(b"not weights")
    return folder / "broken.safetensors"


def _segmenter(folder: Path) -> Path:
    import sam

    return Path(sam.__file__).parent / "weights" / "nano.safetensors"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_other, "not weights of the nano detector"),
        (_more_classes, r"first difference: heads.0.2.bias"),
        (_segmenter, "not weights of the nano detector"),
        (_broken, "damaged or not safetensors"),
        (lambda folder: folder / "absent.safetensors", "no such file"),
    ],
    ids=["another network", "another number of classes", "the segmenter's", "damaged", "absent"],
)
def test_weights_of_something_else_are_refused_in_one_line(make: object, message: str, tmp_path: Path) -> None:
    assert callable(make)
    file = make(tmp_path)
    with pytest.raises(WeightsError, match=message) as caught:
        detectors.load(f"nano:{file}")
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)


def test_the_bundled_weights_are_small_and_in_half_precision() -> None:
    state = load_file(nano.WEIGHTS)
    assert nano.WEIGHTS.stat().st_size < 8_000_000
    assert all(value.dtype == torch.float16 for value in state.values() if value.ndim > 1)
