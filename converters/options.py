"""How a format is read and written: its options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from samlabel.option_info import OptionInfo, Options, option, options_of
from samlabel.reach import Reach

from .lenient import Lenient

__all__ = ["COMMON", "KINDS", "FormatOptions", "ImageMode", "OptionInfo", "ReadOptions", "described", "option"]

ImageMode = Literal["copy", "hardlink", "symlink", "none"]
COMMON = ("overwrite", "images")
KINDS = ("bool", "int", "float", "str")  # of the options of a format


@dataclass(frozen=True, kw_only=True)
class FormatOptions(Options):
    """How a dataset is written. A format with more to choose subclasses it; each further field is made by `option`.

    A field is a bool, an int, a float, a str or a Literal of words, or one of these or None. Words outside a Literal
    are a UsageError; `__post_init__` of a subclass may refuse more, after it has called this one.
    """

    overwrite: bool = option(False, "replace labels that are there; without it they are an OutputExists")
    images: ImageMode = option("none", "how image files are placed beside the labels", named="way to place images")


def described(options: type[FormatOptions]) -> tuple[OptionInfo, ...]:
    """The fields of `options` that it adds to FormatOptions."""
    return tuple(one for one in options_of(options) if one.name not in COMMON)


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
