"""What is kept of an earlier writing gives the files that a full writing gives, whatever else is in the dataset."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

import converters
from converters import ImagewiseFormat, Made, Unchanged, Update
from samlabel.types import Annotation, Dataset, ImageRecord
from tests.converters.cases import HOLED, LETTERS, SIZE, thing

IMAGEWISE = [name for name in converters.names() if isinstance(converters.get(name), ImagewiseFormat)]
BOX = Annotation(1, (2.0, 3.0, 9.0, 11.0))


def image(path: str, *objects: Annotation) -> ImageRecord:
    return ImageRecord(path, SIZE, objects)


MASKED, MIXED, BOXED = image("m.png", thing(HOLED)), image("x.png", thing(HOLED), BOX), image("b.png", BOX)
EMPTY, OTHER = image("e.png"), image("z/o.png", thing(HOLED), thing(HOLED))
AROUND = {  # what there was before, and what there is now
    "the same again": ([BOXED, EMPTY, MASKED], [BOXED, EMPTY, MASKED]),
    "one more": ([EMPTY, MASKED], [EMPTY, MASKED, OTHER]),
    "one before the others": ([EMPTY, OTHER], [BOXED, EMPTY, OTHER]),
    "one less": ([EMPTY, MASKED, OTHER], [EMPTY, OTHER]),
    "a mask comes to boxes": ([BOXED], [BOXED, MASKED]),
    "boxes come to a mask": ([MASKED], [BOXED, MASKED]),
    "no mask is left": ([BOXED, MASKED], [BOXED]),
    "of mixed ones no mask is left": ([BOXED, MIXED], [BOXED]),
    "boxes alone": ([BOXED], [BOXED, EMPTY]),
    "a name is taken": ([image("m.png", BOX)], [image("m.bmp", BOX), image("m.png", BOX)]),
    "a name is free": ([image("m.bmp", BOX), image("m.png", BOX)], [image("m.png", BOX)]),
    "first folders are splits": (
        [image("train/a.png", BOX)],
        [image("train/a.png", BOX), image("val/b.png", BOX)],
    ),
}


def files(folder: Path) -> dict[str, bytes]:
    found = (file for file in sorted(folder.rglob("*")) if file.is_file())
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in found}


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("name", IMAGEWISE)
def test_the_same_bytes_and_losses_come_of_what_is_kept(name: str, around: str, tmp_path: Path) -> None:
    before, now = AROUND[around]
    made: dict[str, Made] = {}
    first = updated(name, before, tmp_path / "before", Update(before, note=lambda one: made.update({one.path: one})))

    def keep(one: Made) -> None:
        for file in one.files:
            (tmp_path / "now" / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(tmp_path / "before" / file, tmp_path / "now" / file)

    def images() -> Iterator[ImageRecord | Unchanged]:
        for record in now:
            known = made.get(record.path)
            yield Unchanged(known, partial(keep, known), partial(replace, record)) if known else record

    found = updated(name, now, tmp_path / "now", Update(images(), first.losses))
    full = converters.write(Dataset(LETTERS, now), tmp_path / "full", name, images="none")
    assert files(tmp_path / "now") == files(tmp_path / "full")
    assert (found.images, found.objects, found.losses) == (full.images, full.objects, full.losses)


def updated(name: str, records: Sequence[ImageRecord], folder: Path, update: Update) -> converters.WriteReport:
    format = converters.get(name)
    assert isinstance(format, ImagewiseFormat)
    return converters.update(Dataset(LETTERS, records), folder, format, update, images="none")


@pytest.mark.parametrize("name", IMAGEWISE)
def test_the_record_of_an_image_that_stays_is_not_read(name: str, tmp_path: Path) -> None:
    made: list[Made] = []
    updated(name, [MASKED], tmp_path, Update([MASKED], note=made.append))

    def read() -> ImageRecord:
        raise AssertionError("read")

    report = updated(name, [], tmp_path, Update([Unchanged(one, lambda: None, read) for one in made]))
    assert (report.images, report.objects) == (1, 1)
