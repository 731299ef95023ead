from __future__ import annotations

import threading
import time
from collections.abc import Generator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, get_origin, get_type_hints

import pytest

from samlabel.errors import SamlabelError, UsageError
from samlabel.options import Thresholds
from samlabel.pipeline.context import Labeled
from samlabel.pipeline.engine import Clock, Models, Waits, label, pixels_of, read_ahead
from samlabel.pipeline.workers import in_order
from samlabel.sources.images import Decoded, Encoded, Failed, encoded, scan


def run(folder: Path, models: Models, *, batch: int = 1) -> list[Labeled | Failed]:
    source = scan(folder)
    return list(label(read_ahead(source.root, source.paths), models, Thresholds(), batch=batch))


def test_box_class_score_and_mask_of_one_object_stay_together(photos: Path, fakes: ModuleType) -> None:
    found = run(photos, Models(fakes.Detector(), fakes.Segmenter()))
    first, second, third = (item.record for item in found if isinstance(item, Labeled))
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
    found = [one for item in run(photos, models) if isinstance(item, Labeled) for one in item.record.annotations]
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

    def counting(root: Path, path: str, *, max_pixels: int) -> Encoded:
        decoded.append(path)
        return encoded(root, "a.png", max_pixels=max_pixels)

    monkeypatch.setattr("samlabel.pipeline.engine.encoded", counting)
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
    def broken(*_: object, **__: object) -> Encoded:
        raise KeyError("a mistake of ours")

    monkeypatch.setattr("samlabel.pipeline.engine.encoded", broken)
    with pytest.raises(KeyError, match="a mistake of ours"):
        list(read_ahead(tmp_path, ["a.png"]))


def test_seconds_by_stage_add_up_as_floats() -> None:
    clock = Clock()
    for stage in ("embed", "segment", "embed"):
        with clock.of(stage):
            pass
    assert type(clock.seconds) is dict and list(clock.seconds) == ["embed", "segment"]
    assert all(isinstance(value, float) and value > 0 for value in clock.seconds.values())


@pytest.mark.parametrize("function", [read_ahead, in_order], ids=lambda function: function.__name__)
def test_what_works_ahead_promises_a_caller_that_it_can_be_closed(function: Any) -> None:
    assert get_origin(get_type_hints(function)["return"]) is Generator


@pytest.mark.parametrize("at_once", [0, 2])
@pytest.mark.parametrize("batch", [1, 4])
def test_images_in_memory_together_stay_below_max_pixels(
    tmp_path: Path, fakes: ModuleType, at_once: int, batch: int
) -> None:
    """An image that needs all the room there is waits for the others, and is not refused because of them."""
    sizes = [(20, 20)] * 5 + [(40, 40)] + [(20, 20)] * 3 + [(40, 40)] * 2
    for number, size in enumerate(sizes):
        fakes.draw(tmp_path / f"{number:02}.png", (1, 1, 8, 8, fakes.RED), size=size)
    lock, alive, most = threading.Lock(), 0, 0

    def counted(images: Any) -> Any:
        nonlocal alive, most
        for image in images:
            if isinstance(image, Decoded):
                with lock:
                    alive += pixels_of(image)
                    most = max(most, alive)
                image = replace(image, release=partial(let_go, image))
            yield image
            del image

    def let_go(image: Decoded) -> None:
        nonlocal alive
        with lock:
            alive -= pixels_of(image)
        image.release()

    source = scan(tmp_path)
    images = read_ahead(source.root, source.paths, threads=2, max_pixels=1600)
    models = Models(fakes.Detector(), fakes.Segmenter())
    found = list(label(counted(images), models, Thresholds(), batch=batch, at_once=at_once))
    assert [type(one) for one in found] == [Labeled] * len(sizes)
    assert 1600 <= most <= 1600


def test_an_image_beyond_max_pixels_fails_alone(tmp_path: Path, fakes: ModuleType) -> None:
    fakes.draw(tmp_path / "a.png", size=(20, 20))
    fakes.draw(tmp_path / "b.png", size=(50, 50))
    fakes.draw(tmp_path / "c.png", size=(20, 20))
    found = [
        one for one in read_ahead(tmp_path, ["a.png", "b.png", "c.png"], max_pixels=900) if not isinstance(one, Waits)
    ]
    assert [isinstance(one, Failed) for one in found] == [False, True, False]


def test_a_model_that_does_not_say_what_it_is_is_refused(fakes) -> None:
    class Silent:
        name = "silent"

    with pytest.raises(UsageError, match="the detector is a Silent without `info`; expected a samlabel.ModelInfo"):
        Models(Silent(), fakes.Segmenter())
