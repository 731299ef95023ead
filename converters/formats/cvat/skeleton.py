"""Skeletons of CVAT, as COCO's keypoints: x, y and how well each is seen, in the order of the points of its class."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from converters.fields.shapes import number_in
from samlabel.errors import FormatError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

UNSEEN, OCCLUDED, SEEN = 0, 1, 2


def is_placed(shape: Element) -> bool:
    """Whether a shape is a skeleton with a point inside the image, so that it has a box."""
    return shape.tag == "skeleton" and any(point.get("outside") != "1" for point in shape.findall("points"))


def names_of(shape: Element) -> Iterable[str]:
    """The names of a skeleton's points."""
    return (point.get("label", "") for point in shape.findall("points"))


def keypoints_of(shape: Element, names: Sequence[str], where: str) -> list[float]:
    """Three numbers for each of `names`; zeros where the skeleton has no such point, or has it outside the image."""
    found = {}
    for point in shape.findall("points"):
        pair = (point.get("points") or "").split(",")
        if len(pair) != 2:
            raise FormatError(f"{where}: points of a skeleton is not x,y")
        if point.get("outside") != "1":
            x, y = (number_in(value, where, "a coordinate") for value in pair)
            found[point.get("label", "")] = [x, y, OCCLUDED if point.get("occluded") == "1" else SEEN]
    return [value for name in names for value in found.get(name, [0, 0, UNSEEN])]


def box_of(keypoints: Sequence[float]) -> tuple[float, float, float, float]:
    """The box around the points that are somewhere."""
    there = [keypoints[at : at + 2] for at in range(0, len(keypoints), 3) if keypoints[at + 2]]
    xs, ys = zip(*there, strict=True)
    return (min(xs), min(ys), max(xs), max(ys))
