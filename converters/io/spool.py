"""Objects of a large file put aside, to be had again image by image."""

from __future__ import annotations

import marshal
import os
import tempfile
import weakref
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from converters.fields.values import id_of
from converters.lenient import Lenient, broken
from samlabel.errors import naming, shown

SPOOL_MEMORY = 16 << 20  # objects of small files stay in memory; above that they go to a temporary file
MUCH = 24 << 20  # bytes of objects that are worth a second process
BEGINNING = 8 << 20  # bytes that one process has done when another has begun
FAR = 2**62  # stands for an id that is no whole number of this reach


class Spool:
    """Objects by image, in the order of the file; in memory while small, else in a temporary file."""

    def __init__(self) -> None:
        self._data = tempfile.SpooledTemporaryFile(  # noqa: SIM115  # lives as long as the spool, and is closed below
            max_size=SPOOL_MEMORY, buffering=1 << 18
        )
        self._release = weakref.finalize(self, self._data.close)
        self._images: dict[Any, int] = {}  # image id -> its number here, by first use
        self._owner = array("q")  # of each run of objects
        self._counts = array("q")
        self._masks = array("q")  # how many of them have one
        self._offsets = array("q", [0])
        self._pending: list[bytes] = []
        self._pending_size = 0
        self.ids = array("q")  # of each object, FAR for those in `_texts`
        self._texts: dict[Any, int] = {}  # ids of text -> place of their first object
        self._doubles: list[int] = []
        self._repeated: dict[int, set[int]] = {}  # run -> places in it of objects whose id came before

    def odd_id(self, key: Any) -> None:
        """The object whose id was added last has this id of text, or None."""
        if key is not None and self._texts.setdefault(key, len(self.ids) - 1) != len(self.ids) - 1:
            self._doubles.append(len(self.ids) - 1)

    def add(self, image: Any, run: list[dict[str, Any]]) -> None:
        data = marshal.dumps(run)
        self._owner.append(self._images.setdefault(image, len(self._images)))
        self._counts.append(len(run))
        self._masks.append(sum([bool(entry.get("segmentation")) for entry in run]))
        self._offsets.append(self._offsets[-1] + len(data))
        self._pending.append(data)
        self._pending_size += len(data)
        if self._pending_size > 1 << 20:
            self._flush()

    def _flush(self) -> None:
        with naming(tempfile.gettempdir()):
            self._data.write(b"".join(self._pending))
        self._pending, self._pending_size = [], 0

    def close_entries(self, places: dict[Any, int], file: Path, lenient: Lenient | None) -> None:
        """Sort by image, each image's objects in the order of the file; the later ones of an id lose it."""
        self._flush()
        owners = np.array(self._owner, dtype=np.int64)
        self._find_repeated()
        place = np.array([places.get(image, -1) for image in self._images], dtype=np.int64)
        at = place[owners] if len(owners) else owners
        for number in np.flatnonzero(at < 0).tolist():
            for entry in self._run(number):
                where = f"{file}: annotation {shown(id_of(entry.get('id')))}"
                error = broken("no-image", f"{where} is on image {shown(entry.get('image_id'))}, which is not listed")
                if lenient is None:
                    raise error
                lenient.note("no-image", error)
        order = np.argsort(at, kind="stable")
        self._order = order[at[order] >= 0]
        self._bounds = np.searchsorted(at[self._order], np.arange(len(places) + 1))

    def _find_repeated(self) -> None:
        ids = np.array(self.ids, dtype=np.int64)
        order = np.argsort(ids, kind="stable")
        again = order[1:][(ids[order[1:]] == ids[order[:-1]]) & (ids[order[1:]] != FAR)]  # later ones of the same id
        starts = np.cumsum(self._counts) - self._counts if len(self._counts) else np.zeros(1, np.int64)
        for place in [*again.tolist(), *self._doubles]:
            run = int(np.searchsorted(starts, place, side="right")) - 1
            self._repeated.setdefault(run, set()).add(place - int(starts[run]))

    def _run(self, number: int) -> list[dict[str, Any]]:
        self._data.seek(self._offsets[number])
        run: list[dict[str, Any]] = marshal.loads(self._data.read(self._offsets[number + 1] - self._offsets[number]))
        for place in self._repeated.get(number, ()):
            run[place]["id"] = None
        return run

    def of_image(self, place: int) -> list[dict[str, Any]]:
        """The objects of the image at `place` of the sorted names."""
        runs = self._order[self._bounds[place] : self._bounds[place + 1]].tolist()
        if len(runs) == 1:
            return self._run(runs[0])
        return [entry for number in runs for entry in self._run(number)]

    def repeated(self, place: int) -> int:
        """How many objects of that image have an id that came before."""
        if not self._repeated:
            return 0
        runs = self._order[self._bounds[place] : self._bounds[place + 1]].tolist()
        return sum(len(self._repeated.get(number, ())) for number in runs)

    def divided(self, count: int) -> list[tuple[slice, int, SpoolPart]]:
        """The images in at most `count` parts of about as much work, each with how many masks come before it.

        None where they are few, or some share an id.
        """
        size = self._offsets[-1]
        if size < MUCH or self._repeated:
            return []
        self._data.flush()
        offsets, masks = np.array(self._offsets), np.array(self._masks)[self._order]
        lows, highs = offsets[:-1][self._order], offsets[1:][self._order]
        done = np.concatenate(([0], np.cumsum(highs - lows)))[self._bounds[1:]]  # bytes of each image and those before
        share = (size - BEGINNING) / count
        cuts = np.searchsorted(done, [BEGINNING + share * number for number in range(1, count)]).tolist()
        parts = []
        for start, stop in zip([0, *cuts], [*cuts, len(done)], strict=True):
            runs = slice(self._bounds[start], self._bounds[stop])
            bounds = self._bounds[start : stop + 1] - self._bounds[start]
            part = SpoolPart(self._data.fileno(), lows[runs], highs[runs], bounds)
            parts.append((slice(start, stop), int(masks[: runs.start].sum()), part))
        return parts


@dataclass(frozen=True)
class SpoolPart:
    """Objects of images that follow one another, in the file of a spool that another process may have opened."""

    file: int
    lows: np.ndarray  # of each run of objects
    highs: np.ndarray
    bounds: np.ndarray  # of the runs of each image

    def repeated(self, place: int) -> int:
        """None: a spool where ids are repeated is not divided."""
        return 0

    def of_image(self, place: int) -> list[dict[str, Any]]:
        """The objects of the image at `place` of this part."""
        found: list[dict[str, Any]] = []
        for number in range(self.bounds[place], self.bounds[place + 1]):
            low, high = int(self.lows[number]), int(self.highs[number])
            found += marshal.loads(os.pread(self.file, high - low, low))
        return found
