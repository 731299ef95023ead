"""Work on whole datasets, one image at a time: count, narrow, rename classes, join, divide.

Each takes a `Dataset` and gives one whose records are read when they are asked for, so that operations chain.
A dataset read with `converters.read(path, lenient=converters.Lenient())` goes through all of them without what is
broken in its files, which is counted there.
"""

from __future__ import annotations

from .classes import read_class_map, rename
from .likeness import groups_of_like, picture_hash
from .merge import merge
from .narrow import Limits, narrow
from .split import Plan, plan, take
from .stats import Stats, collect

__all__ = [
    "Limits",
    "Plan",
    "Stats",
    "collect",
    "groups_of_like",
    "merge",
    "narrow",
    "picture_hash",
    "plan",
    "read_class_map",
    "rename",
    "take",
]
