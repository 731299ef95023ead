"""How many points a polygon may have."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from samlabel.errors import UsageError


@dataclass(frozen=True)
class Budget:
    """Most points of a polygon, and how far in pixels a corner may lie off a simplified outline that drops it."""

    max_points: int | None = None
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        if self.max_points is not None and self.max_points < 4:
            raise UsageError(f"max_points (--max-points) is {self.max_points}; a polygon needs 4 or more")
        if not isfinite(self.tolerance) or self.tolerance < 0:
            raise UsageError(f"tolerance (--tolerance) is {self.tolerance}; wanted 0 pixels or more")

    @property
    def is_set(self) -> bool:
        return self.max_points is not None or self.tolerance > 0

    def is_exceeded(self, points: int) -> bool:
        return self.max_points is not None and points > self.max_points
