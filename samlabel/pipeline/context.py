"""What the stages of a run share about one image, and what comes out of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..file_state import State
from ..types import ImageRecord


@dataclass(frozen=True, slots=True)
class Labeled:
    """One finished image: its record, the file it was made from, and what was dropped on the way."""

    record: ImageRecord
    sha256: str
    stat: State  # of the file before it was read
    dropped: Mapping[str, int] = field(default_factory=dict)
