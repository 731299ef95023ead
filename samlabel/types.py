"""The values that travel from a detector to a label file.

One `Annotation` carries one object: its box, category, mask and scores stay together, so nothing
is ever matched up by position. Everything here is immutable and checked when it is made.

Coordinates are pixels of the upright image (EXIF orientation applied); a box is
`(x0, y0, x1, y1)`, half-open, float. `size` is `(height, width)`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from .image_files import NOTHING_EXPECTED, Expected, ImageFiles
from .reach import Reach

if TYPE_CHECKING:
    from collections.abc import Sequence

Box = tuple[float, float, float, float]
Size = tuple[int, int]

GIANT = 2**29  # pixels from which on pycocotools 2.0.11 misreads its own numbers, of seven letters then

_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Mask:
    """A binary mask as COCO compressed RLE: exact, small, measured without pixels.

    `counts` are the bytes pycocotools writes (column-major runs, first run is background).
    https://github.com/cocodataset/cocoapi/blob/master/common/maskApi.h
    """

    size: Size
    counts: bytes

    def __post_init__(self) -> None:
        height, width = self.size
        if height <= 0 or width <= 0:
            raise ValueError(f"mask size {self.size} is not (height, width), both above 0")
        if not isinstance(self.counts, bytes):
            raise TypeError(f"mask counts are {type(self.counts).__name__}, wanted bytes")

    @classmethod
    def from_pixels(cls, pixels: np.ndarray) -> Mask:
        """The mask of an (H, W) array, every non-zero element inside."""
        from pycocotools import mask as coco

        if pixels.ndim != 2:
            raise ValueError(f"mask pixels have shape {pixels.shape}, wanted (H, W)")
        rle = coco.encode(np.asfortranarray(pixels.astype(bool), dtype=np.uint8))
        return cls((int(rle["size"][0]), int(rle["size"][1])), rle["counts"])

    @classmethod
    def from_polygons(cls, polygons: Sequence[Sequence[float]], size: Size) -> Mask:
        """The union of flat `x0 y0 x1 y1 ...` polygons, rasterised by pycocotools' rule."""
        from .geometry import polygons_to_mask

        return polygons_to_mask(polygons, size)

    def to_pixels(self) -> np.ndarray:
        """A boolean (H, W) array."""
        from pycocotools import mask as coco

        height, width = self.size
        if height * width >= GIANT:
            from .geometry import mask_window

            return mask_window(self, (0, 0, width, height))
        pixels: np.ndarray = coco.decode(self.to_rle()).astype(bool)
        return pixels

    def to_polygons(self) -> list[list[float]]:
        """Pixel-edge polygons, one per part, holes joined by zero-width seams.

        Rasterised by pycocotools they give this very mask back, bit for bit.
        """
        from .geometry import mask_to_polygons

        return mask_to_polygons(self)

    def to_rle(self) -> dict[str, Any]:
        """`{"size": [h, w], "counts": bytes}`, as pycocotools takes it."""
        return {"size": list(self.size), "counts": self.counts}

    @property
    def area(self) -> int:
        """Number of pixels inside."""
        from pycocotools import mask as coco

        if self.size[0] * self.size[1] >= GIANT:
            from .geometry import mask_runs

            return int(mask_runs(self)[1::2].sum())
        return int(coco.area(self.to_rle()))

    @property
    def box(self) -> Box:
        """The tight half-open box; all zeros when the mask is empty."""
        from pycocotools import mask as coco

        if self.size[0] * self.size[1] >= GIANT:
            from .geometry import mask_box

            return mask_box(self)
        x, y, width, height = (float(v) for v in coco.toBbox(self.to_rle()))
        return (x, y, x + width, y + height)

    def iou(self, other: Mask) -> float:
        """Intersection over union with a mask of the same size, from runs alone; 0 for two empty masks."""
        from pycocotools import mask as coco

        if self.size != other.size:
            raise ValueError(f"masks of size {self.size} and {other.size} cannot be compared")
        if self.size[0] * self.size[1] >= GIANT:
            from .geometry import mask_iou

            return mask_iou(self, other)
        return float(coco.iou([self.to_rle()], [other.to_rle()], [0])[0, 0])


@dataclass(frozen=True, slots=True)
class Category:
    """A class of objects; `id` is the dataset's own number, gaps allowed."""

    id: int
    name: str
    supercategory: str | None = None
    extra: Mapping[str, Any] = field(default_factory=lambda: _NOTHING, hash=False)  # a skeleton, say


@dataclass(frozen=True, slots=True)
class Annotation:
    """One object. `score` is the detector's; `predicted_iou` and `stability_score` judge the mask."""

    category_id: int
    box: Box
    mask: Mask | None = None
    score: float | None = None
    predicted_iou: float | None = None
    stability_score: float | None = None
    iscrowd: bool = False
    source: str | None = None  # the model or person that made it, e.g. "nano+nano" or "human"
    prompt_box: Box | None = None  # the box that prompted the mask, when one did
    point_coords: tuple[tuple[float, float], ...] = ()  # the points that prompted the mask
    crop_box: Box | None = None  # the crop that the mask was predicted in, XYXY
    id: int | None = None  # the id it had in the file it came from
    extra: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)  # fields we carry without reading
    area: float | None = field(default=None, compare=False)  # as its file gave it: a polygon's, say, not its pixels'

    def __post_init__(self) -> None:
        box: tuple[float, ...] = self.box
        if type(box) is tuple and len(box) == 4:
            x0, y0, x1, y1 = box
            # As of most objects, and a tenth of a conversion's time is spent on making them.
            if type(x0) is type(y0) is type(x1) is type(y1) is float and isfinite(x0 + y0 + x1 + y1):
                return
        box = tuple(map(float, box))
        if len(box) != 4 or not all(map(isfinite, box)):
            raise ValueError(f"box {self.box} is not four finite numbers x0 y0 x1 y1")
        object.__setattr__(self, "box", box)


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image and its objects. No annotations means a real negative."""

    path: str  # POSIX, relative to the dataset's image root
    size: Size
    annotations: tuple[Annotation, ...] = ()
    id: int | None = None  # the id it had in the file it came from
    extra: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    left_out: Mapping[str, int] = field(default_factory=lambda: _NOTHING)  # by the reader: loss code -> how many

    def __post_init__(self) -> None:
        object.__setattr__(self, "annotations", tuple(self.annotations))
        path = PurePosixPath(self.path)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"image path {self.path!r} leaves the dataset; it must be relative, without '..'")
        for annotation in self.annotations:
            if annotation.mask is not None and annotation.mask.size != tuple(self.size):
                raise ValueError(f"{self.path}: a mask of size {annotation.mask.size} on an image of size {self.size}")


@dataclass(frozen=True, slots=True)
class Dataset:
    """Categories and a stream of records; iterate `records` once, or give an iterable that restarts."""

    categories: tuple[Category, ...]
    records: Iterable[ImageRecord]
    image_root: Path | None = None  # where `ImageRecord.path` starts; None when the images are unknown
    extra: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    reach: Reach | None = None  # where its image files may lie; None is in `image_root` alone
    expected: Mapping[str, Expected] = field(default_factory=lambda: NOTHING_EXPECTED)  # by the path of a record

    def images_in(self, folder: Path | None = None) -> ImageFiles:
        """The image files in `folder`, or where the dataset says; each is asked for by the path of its record."""
        root = folder or self.image_root
        reach = self.reach if self.reach is not None else Reach().plus(self.image_root)
        return ImageFiles(root, reach if folder is None else reach.plus(folder), self.expected)
