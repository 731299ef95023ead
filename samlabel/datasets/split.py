"""A dataset divided into parts: the same for the same seed, classes spread evenly, like photos kept together."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import UsageError
from ..types import Dataset, ImageRecord
from .likeness import groups_of_like, picture_hash
from .records import Records


@dataclass(frozen=True)
class Plan:
    """Which part each image goes to, and how many groups of like photos kept together."""

    part_of: Mapping[str, str]
    groups: int  # of two photos or more
    grouped: int  # photos in them
    compared: int  # photos whose picture could be hashed

    def counts(self) -> dict[str, int]:
        return dict(Counter(self.part_of.values()))


def plan(dataset: Dataset, shares: Mapping[str, float], *, seed: int = 0, image_root: Path | None = None) -> Plan:
    """Divide the images of `dataset` into parts of these shares, by one pass over its records.

    Groups of like photos (see `likeness`) stay in one part; pictures are looked for in `image_root`, or the
    dataset's own. Images of the rarest class are dealt out first, each group to the part that wants most of that class
    (iterative stratification, Sechidis et al. 2011); chance decides the order, by `seed` and the paths alone.
    """
    check_shares(shares)
    files = dataset.images_in(image_root)
    classes: dict[str, Counter[int]] = {}
    hashes: dict[str, int | None] = {}
    for record in dataset.records:
        classes[record.path] = Counter(a.category_id for a in record.annotations)
        hashes[record.path] = picture_hash(files.find(record.path)) if files.root is not None else None
    groups = groups_of_like(hashes)
    part_of = _deal(groups, classes, shares, seed)
    joined = [group for group in groups if len(group) > 1]
    compared = sum(value is not None for value in hashes.values())
    return Plan({path: part_of[path] for path in classes}, len(joined), sum(map(len, joined)), compared)


def check_shares(shares: Mapping[str, float]) -> None:
    """UsageError unless two parts or more have shares above 0 that make 1."""
    if len(shares) < 2:
        raise UsageError("a split needs two parts or more, for example train=0.8 and val=0.2")
    for name, share in shares.items():
        if not name or "/" in name or "\\" in name or name.startswith("."):
            raise UsageError(f"{name!r} is no name for a part; wanted a plain folder name")
        if not 0 < share < 1:
            raise UsageError(f"the share of {name} is {share:g}; wanted a number between 0 and 1")
    if abs(sum(shares.values()) - 1) > 1e-6:
        raise UsageError(f"the shares make {sum(shares.values()):g}; wanted 1")


def _deal(
    groups: list[list[str]], classes: Mapping[str, Counter[int]], shares: Mapping[str, float], seed: int
) -> dict[str, str]:
    totals: Counter[int] = Counter()
    for count in classes.values():
        totals.update(count)

    def chance(group: list[str]) -> bytes:
        return hashlib.sha256(f"{seed}\0{min(group)}".encode("utf-8", "surrogatepass")).digest()

    def rarest(group: list[str]) -> int:
        return min((totals[c] for path in group for c in classes[path]), default=sum(totals.values()) + 1)

    parts = list(shares)
    wanted = {part: {c: shares[part] * count for c, count in totals.items()} for part in parts}
    room = {part: shares[part] * len(classes) for part in parts}
    part_of: dict[str, str] = {}
    for group in sorted(groups, key=lambda g: (rarest(g), -len(g), chance(g))):
        counts: Counter[int] = Counter()
        for path in group:
            counts.update(classes[path])

        rare = min(counts, key=lambda c: (totals[c], c), default=None)

        def lack(part: str, rare: int | None = rare, many: int = len(group)) -> tuple[bool, float, float]:
            """Room for the group first, then how many objects of its rarest class the part still wants."""
            return (room[part] >= many / 2, wanted[part][rare] if rare is not None else 0.0, room[part])

        best = max(parts, key=lack)
        for c, n in counts.items():
            wanted[best][c] -= n
        room[best] -= len(group)
        part_of.update(dict.fromkeys(group, best))
    return part_of


def take(dataset: Dataset, part_of: Mapping[str, str], part: str) -> Dataset:
    """Those records of the dataset that a plan gave to `part`."""

    def records() -> Iterator[ImageRecord]:
        return (record for record in dataset.records if part_of.get(record.path) == part)

    return replace(dataset, records=Records(records))
