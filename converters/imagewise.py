"""Formats with files of each image: what an earlier writing made of an image that has not changed can stay."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from samlabel.types import Dataset, ImageRecord

from .format import Format, WriteReport
from .io.files import Names
from .options import FormatOptions

Options = TypeVar("Options", bound=FormatOptions)


@dataclass(frozen=True, slots=True)
class Made:
    """What was made of one image; the files over the whole dataset are written from these.

    `name` is the image path that its files are named for, which differs from `path` where another image has the name.
    `files` are its label files and `image` is where the image itself was placed, from the dataset's folder; they say
    nothing of any other image. `line` is the image's part of a file over the whole dataset, and `tallies` are counts
    for the format's own use.
    """

    path: str
    name: str
    files: tuple[str, ...]
    objects: int
    image: str | None = None
    losses: Mapping[str, int] = field(default_factory=dict)
    tallies: Mapping[str, int] = field(default_factory=dict)
    line: str = ""


@dataclass(frozen=True, slots=True)
class Unchanged:
    """An image of which an earlier writing left `made`: `keep()` puts those files in place, `read()` gives its record.

    Categories and options are those of that writing.
    """

    made: Made
    keep: Callable[[], None]
    read: Callable[[], ImageRecord]


def _ignore(made: Made) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, slots=True)
class Update:
    """The images of a dataset in their order, some of them unchanged since an earlier writing, which lost `losses`.

    `note` is called with what was made of each.
    """

    images: Iterable[ImageRecord | Unchanged]
    losses: Mapping[str, int] = field(default_factory=dict)
    note: Callable[[Made], None] = _ignore


class ImagewiseFormat(Format[Options]):
    """A format whose label files are those of one image each, and few that are written anew each time."""

    def write(self, dataset: Dataset, path: Path, options: Options) -> WriteReport:
        return self.update(dataset, path, options, Update(dataset.records))

    @abstractmethod
    def update(self, dataset: Dataset, path: Path, options: Options, update: Update) -> WriteReport:
        """Write `dataset` at `path` as `write` does, with the images that `update` has in the place of its records.

        The same bytes come of it, whatever is kept.
        """


def over_images(
    update: Update,
    report: WriteReport,
    write: Callable[[ImageRecord, str], Made],
    *,
    names: Names | None = None,
    may_keep: Callable[[Made], bool] = lambda made: True,
) -> Iterator[Made]:
    """What is made of each image, counted in `report`: kept, or by `write(record, name)`, its name one of its own."""
    names = names or Names()
    for image in update.images:
        if isinstance(image, Unchanged):
            name = names.take(image.made.path)
            if name == image.made.name and may_keep(image.made):
                made = image.made
                image.keep()
            else:
                made = write(image.read(), name)
        else:
            made = write(image, names.take(image.path))
        report.images += 1
        report.objects += made.objects
        report.losses.update(made.losses)
        update.note(made)
        yield made
