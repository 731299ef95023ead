"""Rows of YOLO pose labels: a box, then the object's keypoints. https://docs.ultralytics.com/datasets/pose/"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from samlabel.errors import FormatError, shown
from samlabel.types import Size


def kpt_shape(content: dict[str, Any], file: Path) -> tuple[int, int] | None:
    """Keypoints of an object and numbers of each, where a data.yaml says that there are any."""
    match content.get("kpt_shape"):
        case None:
            return None
        case [int(count), 2 | 3 as each] if count > 0:
            return count, each
        case shape:
            wanted = "[keypoints of an object, 2 or 3 numbers of each]"
            raise FormatError(f"{file}: kpt_shape is {shown(shape)}, wanted {wanted}")


def split_pose(
    values: list[float], shape: tuple[int, int], size: Size, where: str
) -> tuple[list[float], dict[str, Any]]:
    """The numbers of the box, and the keypoints as COCO has them: x, y in pixels, then 2 seen, 1 hidden, 0 unknown."""
    count, each = shape
    if len(values) != 4 + count * each:
        raise FormatError(f"{where}: {len(values)} numbers after the class; kpt_shape asks for 4 + {count} x {each}")
    found: list[float] = []
    for at in range(4, len(values), each):
        x, y = values[at], values[at + 1]
        flag = values[at + 2] if each == 3 else 2 * bool(x or y)
        if not (-0.01 <= x <= 1.01 and -0.01 <= y <= 1.01) or flag not in (0, 1, 2):
            numbers, wanted = values[at : at + each], "x and y from 0 to 1" + (" and 0, 1 or 2" if each == 3 else "")
            raise FormatError(f"{where}: keypoint {numbers} is not {wanted}")
        found += [round(x * size[1], 3), round(y * size[0], 3), int(flag)]
    return values[:4], {"keypoints": found, "num_keypoints": sum(flag > 0 for flag in found[2::3])}
