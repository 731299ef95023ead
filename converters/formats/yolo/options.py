"""How YOLO labels are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from converters.fields.simplify import Budget
from converters.options import FormatOptions, ImageMode, option


@dataclass(frozen=True, kw_only=True)
class YoloOptions(FormatOptions):
    images: ImageMode = "copy"
    crowds: Literal["keep", "drop"] = option("keep", "as ordinary objects, or not at all")
    outline: Literal["traced", "given"] = option(
        "given", "so that ultralytics fills the mask's own pixels, or polygons as they came"
    )
    max_points: int | None = option(None, "most points of a row")
    tolerance: float = option(0.0, "pixels that a polygon may leave the outline")

    def __post_init__(self) -> None:
        super().__post_init__()
        Budget(self.max_points, self.tolerance)  # a UsageError for what cannot be

    @property
    def budget(self) -> Budget:
        return Budget(self.max_points, self.tolerance)
