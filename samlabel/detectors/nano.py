"""The small detector that ships: people, animals, vehicles and other objects; no download, no ultralytics.

Its head reads the embedding of the nano SAM variant; with that segmenter one encoder pass serves both.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..devices import resolve_device
from ..errors import UsageError, WeightsError
from ..images import hash_file
from ..protocols import Image
from ..types import Category, Detections
from ._batches import inside
from ._classes import chosen

if TYPE_CHECKING:
    from sam import Embedding, Sam

    from ._nano_head import NanoHead

CLASS_NAMES = ("person", "animal", "vehicle", "object")
WEIGHTS = Path(__file__).parent / "weights" / "nano.safetensors"


class NanoDetector:
    """Boxes from a nano embedding, its own or the segmenter's; category ids are 1 to 4."""

    name = "nano"
    reads_variant = "nano"
    thread_safe = True  # `detect_embedding` keeps nothing

    def __init__(
        self, head: NanoHead, weights: str, *, keep: frozenset[int], conf: float, iou: float, max_det: int, device: str
    ) -> None:
        self.weights = weights  # SHA-256 of the head's file
        self.categories = tuple(Category(i + 1, CLASS_NAMES[i]) for i in sorted(keep))
        self._head = head
        self._keep = sorted(keep)
        self._conf, self._iou, self._max_det = conf, iou, max_det
        self._device = device
        self._model: Sam | None = None

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """One `Detections` an image; encodes each with the nano encoder, made on the first call."""
        if self._model is None:
            import sam

            self._model = sam.load("nano", device=self._device)
        return [self.detect_embedding(self._model.embed(image.pixels)) for image in images]

    def detect_embedding(self, embedding: Embedding) -> Detections:
        """Boxes of the image that `embedding` was made from; it must be nano's."""
        import torch

        from ._nano_head import pick

        if embedding.variant != self.reads_variant:
            raise UsageError(f"the nano detector reads embeddings of nano, not of {embedding.variant}")
        with torch.inference_mode():
            logits, boxes, centres, _ = self._head(embedding.features, embedding.high_res[-1])
            height, width = embedding.input_size
            # Padding holds no objects, but a head trained on little may believe otherwise.
            seen = (centres[:, 0] < width) & (centres[:, 1] < height)
            limit = boxes.new_tensor([width, height, width, height])
            boxes = boxes[0, seen].clamp(min=0).minimum(limit)
            found, scores, classes = pick(
                logits[0, seen],
                boxes,
                conf=self._conf,
                iou=self._iou,
                max_det=self._max_det,
                classes=self._keep,
            )
        scale = found.new_tensor([embedding.size[1] / width, embedding.size[0] / height] * 2)
        return inside((found * scale).cpu().numpy(), scores.cpu().numpy(), classes.cpu().numpy() + 1, embedding.size)


def load(
    what: str | None,
    *,
    device: str = "",
    conf: float = 0.25,
    iou: float = 0.6,
    imgsz: int = 640,
    max_det: int = 300,
    classes: Sequence[str | int] | None = None,
) -> NanoDetector:
    """The shipped detector. `what` may name other weights of its head; `imgsz` is fixed by the encoder.

    `iou` is less than other detectors' 0.7: this head draws more boxes around one thing than larger ones do.
    """
    from safetensors.torch import load_file

    from ._nano_head import NanoHead

    path = Path(what) if what else WEIGHTS
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; wanted the nano detector's safetensors")
    head = NanoHead()
    try:
        state: dict[str, Any] = load_file(path)
    except Exception as error:  # SafetensorError derives from Exception alone
        raise WeightsError(
            f"{path}: damaged or not safetensors ({error}); wanted the nano detector's weights"
        ) from error
    wanted = {key: value.shape for key, value in head.state_dict().items()}
    differing = [k for k in sorted(wanted.keys() | state.keys()) if k not in state or wanted.get(k) != state[k].shape]
    if differing:
        raise WeightsError(f"{path}: not weights of the nano detector; first differing key: {differing[0]}")
    head.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    names = dict(enumerate(CLASS_NAMES))
    # A number means the category id that the labels show, which counts from 1.
    keep = frozenset(i - 1 for i in chosen(classes, {i + 1: name for i, name in names.items()}))
    device = resolve_device(device)
    return NanoDetector(
        head.eval().to(device), hash_file(path), keep=keep, conf=conf, iou=iou, max_det=max_det, device=device
    )
