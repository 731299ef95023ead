"""Regions of Label Studio that are pictures or paths: a bitmask is a PNG of the whole image, a vector has vertices."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from converters.io.png import read_numbered
from converters.lenient import broken
from samlabel.errors import FormatError, brief, shown
from samlabel.geometry import polygons_to_mask
from samlabel.types import Mask, Size

_BEGINS = "data:image/png;base64,"


def bitmask_of(address: Any, size: Size, where: str) -> Mask:
    """The mask of a PNG that is its own address: what is seen of it and not black."""
    if not isinstance(address, str) or not address.startswith(_BEGINS):
        raise broken("bad-mask", f"{where}: imageDataURL is {shown(address)}, wanted {_BEGINS}...")
    try:
        data = base64.b64decode(address[len(_BEGINS) :], validate=True)
    except ValueError as error:
        raise FormatError(f"{where}: imageDataURL is no PNG in base64: {brief(error)}") from error
    found = read_numbered(data, f"{where}: imageDataURL", _inside, size=size).mask(1)
    return polygons_to_mask((), size) if found is None else found


def _inside(part: Any) -> np.ndarray:
    pixels = np.asarray(part.convert("RGBA"))
    inside: np.ndarray = (pixels[..., :3] > 0).any(axis=2) & (pixels[..., 3] > 0)
    return inside


def corners_of(vertices: Any) -> Any:
    """The vertices of a vector as [x, y]; as they are where they are none."""
    if not isinstance(vertices, list) or not all(isinstance(one, dict) for one in vertices):
        return vertices
    return [[one.get("x"), one.get("y")] for one in vertices]
