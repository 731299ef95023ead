"""A detector's classes under the names of the user's own taxonomy."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..datasets.classes import read_class_map, renamed
from ..errors import UsageError
from ..objects import Objects
from ..protocols import Detector, Image, PairsWithImages
from ..types import Category


@dataclass(frozen=True, slots=True)
class ClassMap:
    """New class names by the detector's own; None leaves a class out.

    With `whole`, the map is the whole taxonomy: classes that it does not name are left out, and category ids count
    from 1 in the order in which the new names come first. Without it, classes that it does not name stay, and every
    class keeps its id; classes that become one take the lowest of theirs.
    """

    names: Mapping[str, str | None]
    whole: bool

    @classmethod
    def of(
        cls, class_map: str | os.PathLike[str] | Mapping[str, str | None] | None, rename: Sequence[str] = ()
    ) -> ClassMap | None:
        """The map of a file or mapping and of `OLD=NEW` texts, which win; None where neither is given.

        Raises UsageError or FormatError for a file that is no class map and for a text without `=`.
        """
        names = dict(class_map) if isinstance(class_map, Mapping) else {}
        file = None if class_map is None or isinstance(class_map, Mapping) else Path(class_map)
        names.update(read_class_map(file, rename))
        if not names and class_map is None:
            return None
        return cls(names, whole=class_map is not None)

    def categories(self, known: Sequence[Category]) -> dict[int, Category]:
        """The new category of each of the detector's category ids that stays.

        Raises UnknownName for an old name that no class has, UsageError where no class stays.
        """
        what = "class of the detector"
        if self.whole:
            taxonomy = dict.fromkeys(new for new in self.names.values() if new is not None)
            made = {new: Category(number, new) for number, new in enumerate(taxonomy, start=1)}
            left_out = {one.name: None for one in known if one.name not in self.names}
            found = renamed(known, {**self.names, **left_out}, what=what, made=made)
        else:
            found = renamed(known, self.names, what=what)
        if not found:
            raise UsageError("the class map leaves every class out; expected at least one pair OLD: NEW")
        return found


class MappedDetector:
    """A detector that gives its boxes the classes of a `ClassMap`; boxes of classes left out do not come."""

    def __init__(self, detector: Detector, class_map: ClassMap) -> None:
        self._detector = detector
        self._new = class_map.categories(detector.info.categories)
        self.info = replace(detector.info, categories=tuple(sorted(set(self._new.values()), key=lambda one: one.id)))

    def detect(self, images: Sequence[Image]) -> list[Objects]:
        """One `Objects` an image, in the same order."""
        return [self._mapped(found) for found in self._detector.detect(images)]

    def _mapped(self, found: Objects) -> Objects:
        stay = np.isin(found.category_ids, list(self._new))
        ids = [self._new[int(old)].id for old in found.category_ids[stay]]
        return replace(found.take(stay), category_ids=np.array(ids, dtype=np.int64))

    def expect(self, paths: Sequence[str]) -> None:
        """As the detector within does."""
        if isinstance(self._detector, PairsWithImages):
            self._detector.expect(paths)

    def remarks(self) -> list[str]:
        """What the detector within says after the run."""
        return self._detector.remarks() if isinstance(self._detector, PairsWithImages) else []
