"""The classes of the detector in training, and the groups that it is judged by."""

from __future__ import annotations

from ...detectors._nano_classes import COCO_CLASSES

# Animals of the photos that COCO has no name for, each with the class whose scores it starts from. The network learns
# them beside COCO's, so that a tiger teaches nothing wrong about cats, but they are not learned well enough to be
# shown (see the README of the recipes): the weights that ship do without them.
STARTS_FROM = {"deer": "horse", "otter": "bear", "rhesus monkey": "bear", "tiger": "zebra", "turtle": "bear"}
CLASS_NAMES = (*COCO_CLASSES, *STARTS_FROM)

ANIMALS = frozenset({*COCO_CLASSES[14:24], *STARTS_FROM})  # bird to giraffe
VEHICLES = frozenset(COCO_CLASSES[1:9])  # bicycle to boat
GROUPS = ("person", "animal", "vehicle", "other")


def group_of(name: str) -> str:
    """The one of GROUPS that a class belongs to."""
    if name == "person":
        return name
    return "animal" if name in ANIMALS else "vehicle" if name in VEHICLES else "other"
