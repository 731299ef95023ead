"""The objects of one image in columns: what detectors, segmenters and the stages of a run pass on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import chain
from types import MappingProxyType
from typing import Any

import numpy as np

from .types import Annotation, Box, Mask

FloatArray = np.ndarray[Any, np.dtype[np.floating[Any]]]
IntArray = np.ndarray[Any, np.dtype[np.int64]]
Points = tuple[tuple[float, float], ...]

_NOTHING: Mapping[str, Sequence[Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Objects:
    """N objects of one image; a row is an object, and None says that a column is not known.

    Coordinates are pixels of the upright image, boxes `(x0, y0, x1, y1)`. Arrays are copied and made read-only.
    Raises ValueError where columns differ in length.
    """

    boxes: FloatArray  # (N, 4) float32
    category_ids: IntArray  # (N,)
    scores: FloatArray | None = None  # (N,) float64, the detector's
    masks: tuple[Mask | None, ...] | None = None  # (N,), None in the place of a mask that is still to be made
    predicted_ious: FloatArray | None = None  # (N,) float64, the segmenter's estimate of its mask
    stability_scores: FloatArray | None = None  # (N,) float64
    prompt_boxes: FloatArray | None = None  # (N, 4) the boxes that prompted the masks
    point_coords: tuple[Points, ...] | None = None  # (N,) the points that prompted the masks
    crop_boxes: FloatArray | None = None  # (N, 4) the crops that the masks were predicted in
    sources: tuple[str | None, ...] | None = None  # (N,) the models that made them
    crowds: np.ndarray[Any, np.dtype[np.bool_]] | None = None  # (N,)
    row_ids: IntArray = None  # type: ignore[assignment]  # (N,) stay with an object; 0, 1, ... at first
    extra: Mapping[str, Sequence[Any]] = field(default_factory=lambda: _NOTHING)  # further columns, by name

    def __post_init__(self) -> None:
        boxes = np.array(self.boxes, dtype=np.float32).reshape(-1, 4)
        count = len(boxes)
        columns: dict[str, Any] = {
            "boxes": boxes,
            "category_ids": np.array(self.category_ids, dtype=np.int64).reshape(-1),
            "row_ids": np.arange(count) if self.row_ids is None else np.array(self.row_ids, dtype=np.int64).reshape(-1),
        }
        for name in ("scores", "predicted_ious", "stability_scores"):
            if (column := getattr(self, name)) is not None:
                columns[name] = np.array(column, dtype=np.float64).reshape(-1)
        for name in ("prompt_boxes", "crop_boxes"):
            if (column := getattr(self, name)) is not None:
                columns[name] = np.array(column, dtype=np.float64).reshape(-1, 4)
        if self.crowds is not None:
            columns["crowds"] = np.array(self.crowds, dtype=bool).reshape(-1)
        for name in ("masks", "point_coords", "sources"):
            if (column := getattr(self, name)) is not None:
                columns[name] = tuple(column)
        wrong = {name: len(column) for name, column in chain(columns.items(), self.extra.items())}
        wrong = {name: length for name, length in wrong.items() if length != count}
        if wrong:
            told = ", ".join(f"{length} {name}" for name, length in wrong.items())
            raise ValueError(f"{count} boxes, but {told}; expected as many of each")
        for name, column in columns.items():
            if isinstance(column, np.ndarray):
                column.flags.writeable = False
            object.__setattr__(self, name, column)

    def __len__(self) -> int:
        return len(self.boxes)

    @classmethod
    def empty(cls) -> Objects:
        """No objects."""
        return cls(boxes=np.zeros((0, 4)), category_ids=np.zeros(0, np.int64), scores=np.zeros(0))

    @classmethod
    def of(cls, annotations: Iterable[Annotation]) -> Objects:
        """The same objects as annotations, whose ids and area are left out."""
        rows = tuple(annotations)

        def column(name: str) -> tuple[Any, ...] | None:
            values = tuple(getattr(row, name) for row in rows)
            return None if all(value is None for value in values) else values

        def numbers(name: str, missing: Any) -> Any:
            values = column(name)
            return None if values is None else np.array([missing if one is None else one for one in values])

        nowhere = (np.nan,) * 4
        return cls(
            boxes=np.array([row.box for row in rows]),
            category_ids=np.array([row.category_id for row in rows]),
            scores=numbers("score", np.nan),
            masks=column("mask"),
            predicted_ious=numbers("predicted_iou", np.nan),
            stability_scores=numbers("stability_score", np.nan),
            prompt_boxes=numbers("prompt_box", nowhere),
            point_coords=tuple(row.point_coords for row in rows) if any(row.point_coords for row in rows) else None,
            crop_boxes=numbers("crop_box", nowhere),
            sources=column("source"),
            crowds=np.array([row.iscrowd for row in rows]) if any(row.iscrowd for row in rows) else None,
            extra={name: tuple(row.extra.get(name) for row in rows) for row in rows for name in row.extra},
        )

    def annotations(self) -> tuple[Annotation, ...]:
        """One annotation a row, in order."""
        count = len(self)
        nothing = (None,) * count
        rows = zip(
            self.category_ids.tolist(),
            map(tuple, self.boxes.tolist()),
            self.masks or nothing,
            _values(self.scores) or nothing,
            _values(self.predicted_ious) or nothing,
            _values(self.stability_scores) or nothing,
            (False,) * count if self.crowds is None else self.crowds.tolist(),
            self.sources or nothing,
            _boxes(self.prompt_boxes) or nothing,
            self.point_coords or ((),) * count,
            _boxes(self.crop_boxes) or nothing,
            self._extras(),
            strict=True,
        )
        return tuple(
            Annotation(category, box, mask, score, iou, stability, crowd, source, prompt, points, crop, extra=extra)
            for category, box, mask, score, iou, stability, crowd, source, prompt, points, crop, extra in rows
        )

    def _extras(self) -> Iterable[Mapping[str, Any]]:
        for place in range(len(self)):
            found = {name: column[place] for name, column in self.extra.items()}
            yield {name: value for name, value in found.items() if value is not None} if found else _NOTHING

    def take(self, rows: Any) -> Objects:
        """The rows at these places, or those where a boolean array is set, in the order given."""
        places = np.asarray(rows)
        if places.dtype == bool:
            places = np.flatnonzero(places)
        places = places.astype(np.int64).reshape(-1)
        listed = places.tolist()

        def chosen(column: Any) -> Any:
            if column is None:
                return None
            return column[places] if isinstance(column, np.ndarray) else tuple(column[place] for place in listed)

        columns = {one.name: chosen(getattr(self, one.name)) for one in fields(self) if one.name != "extra"}
        return Objects(**columns, extra={name: chosen(column) for name, column in self.extra.items()})

    def in_order_of(self, row_ids: IntArray) -> Objects | None:
        """The same rows in the order of `row_ids`; None where those are not just these rows."""
        if np.array_equal(self.row_ids, row_ids):
            return self
        places = {row: place for place, row in enumerate(self.row_ids.tolist())}
        wanted = row_ids.tolist()
        if len(places) != len(self) or len(wanted) != len(self) or set(places) != set(wanted):
            return None
        return self.take([places[row] for row in wanted])


def _values(column: FloatArray | None) -> list[float | None] | None:
    """Numbers of a column, None for those that are not known."""
    return None if column is None else [None if value != value else value for value in column.tolist()]


def _boxes(column: FloatArray | None) -> list[Box | None] | None:
    if column is None:
        return None
    return [None if x0 != x0 else (x0, y0, x1, y1) for x0, y0, x1, y1 in column.tolist()]
