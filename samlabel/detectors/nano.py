"""The small detector that ships: the 80 classes of COCO; no download, no ultralytics.

It looks at each image at two sizes: the larger shows what is small, the smaller what fills the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import WeightsError
from ..file_state import hash_file
from ..hub.devices import resolve_device
from ..objects import Objects
from ..protocols import Image, ModelInfo
from ..types import Category
from ._batches import inside
from ._classes import chosen
from ._nano_classes import COCO_CLASSES

if TYPE_CHECKING:
    from ._nanodet import NanoDet

WEIGHTS = Path(__file__).parent / "weights" / "nano.safetensors"
CONF = 0.48  # about three of four labels are right from here on: see weights/README.md
SMALLER = 0.8  # the second size, as a part of the first: 512 of 640


class NanoDetector:
    """Boxes of the classes in `info.categories`, whose ids are a class's place in COCO_CLASSES, from 1."""

    def __init__(
        self,
        network: NanoDet,
        weights: str,  # SHA-256 of the file
        *,
        keep: frozenset[int],
        conf: float,
        iou: float,
        imgsz: int,
        max_det: int,
    ) -> None:
        categories = tuple(Category(index + 1, COCO_CLASSES[index]) for index in sorted(keep))
        self.info = ModelInfo("nano", categories, weights, thread_safe=True)  # `detect` keeps nothing
        self._network = network
        self._keep = keep
        self._conf, self._iou, self._max_det = conf, iou, max_det
        self._sizes = (imgsz, max(1, round(imgsz * SMALLER)))

    def detect(self, images: Sequence[Image]) -> list[Objects]:
        """One `Objects` for each image, boxes inside the image, best first."""
        import torch

        with torch.inference_mode():
            return [self._detect(image) for image in images]

    def _detect(self, image: Image) -> Objects:
        from ._nano_inference import candidates, pooled

        looks = [
            candidates(self._network, image.pixels, size, conf=self._conf, keep=self._keep) for size in self._sizes
        ]
        boxes, scores, classes = (column.cpu().numpy() for column in pooled(looks, iou=self._iou, most=self._max_det))
        # Rounded, because the number of threads changes the last digits of what the network computes.
        return inside(boxes.round(3), scores.round(6), classes + 1, image.size)


def load(
    what: str | None,
    *,
    device: str = "",
    conf: float = CONF,
    iou: float = 0.5,
    imgsz: int = 640,
    max_det: int = 300,
    classes: Sequence[str | int] | None = None,
) -> NanoDetector:
    """The shipped detector. `what` may name other weights of its network, `imgsz` is the larger of its two sizes.

    `iou` is less than other detectors' 0.7: two sizes see most objects twice.
    """
    import torch
    from safetensors.torch import load_file

    from ._nanodet import NanoDet

    path = Path(what) if what else WEIGHTS
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; expected the nano detector's weights in safetensors")
    # A number means the category id that the labels show, which counts from 1.
    keep = frozenset(one - 1 for one in chosen(classes, dict(enumerate(COCO_CLASSES, start=1))))
    network = NanoDet(len(COCO_CLASSES))
    try:
        state = load_file(path)
    except Exception as error:  # SafetensorError derives from Exception alone
        raise WeightsError(
            f"{path}: damaged or not safetensors ({error}); expected the nano detector's weights"
        ) from error
    expected = {name: value.shape for name, value in network.state_dict().items()}
    differing = [
        name
        for name in sorted(expected.keys() | state.keys())
        if name not in state or expected.get(name) != state[name].shape
    ]
    if differing:
        raise WeightsError(
            f"{path}: not weights of the nano detector (first difference: {differing[0]}); leave the file out for the "
            f"bundled ones, or name another detector: see samlabel detectors"
        )
    network.load_state_dict({name: value.float() for name, value in state.items()})
    network = network.eval().to(resolve_device(device)).to(memory_format=torch.channels_last)
    return NanoDetector(network, hash_file(path), keep=keep, conf=conf, iou=iou, imgsz=imgsz, max_det=max_det)
