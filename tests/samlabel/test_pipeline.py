from __future__ import annotations

import threading
import time
from collections.abc import Generator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, get_origin, get_type_hints

import numpy as np
import pytest

from samlabel.errors import SamlabelError, UsageError
from samlabel.objects import Objects
from samlabel.options import Duplicates, Thresholds
from samlabel.pipeline.context import Clock, ImageContext, Labeled
from samlabel.pipeline.engine import label
from samlabel.pipeline.executors import INLINE, Threads, in_order
from samlabel.pipeline.nms import survivors
from samlabel.pipeline.reading import Waits, read_ahead
from samlabel.pipeline.stages import Models
from samlabel.protocols import ImageRef, ModelInfo
from samlabel.sources.folder import Folder, scan
from samlabel.sources.images import Encoded, Failed, encoded
from samlabel.types import Mask


def run(folder: Path, models: Models, *, batch: int = 1) -> list[Labeled | Failed]:
    source = scan(folder)
    return list(label(read_ahead(source, source.refs()), models.stages(Thresholds()), batch=batch))


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
        def segment(self, embedding: Any, objects: Any) -> Any:
            return super().segment(embedding, objects).take(range(1, len(objects)))

    class Swaps(fakes.Segmenter):
        def segment(self, embedding: Any, objects: Any) -> Any:
            return replace(super().segment(embedding, objects), category_ids=objects.category_ids[::-1])

    for faulty in (Loses(), Swaps()):
        with pytest.raises(SamlabelError, match="labels would be swapped"):
            run(photos, Models(fakes.Detector(), faulty))


def test_a_detector_that_answers_for_fewer_images_stops_the_run(photos: Path, fakes: ModuleType) -> None:
    class Short(fakes.Detector):
        def detect(self, images: Any) -> Any:
            return []

    with pytest.raises(SamlabelError, match="wanted one each"):
        run(photos, Models(Short(), fakes.Segmenter()))


class Repeating(Folder):
    """A source whose images are all one file; counts how many were opened."""

    opened = 0

    def open(self, ref: ImageRef, *, max_pixels: int = 10**6) -> Encoded:
        Repeating.opened += 1
        return encoded(self.root, "a.png", max_pixels=max_pixels)


def test_reading_ahead_is_bounded_and_ends_with_its_reader(tmp_path: Path, fakes: ModuleType) -> None:
    fakes.draw(tmp_path / "a.png")
    Repeating.opened, before = 0, threading.active_count()
    stream = read_ahead(Repeating(tmp_path, ()), (ImageRef(f"{i}.png") for i in range(1000)), ahead=2)
    next(stream)
    time.sleep(0.2)
    assert Repeating.opened <= 4  # one taken, two waiting, one in the hand of the thread
    stream.close()
    assert threading.active_count() == before


@pytest.mark.parametrize("count", [20, 60])
def test_the_pictures_in_memory_do_not_grow_with_their_number(tmp_path: Path, fakes: ModuleType, count: int) -> None:
    import weakref

    for i in range(count):
        fakes.draw(tmp_path / f"{i:03}.png", (1, 1, 4, 4, fakes.RED), size=(8, 8))
    alive: set[str] = set()
    most = 0

    class Watching(fakes.Segmenter):
        def encode(self, image: Any) -> Any:
            nonlocal most
            alive.add(image.path)
            weakref.finalize(image.pixels, alive.discard, image.path)
            most = max(most, len(alive))
            return super().encode(image)

    source = scan(tmp_path)
    for _ in label(read_ahead(source, source.refs()), Models(fakes.Detector(), Watching()).stages(Thresholds())):
        pass
    assert 1 <= most <= 3


def test_a_fault_in_the_reading_thread_reaches_the_caller(tmp_path: Path) -> None:
    class Broken(Folder):
        def open(self, ref: ImageRef, *, max_pixels: int = 0) -> Encoded:
            raise KeyError("a mistake of ours")

    with pytest.raises(KeyError, match="a mistake of ours"):
        list(read_ahead(Broken(tmp_path, ()), [ImageRef("a.png")]))


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
            if isinstance(image, ImageContext):
                with lock:
                    alive += image.pixels
                    most = max(most, alive)
                image.on_release = partial(let_go, image.pixels, image.on_release)
            yield image
            del image

    def let_go(pixels: int, then: Any) -> None:
        nonlocal alive
        with lock:
            alive -= pixels
        then()

    source = scan(tmp_path)
    images = read_ahead(source, source.refs(), threads=2, max_pixels=1600)
    stages = Models(fakes.Detector(), fakes.Segmenter()).stages(Thresholds())
    found = list(label(counted(images), stages, batch=batch, executor=Threads(at_once) if at_once else INLINE))
    assert [type(one) for one in found] == [Labeled] * len(sizes)
    assert 1600 <= most <= 1600


def test_an_image_beyond_max_pixels_fails_alone(tmp_path: Path, fakes: ModuleType) -> None:
    fakes.draw(tmp_path / "a.png", size=(20, 20))
    fakes.draw(tmp_path / "b.png", size=(50, 50))
    fakes.draw(tmp_path / "c.png", size=(20, 20))
    source = scan(tmp_path)
    found = [one for one in read_ahead(source, source.refs(), max_pixels=900) if not isinstance(one, Waits)]
    assert [isinstance(one, Failed) for one in found] == [False, True, False]


def test_a_model_that_does_not_say_what_it_is_is_refused(fakes) -> None:
    class Silent:
        name = "silent"

    with pytest.raises(UsageError, match="the detector is a Silent without `info`; expected a samlabel.ModelInfo"):
        Models(Silent(), fakes.Segmenter())


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (SimpleNamespace(info=ModelInfo("m"), embed=None), "the segmenter 'm' has no segment"),
        (
            SimpleNamespace(info=ModelInfo("m", prompts=frozenset({"everything"})), embed=None, segment=None),
            "the segmenter 'm' has no generate; see samlabel.MaskGenerator",
        ),
    ],
    ids=["no masks", "everything without a generator"],
)
def test_a_segmenter_without_what_its_contract_asks_is_refused(model: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Models(None, model)


@pytest.mark.parametrize(
    ("prompts", "detector", "says"),
    [({"box"}, False, "needs boxes; name a detector"), ({"everything"}, True, "takes no boxes")],
    ids=["no grid", "no boxes"],
)
def test_a_segmenter_that_does_not_take_what_a_run_gives_is_refused(
    fakes: ModuleType, prompts: set[str], detector: bool, says: str
) -> None:
    segmenter = fakes.Segmenter()
    segmenter.info = replace(segmenter.info, prompts=frozenset(prompts))
    with pytest.raises(UsageError, match=says):
        Models(fakes.Detector() if detector else None, segmenter).stages(Thresholds())


def test_a_prompt_that_nobody_knows_is_refused() -> None:
    with pytest.raises(UsageError, match="'m' takes prompts \\['smell'\\]; expected some of box"):
        ModelInfo("m", prompts=frozenset({"smell"}))


def test_stages_after_the_first_share_one_embedding(tmp_path: Path, fakes: ModuleType) -> None:
    fakes.draw(tmp_path / "a.png", (1, 1, 9, 9, fakes.RED), (20, 20, 30, 30, fakes.BLUE))
    segmenter, source = fakes.Segmenter(), scan(tmp_path)
    stages = Models(fakes.Detector(), segmenter).stages(Thresholds())
    again = [*stages[:2], Unmasked(), *stages[1:]]
    [done] = label(read_ahead(source, source.refs()), again)
    assert isinstance(done, Labeled) and len(done.record.annotations) == 2
    assert segmenter.embedded == ["a.png"]


class Unmasked:
    """A stage that takes the masks away."""

    name, batched, thread_safe = "unmask", False, True

    def run(self, batch: Any, objects: Any) -> Any:
        return [replace(one, masks=None) for one in objects]


def test_masks_of_a_detector_are_kept_and_only_the_others_prompted(tmp_path: Path, fakes: ModuleType) -> None:
    fakes.draw(tmp_path / "a.png", (1, 1, 9, 9, fakes.RED), (20, 20, 30, 30, fakes.BLUE))
    whole = Mask.from_pixels(np.ones((40, 60), bool))

    class Masking(fakes.Detector):
        def detect(self, images: Any) -> Any:
            return [replace(one, masks=(None, whole)) for one in super().detect(images)]

    [done] = run(tmp_path, Models(Masking(), fakes.Segmenter()))
    assert isinstance(done, Labeled)
    assert [(one.category_id, one.mask.area, one.source) for one in done.record.annotations if one.mask] == [
        (1, 64, "colours+boxes"),
        (7, 2400, "colours"),
    ]


def squares(*sides: tuple[int, int, int], categories: tuple[int, ...]) -> Objects:
    """Squares `(left, top, side)` on an image of 40 x 40, the best first."""
    masks = []
    for x, y, side in sides:
        pixels = np.zeros((40, 40), bool)
        pixels[y : y + side, x : x + side] = True
        masks.append(Mask.from_pixels(pixels))
    boxes, scores = np.array([mask.box for mask in masks]), np.linspace(0.9, 0.5, len(masks))
    return Objects(boxes=boxes, category_ids=np.array(categories), scores=scores, masks=tuple(masks))


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        (Duplicates(), [0, 1, 2, 3]),
        (Duplicates(duplicate_iou=0.8), [0, 2, 3]),
        (Duplicates(duplicate_iou=0.8, agnostic_nms=True), [0, 3]),
        (Duplicates(duplicate_containment=0.9), [0, 2]),
    ],
    ids=["off", "a copy", "a copy of another class", "a part"],
)
def test_of_masks_of_one_thing_the_best_stays(options: Duplicates, kept: list[int]) -> None:
    objects = squares((0, 0, 20), (0, 0, 19), (0, 0, 20), (5, 5, 4), categories=(1, 1, 2, 1))
    assert np.flatnonzero(survivors(objects, options)).tolist() == kept
