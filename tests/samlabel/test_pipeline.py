from __future__ import annotations

import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from samlabel.errors import SamlabelError
from samlabel.images import Decoded, Failed, decode, scan
from samlabel.ledger import Labelled
from samlabel.pipeline import Models, label, read_ahead
from samlabel.select import Thresholds


def run(folder: Path, models: Models, *, batch: int = 1) -> list[Labelled | Failed]:
    source = scan(folder)
    return list(label(read_ahead(source.root, source.paths), models, Thresholds(), batch=batch))


def test_box_class_score_and_mask_of_one_object_stay_together(photos: Path, fakes: ModuleType) -> None:
    found = run(photos, Models(fakes.Detector(), fakes.Segmenter()))
    first, second, third = (item.record for item in found if isinstance(item, Labelled))
    assert [(one.category_id, one.box, one.prompt_box) for one in first.annotations] == [
        (1, (2, 3, 20, 30), (2, 3, 20, 30)),
        (7, (30, 5, 50, 20), (30, 5, 50, 20)),
    ]
    assert [one.mask.area for one in first.annotations if one.mask] == [18 * 27, 20 * 15]
    assert {one.source for one in first.annotations} == {"colours+boxes"}
    assert (second.path, len(second.annotations)) == ("deep/b c.png", 1)
    assert (third.path, third.size, third.annotations) == ("zzz.png", (40, 60), ())


def test_each_image_is_encoded_once_and_an_empty_one_never(photos: Path, fakes: ModuleType) -> None:
    segmenter = fakes.Segmenter()
    run(photos, Models(fakes.Detector(), segmenter))
    assert segmenter.embedded == ["a.png", "deep/b c.png"]


def test_without_a_detector_all_is_one_class(photos: Path, fakes: ModuleType) -> None:
    models = Models(None, fakes.Segmenter())
    found = [one for item in run(photos, models) if isinstance(item, Labelled) for one in item.record.annotations]
    assert [(one.category_id, one.source) for one in found] == [(1, "grid+boxes")] * 3
    assert [category.name for category in models.categories] == ["object"]


def test_only_neighbours_of_one_size_share_a_batch(tmp_path: Path, fakes: ModuleType) -> None:
    for name, size in (("1", (9, 9)), ("2", (9, 9)), ("3", (9, 8)), ("4", (9, 9)), ("5", (9, 9)), ("6", (9, 9))):
        fakes.draw(tmp_path / f"{name}.png", (1, 1, 4, 4, fakes.RED), size=size)
    detector = fakes.Detector()
    found = run(tmp_path, Models(detector, fakes.Segmenter()), batch=2)
    assert detector.batches == [["1.png", "2.png"], ["3.png"], ["4.png", "5.png"], ["6.png"]]
    assert found == run(tmp_path, Models(fakes.Detector(), fakes.Segmenter()))


def test_a_bad_image_fails_alone_and_in_its_place(photos: Path, fakes: ModuleType) -> None:
    (photos / "broken.jpg").write_bytes(b"nothing")
    fakes.draw(photos / "cursed.png")
    found = run(photos, Models(fakes.Detector(), fakes.Segmenter()), batch=4)
    kinds = [(item.path, item.stage) if isinstance(item, Failed) else item.record.path for item in found]
    assert kinds == ["a.png", ("broken.jpg", "decode"), ("cursed.png", "detect"), "deep/b c.png", "zzz.png"]


def test_a_segmenter_that_loses_or_swaps_objects_stops_the_run(photos: Path, fakes: ModuleType) -> None:
    class Loses(fakes.Segmenter):
        def segment(self, embedding: Any, detections: Any) -> Any:
            return iter(list(super().segment(embedding, detections))[1:])

    class Swaps(fakes.Segmenter):
        def segment(self, embedding: Any, detections: Any) -> Any:
            return iter(list(super().segment(embedding, detections))[::-1])

    for faulty in (Loses(), Swaps()):
        with pytest.raises(SamlabelError, match="labels would be swapped"):
            run(photos, Models(fakes.Detector(), faulty))


def test_a_detector_that_answers_for_fewer_images_stops_the_run(photos: Path, fakes: ModuleType) -> None:
    class Short(fakes.Detector):
        def detect(self, images: Any) -> Any:
            return []

    with pytest.raises(SamlabelError, match="wanted one each"):
        run(photos, Models(Short(), fakes.Segmenter()))


def test_reading_ahead_is_bounded_and_ends_with_its_reader(
    tmp_path: Path, fakes: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes.draw(tmp_path / "a.png")
    decoded: list[str] = []

    def counting(root: Path, path: str, *, max_pixels: int) -> Decoded:
        decoded.append(path)
        return decode(root, "a.png", max_pixels=max_pixels)

    monkeypatch.setattr("samlabel.pipeline.decode", counting)
    before = threading.active_count()
    stream = read_ahead(tmp_path, (f"{i}.png" for i in range(1000)), ahead=2)
    next(stream)
    time.sleep(0.2)
    assert len(decoded) <= 4  # one taken, two waiting, one in the hand of the thread
    stream.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


@pytest.mark.parametrize("count", [20, 60])
def test_the_pictures_in_memory_do_not_grow_with_their_number(tmp_path: Path, fakes: ModuleType, count: int) -> None:
    import weakref

    for i in range(count):
        fakes.draw(tmp_path / f"{i:03}.png", (1, 1, 4, 4, fakes.RED), size=(8, 8))
    alive: set[str] = set()
    most = 0

    class Watching(fakes.Segmenter):
        def embed(self, image: Any) -> Any:
            nonlocal most
            alive.add(image.path)
            weakref.finalize(image.pixels, alive.discard, image.path)
            most = max(most, len(alive))
            return super().embed(image)

    source = scan(tmp_path)
    for _ in label(read_ahead(source.root, source.paths), Models(fakes.Detector(), Watching()), Thresholds()):
        pass
    assert 1 <= most <= 3


def test_a_fault_in_the_reading_thread_reaches_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> Decoded:
        raise KeyError("a mistake of ours")

    monkeypatch.setattr("samlabel.pipeline.decode", broken)
    with pytest.raises(KeyError, match="a mistake of ours"):
        list(read_ahead(tmp_path, ["a.png"]))
