"""Records of a dataset that are read when they are iterated."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator

from samlabel.types import ImageRecord

from .io.folders import Once
from .lenient import Lenient, passing_over
from .parallel import Part


class RecordStream(Part):
    """The records of a dataset, read one after another and from the start each time.

    A reader subclasses it as a dataclass. With `lenient`, a record that ends in a FormatError is left out and counted
    under its code, or under "bad-image" if it has none.
    """

    lenient: Lenient | None

    @abstractmethod
    def makes(self, once: Once) -> Iterator[Callable[[], ImageRecord]]:
        """For each record what reads it; `once.check` refuses an image that has come before."""

    def __iter__(self) -> Iterator[ImageRecord]:
        if self.lenient is not None:
            self.lenient.restart()
        yield from passing_over(self.makes(Once()), self.lenient, "bad-image")
