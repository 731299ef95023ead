"""What a label format is: one class that reads, writes and says what it can hold."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from samlabel.errors import UnknownName, UsageError
from samlabel.reach import Reach
from samlabel.types import Annotation, Category, Dataset, ImageRecord, Mask, Size

from .features import FEATURES
from .options import COMMON, KINDS, FormatOptions, ReadOptions, described


@dataclass
class WriteReport:
    """What a writer wrote, and under which codes of `converters.CODES` it lost something."""

    format: str
    path: str
    images: int = 0
    objects: int = 0
    losses: Counter[str] = field(default_factory=Counter)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "losses": dict(sorted(self.losses.items()))}


@dataclass(frozen=True)
class Capabilities:
    """What a format can do.

    `keeps` are the words of `converters.FEATURES` that survive writing and reading. `one_file` says that labels appear
    whole or not at all, as one file. `reader` is the program that usually reads the format, samlabel's own reader when
    it is empty. `redraws` says that this program may fill a mask in another way than samlabel does; the receipt then
    measures what `Format.rendered_mask` gives.
    """

    keeps: frozenset[str]
    one_file: bool = False
    reader: str = ""
    redraws: bool = False


class Unsized(Protocol):
    """Label files, one an image, for a caller who has the images and knows their sizes."""

    @property
    def categories(self) -> tuple[Category, ...]: ...

    @property
    def files(self) -> Mapping[str, Path]:
        """Each label file by its name: the path from the dataset's folder, without the suffix."""
        ...

    def find(self, image: str) -> str | None:
        """The name of the label of an image at this path, from the folder of the images; None when it has none."""
        ...

    def read(self, name: str, size: Size) -> tuple[Annotation, ...]:
        """The objects in the label file of this name, at the (height, width) of its image; FormatError as in `read`."""
        ...


class Audit(Protocol):
    """Goes by the records of a dataset, and says what only all of them together show to be lost."""

    def add(self, record: ImageRecord) -> None: ...

    def join(self, other: Any) -> None:
        """Take over what another of the same kind saw of the records that come next."""
        ...

    def losses(self) -> Mapping[str, int]:
        """How many of each code of `converters.CODES`."""
        ...


def agreement(one: Mask | None, other: Mask | None) -> float:
    """IoU; 0 for an object that is gone, and for masks without a pixel, which have nothing in common."""
    if one is None or other is None:
        return 0.0
    if one.counts == other.counts:
        return 1.0 if one.area else 0.0
    return one.iou(other)


Options = TypeVar("Options", bound=FormatOptions)


class Format(ABC, Generic[Options]):
    """A label format: subclass it, and name the class in the entry point group `samlabel.formats`.

    `name` is what users call it, `summary` its line in `samlabel formats`, `options` the dataclass of its choices.
    An instance holds nothing, and is pickled when work is shared with other processes.
    """

    name: str
    summary: str
    options: type[Options]
    capabilities: Capabilities

    @abstractmethod
    def read(self, path: Path, options: ReadOptions = ReadOptions()) -> Dataset:
        """The dataset at `path`, a file or a folder.

        Its records are read when they are iterated, from the start each time, and not held in memory. Raises
        FormatError with file, object and rule.
        """

    @abstractmethod
    def write(self, dataset: Dataset, path: Path, options: Options) -> WriteReport:
        """Write `dataset` at `path`, going over its records once; each file appears whole or not at all.

        What the format cannot hold is counted in the report, never dropped in silence. Raises OutputExists where
        `existing` finds labels and `options.overwrite` is not set.
        """

    def recognize(self, path: Path) -> str | None:
        """What in the files at `path` says that they are of this format; None when nothing does."""
        return None

    def read_unsized(self, path: Path, reach: Reach) -> Unsized | None:
        """The labels at `path` of images that need not be there, where they say nothing of an image's size.

        None where there are no such labels: then `read` is asked. Raises FormatError and LeadsOutside.
        """
        return None

    def existing(self, path: Path) -> Path | None:
        """What `write` would replace at `path`, or leave beside its own labels; None for nothing."""
        return path if path.is_file() or (path.is_dir() and any(path.iterdir())) else None

    def keeps(self, options: Options) -> frozenset[str]:
        """What of `capabilities.keeps` survives with these options."""
        return self.capabilities.keeps

    def dropped(self, annotation: Annotation, keeps: frozenset[str]) -> str | None:
        """The code under which `write` leaves an object out, None when it writes it; `keeps` is what `keeps` gave."""
        if annotation.mask is None:
            return None if "boxes_without_mask" in keeps else "no-mask-lost"
        return None if "empty_masks" in keeps or annotation.mask.area else "empty-mask-lost"

    def refused(self, record: ImageRecord) -> str | None:
        """Why `capabilities.reader` leaves out an image of a dataset in this format; None when it takes it."""
        return None

    def puts_back(self, shape: Mapping[str, Any]) -> bool:
        """Whether `write` writes a shape of another tool that is no object, of `extra["other_shapes"]`."""
        return False

    def audit(self, categories: Iterable[Category]) -> Audit | None:
        """What finds the losses that a look at one object after another misses; None when there are none."""
        return None

    def needs_images(self, options: Options) -> bool:
        """Whether `write` asks for the image files."""
        return options.images != "none"

    def rendered_mask(self, annotation: Annotation, options: Options) -> Mask | None:
        """The mask that `capabilities.reader` makes of the object as `write` puts it down; None when it is gone."""
        return annotation.mask

    def rendered_ious(self, annotations: Sequence[Annotation], size: Size, options: Options) -> Sequence[float | None]:
        """IoU of the mask of each object of one image with its `rendered_mask`; None where it cannot be measured."""
        return [agreement(one.mask, self.rendered_mask(one, options)) for one in annotations]

    def chosen(self, given: Mapping[str, Any]) -> Options:
        """The options that these values by name make; UsageError for a name that the format does not have."""
        known = [*COMMON, *(one.name for one in described(self.options))]
        for name in given:
            if name not in known:
                takes = ", ".join(one for one in known if one not in COMMON) or "none"
                raise UsageError(f"format {self.name!r} has no option {name!r}; it takes {takes}")
        return self.options(**given)

    def parsed(self, texts: Iterable[str]) -> dict[str, Any]:
        """`NAME=VALUE` texts as values by name; UsageError for those that the format does not have."""
        known = {one.name: one for one in described(self.options)}
        found: dict[str, Any] = {}
        for text in texts:
            key, sign, value = text.partition("=")
            key = key.strip().replace("-", "_")
            if not sign:
                raise UsageError(f"{text!r} is not an option; wanted NAME=VALUE, as samlabel formats lists them")
            if key not in known:
                raise UnknownName(f"option of {self.name}", key, list(known))
            found[key] = known[key].parsed(value)
        return found


def fault_of(one: Format[Any], name: str) -> str | None:
    """What keeps `one` from being the format `name`; None when nothing does."""
    unknown = one.capabilities.keeps - FEATURES.keys()
    if one.name != name:
        return f"calls itself {one.name!r}"
    if unknown:
        return f"keeps {', '.join(sorted(unknown))}, which is none of {', '.join(FEATURES)}"
    silent = [info.name for info in described(one.options) if not info.help or info.kind not in KINDS]
    if silent:
        return f"has options without a help text or of an unknown type: {', '.join(silent)}"
    return None
