"""Every option with its default."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import UsageError

WEAK_SCORE = 0.55  # objects of a lower detector score are often wrong: of nano's about four in ten


def _fraction(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise UsageError(f"{name} is {value}; wanted a number from 0 to 1")


def _whole(name: str, value: int, *, lowest: int) -> None:
    if value != int(value) or value < lowest:
        raise UsageError(f"{name} is {value}; wanted a whole number of at least {lowest}")


@dataclass(frozen=True, slots=True)
class Detecting:
    """What a detector is asked for."""

    conf: float | None = None  # lowest score of a box; None is the detector's own: 0.25, nano's 0.48
    iou: float | None = None  # boxes that overlap more are one object; None is the detector's own: 0.7, nano's 0.5
    imgsz: int = 640  # longest side that the detector looks at, in pixels
    max_det: int = 300  # most boxes an image

    def __post_init__(self) -> None:
        for name, value in (("conf", self.conf), ("iou", self.iou)):
            if value is not None:
                _fraction(name, value)
        _whole("imgsz", self.imgsz, lowest=1)
        _whole("max_det", self.max_det, lowest=1)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What a mask must reach to become a label; the defaults drop empty masks only."""

    pred_iou_thresh: float = 0.0
    stability_score_thresh: float = 0.0
    min_area: int = 1  # pixels

    def __post_init__(self) -> None:
        _fraction("pred_iou_thresh", self.pred_iou_thresh)
        _fraction("stability_score_thresh", self.stability_score_thresh)
        _whole("min_area", self.min_area, lowest=0)


@dataclass(frozen=True, slots=True)
class Grid:
    """How the automatic mask generator works when there is no detector; Segment Anything's own defaults.

    https://github.com/facebookresearch/segment-anything/blob/main/segment_anything/automatic_mask_generator.py
    """

    points_per_side: int = 32
    points_per_batch: int = 64
    pred_iou_thresh: float | None = None  # None is the variant's own: 0.88 for Segment Anything's
    stability_score_thresh: float | None = None  # likewise: 0.95
    stability_score_offset: float = 1.0
    box_nms_thresh: float = 0.7
    crop_n_layers: int = 0
    crop_nms_thresh: float = 0.7
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: int = 1
    min_mask_region_area: int = 0
    mask_nms_thresh: float = 1.0  # from here on beyond the original, and off
    containment_thresh: float = 1.0
    max_image_share: float = 1.0
    max_border_share: float = 1.0
    max_masks: int | None = None

    def __post_init__(self) -> None:
        for name in ("points_per_side", "points_per_batch", "crop_n_points_downscale_factor"):
            _whole(name, getattr(self, name), lowest=1)
        for name in ("crop_n_layers", "min_mask_region_area"):
            _whole(name, getattr(self, name), lowest=0)
        if self.max_masks is not None:
            _whole("max_masks", self.max_masks, lowest=1)
        for name in (
            "pred_iou_thresh",
            "stability_score_thresh",
            "box_nms_thresh",
            "crop_nms_thresh",
            "crop_overlap_ratio",
            "mask_nms_thresh",
            "containment_thresh",
            "max_image_share",
            "max_border_share",
        ):
            if getattr(self, name) is not None:
                _fraction(name, getattr(self, name))


# What the help says of thresholds that each SAM variant brings itself; looking them up would load torch.
OWN = {
    "pred_iou_thresh": "the variant's own, 0.88 but for nano",
    "stability_score_thresh": "its own, 0.95 but for nano",
}
DETECTING, THRESHOLDS, GRID = Detecting(), Thresholds(), Grid()  # the defaults, for signatures and help
