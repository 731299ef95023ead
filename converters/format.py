"""What a label format is: one class that reads, writes and says what it can hold."""

from __future__ import annotations

import types
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar, Union, get_args, get_origin, get_type_hints

from samlabel.errors import UnknownName, UsageError
from samlabel.reach import Reach
from samlabel.types import Annotation, Category, Dataset, ImageRecord, Mask, Size

from .features import FEATURES
from .lenient import Lenient

T = TypeVar("T")
ImageMode = Literal["copy", "hardlink", "symlink", "none"]


def option(default: T, help: str) -> T:
    """A field of a subclass of FormatOptions: its default, and the line that `samlabel formats` shows of it."""
    made: T = field(default=default, metadata={"help": help})
    return made


@dataclass(frozen=True, kw_only=True)
class FormatOptions:
    """How a dataset is written. A format with more to choose subclasses it; each further field is made by `option`.

    A field is a bool, an int, a float, a str or a Literal of words, or one of these or None. Words outside a Literal
    are a UsageError; `__post_init__` of a subclass may refuse more, after it has called this one.
    """

    overwrite: bool = False  # replace labels that are there; without it they are an OutputExists
    images: ImageMode = "none"  # how image files are placed beside the labels

    def __post_init__(self) -> None:
        for one in described(type(self), every=True):
            value = getattr(self, one.name)
            if one.choices and value not in one.choices and not (value is None and one.optional):
                what = "way to place images" if one.name == "images" else one.name
                raise UsageError(f"unknown {what} {value!r}; known: {', '.join(one.choices)}")


@dataclass(frozen=True)
class OptionInfo:
    """A field of a format's options."""

    name: str
    kind: str  # bool, int, float or str
    default: Any
    help: str
    choices: tuple[str, ...] = ()  # the words that it may be
    optional: bool = False  # whether it may be None

    def parsed(self, text: str) -> Any:
        """The value that `text` means; UsageError for one that does not fit."""
        if self.choices and text not in self.choices:
            raise UnknownName(f"value of {self.name}", text, list(self.choices))
        try:
            return _PARSERS[self.kind](text.strip() if self.kind != "str" else text)
        except (KeyError, ValueError):
            raise UsageError(f"option {self.name} is {text!r}; wanted {_WANTED[self.kind]}") from None


_PARSERS: Mapping[str, Callable[[str], Any]] = {
    "bool": lambda text: {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[text.lower()],
    "int": int,
    "float": float,
    "str": str,
}
_WANTED = {"bool": "true or false", "int": "a whole number", "float": "a number", "str": "a text"}
_COMMON = ("overwrite", "images")


def described(options: type[FormatOptions], *, every: bool = False) -> tuple[OptionInfo, ...]:
    """The fields of `options` that it adds to FormatOptions, or `every` one."""
    chosen: Any = options  # mypy takes no dataclass for hashable
    return tuple(one for one in _fields_of(chosen) if every or one.name not in _COMMON)


@cache
def _fields_of(options: Any) -> tuple[OptionInfo, ...]:
    kinds = get_type_hints(options)
    return tuple(
        _described(one.name, kinds[one.name], one.default, one.metadata.get("help", "")) for one in fields(options)
    )


def _described(name: str, kind: Any, default: Any, help: str) -> OptionInfo:
    optional = get_origin(kind) in (Union, types.UnionType) and type(None) in get_args(kind)
    if optional:
        (kind,) = [one for one in get_args(kind) if one is not type(None)]
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    return OptionInfo(name, "str" if choices else kind.__name__, default, help, choices, optional)


@dataclass(frozen=True)
class ReadOptions:
    """How a dataset is read.

    `image_root` is the folder that image names start from, where it is not the format's own. With `lenient`, broken
    objects are left out and counted there; without it the first is a FormatError. `reach` says which files may be
    read. `pictures` asks for images that lie inside label files as well: they are in the dataset's `image_root` while
    their record passes by.
    """

    image_root: Path | None = None
    lenient: Lenient | None = None
    reach: Reach | None = None
    pictures: bool = False

    def reach_of(self, path: Path) -> Reach:
        """`reach`, or that of a dataset at `path` that may not be left."""
        return self.reach or Reach.of(path, image_root=self.image_root)


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
    """IoU; 1 for two masks without a pixel, 0 for an object that is gone."""
    if one is None or other is None:
        return 0.0
    if one.counts == other.counts:
        return 1.0
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
        known = [one.name for one in described(self.options, every=True)]
        for name in given:
            if name not in known:
                takes = ", ".join(one for one in known if one not in _COMMON) or "none"
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
    silent = [info.name for info in described(one.options) if not info.help or info.kind not in _PARSERS]
    if silent:
        return f"has options without a help text or of an unknown type: {', '.join(silent)}"
    return None
