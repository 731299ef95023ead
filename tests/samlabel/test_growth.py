"""Time is linear in images and boxes and memory flat in both: work and what is alive are counted, no clock is read."""

from __future__ import annotations

import threading
import weakref
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from samlabel.objects import Objects
from samlabel.options import Grid, Thresholds
from samlabel.pipeline.engine import label
from samlabel.pipeline.executors import Threads
from samlabel.pipeline.reading import read_ahead
from samlabel.pipeline.stages import Models
from samlabel.sources.folder import scan

AT_ONCE = 2
# Of a picture each: two in work and one finished, one read and two waiting, one on its way from there to here.
MOST_ALIVE = AT_ONCE + 1 + 1 + 2 + 1


def counting(fakes: ModuleType) -> Any:
    """A segmenter that several threads may call; counts encodings, prompts and the pictures alive at once."""

    class Counting(fakes.Segmenter):  # type: ignore[name-defined, misc]
        info = replace(fakes.Segmenter.info, thread_safe=True)

        def __init__(self) -> None:
            super().__init__()
            self.prompts = self.most = 0
            self.alive: set[str] = set()
            self.threads: set[str] = set()
            self._lock = threading.Lock()

        def encode(self, image: Any) -> Any:
            with self._lock:
                self.threads.add(threading.current_thread().name)
                self.alive.add(image.path)
                weakref.finalize(image.pixels, self.alive.discard, image.path)
                self.most = max(self.most, len(self.alive))
                return super().encode(image)

        def segment(self, embedding: Any, objects: Any) -> Any:
            with self._lock:
                self.prompts += len(objects)
            return super().segment(embedding, objects)

    return Counting()


def labelled(folder: Path, models: Models, *, at_once: int = AT_ONCE) -> list[Any]:
    source = scan(folder)
    found = []
    for one in label(read_ahead(source, source.refs()), models.stages(Thresholds()), executor=Threads(at_once)):
        found.append(one)
    return found


@pytest.mark.parametrize("count", [12, 48])
def test_an_image_costs_one_encoding_and_none_stays(tmp_path: Path, fakes: ModuleType, count: int) -> None:
    for i in range(count):
        fakes.draw(tmp_path / f"{i:03}.png", (1, 1, 4, 4, fakes.RED), (5, 5, 7, 7, fakes.BLUE), size=(8, 8))
    segmenter = counting(fakes)
    found = labelled(tmp_path, Models(fakes.Detector(), segmenter))
    assert [one.record.path for one in found] == [f"{i:03}.png" for i in range(count)]
    assert sorted(segmenter.embedded) == [f"{i:03}.png" for i in range(count)]
    assert segmenter.prompts == 2 * count
    assert segmenter.most <= MOST_ALIVE
    assert 1 <= len(segmenter.threads) <= AT_ONCE


def test_side_by_side_gives_what_one_after_another_gives(photos: Path, fakes: ModuleType) -> None:
    (photos / "broken.jpg").write_bytes(b"nothing")
    fakes.draw(photos / "cursed.png")
    plain = labelled(photos, Models(fakes.Detector(), fakes.Segmenter()))
    assert labelled(photos, Models(fakes.Detector(), counting(fakes))) == plain
    assert labelled(photos, Models(None, counting(fakes)), at_once=4) == labelled(
        photos, Models(None, fakes.Segmenter())
    )


@pytest.mark.parametrize("count", [70, 700])
def test_a_box_costs_one_prompt_and_the_pieces_do_not_grow(count: int) -> None:
    from samlabel.segmenters.sam import PROMPTS_AT_ONCE, SamSegmenter

    pieces: list[int] = []

    class Model:
        variant, device = SimpleNamespace(name="x", params=1, licence=None), SimpleNamespace(type="cpu")
        mask_threshold, dtype, backend = 0.0, "torch.float32", "torch"

        def predict(self, embedding: Any, *, boxes: np.ndarray) -> Any:
            import torch

            import sam

            pieces.append(len(boxes))
            low = torch.full((len(boxes), 1, 16, 16), -9.0)
            low[:, :, 2:5, 2:5] = 9.0
            return sam.Prediction(low, torch.ones(len(boxes), 1), (16, 16), (16, 16), 16)

    segmenter = SamSegmenter(Model(), weights="", grid=Grid())  # type: ignore[arg-type]
    boxes = np.tile([[1.0, 1, 6, 6]], (count, 1))
    embedding: Any = SimpleNamespace(size=(16, 16))
    found = segmenter.segment(
        embedding, Objects(boxes=boxes, category_ids=np.ones(count, np.int64), scores=np.ones(count))
    )
    assert len(found) == sum(pieces) == count
    assert max(pieces) <= PROMPTS_AT_ONCE
