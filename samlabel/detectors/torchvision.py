"""torchvision's detection models by name (torchvision:fasterrcnn_resnet50_fpn; NAME@FILE for your own weights).

Weights are read by `torch.load(weights_only=True)` or safetensors, so none can run code. Published ones lie in
torch's cache, where `samlabel fetch` brings them; loading downloads nothing. https://pytorch.org/vision/stable/models.html#object-detection
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ..errors import UnknownName, UsageError, WeightsError, brief
from ..file_state import hash_file
from ..files import OutputFolder
from ..hub.devices import resolve_device
from ..hub.trust import check_digest
from ..lock import Lock
from ..objects import Objects
from ..protocols import Image, ModelInfo
from ..types import Category
from ._batches import inside, same_size
from ._classes import chosen

REQUIRES = ("torchvision",)

log = logging.getLogger("samlabel")

# Classes are filtered after suppression, so more boxes than max_det must come out of it when some are wanted only.
MOST_BEFORE_CLASSES = 1000

# In these parameters the first number of the shape grows with the number of classes, and with nothing else.
CLASS_PARAMETERS = ("cls_score", "classification_head")


class TorchvisionDetector:
    """A torchvision detection model; a category's id is the model's own label, which counts from 1."""

    def __init__(
        self, model: Any, name: str, weights: str, *, names: Mapping[int, str], keep: frozenset[int], device: str
    ) -> None:
        categories = tuple(Category(index, names[index]) for index in sorted(keep))
        # The weights are the SHA-256 of the file, or the published name, which holds the start of it.
        self.info = ModelInfo(f"torchvision:{name}", categories, weights)
        self._model = model
        self._device = device
        self._keep = keep
        self._conf, self._max_det = 0.0, 0

    def limit(self, *, conf: float, iou: float, imgsz: int, max_det: int, everything: bool) -> None:
        """Set score, overlap, size and count where each family of models keeps them."""
        from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN

        two_stages = isinstance(self._model, GeneralizedRCNN)
        head: Any = self._model.roi_heads if two_stages else self._model
        head.score_thresh, head.nms_thresh = conf, iou
        head.detections_per_img = max_det if everything else max(max_det, MOST_BEFORE_CLASSES)
        transform = self._model.transform
        if transform.fixed_size is None:  # SSD reads one size only
            transform.min_size, transform.max_size = (imgsz,), imgsz
        self._conf, self._max_det = conf, max_det

    def detect(self, images: Sequence[Image]) -> list[Objects]:
        import torch

        found: list[Objects] = [Objects.empty()] * len(images)
        for group in same_size(images, together=not self._device.startswith("cpu")):
            batch = [
                torch.tensor(images[i].pixels).permute(2, 0, 1).to(self._device).float().div_(255) for i in group
            ]  # each (3, H, W), RGB from 0 to 1
            with torch.inference_mode():
                results = self._model(batch)
            for i, result in zip(group, results, strict=True):
                found[i] = self._select(result, images[i].size)
        return found

    def _select(self, result: Mapping[str, Any], size: tuple[int, int]) -> Objects:
        boxes, scores, labels = (result[key].cpu().numpy() for key in ("boxes", "scores", "labels"))
        rows = [row for row, label in enumerate(labels) if int(label) in self._keep and scores[row] >= self._conf]
        rows = rows[: self._max_det]  # torchvision sorts by score
        return inside(boxes[rows], scores[rows], labels[rows], size)


def load(
    what: str | None,
    *,
    device: str = "",
    conf: float = 0.25,
    iou: float = 0.7,
    imgsz: int = 640,
    max_det: int = 300,
    classes: Sequence[str | int] | None = None,
    trust_weights: bool | str = False,
) -> TorchvisionDetector:
    """The model `what`: a name of torchvision's, or NAME@FILE.

    `imgsz` is the longest side the model sees; SSD models keep their own. Class names come from the weights'
    metadata; a file may hold `{"model": state_dict, "names": [...]}`, else its classes are "class 1" and so on.
    No file of these can run code; where `trust_weights` is a SHA-256, NAME@FILE is opened only if it has that.
    """
    from torchvision.models import detection as family
    from torchvision.models import get_model, get_model_weights, list_models

    known = list_models(module=family)
    if not what:
        raise UsageError(f"the torchvision detector needs a model, e.g. torchvision:{known[0]}")
    name, at, file = what.partition("@")
    if name not in known:
        close = get_close_matches(name, known, n=3)
        raise UnknownName("torchvision model", name, known, f"Did you mean {' or '.join(close)}?" if close else "")
    published = get_model_weights(name).DEFAULT
    names = {i: text for i, text in enumerate(published.meta["categories"]) if i and text != "N/A"}
    if at:
        path = Path(file).expanduser()
        content, weights = _bytes(path, trust_weights)
        model, names = _from_file(name, path, content, names)
    else:
        weights = published.url.rpartition("/")[2]
        kept = _cached(published.url)
        if not kept.is_file():
            raise WeightsError(
                f"the weights of {name} are not here and nothing is downloaded unasked: samlabel fetch "
                f"torchvision:{name}, or name your own file: torchvision:{name}@FILE"
            )
        _check_hash(kept)
        with _plain_weights_only():
            model = get_model(name, weights=published)
    keep = chosen(classes, names)
    device = resolve_device(device)
    detector = TorchvisionDetector(model.eval().to(device), name, weights, names=names, keep=keep, device=device)
    detector.limit(conf=conf, iou=iou, imgsz=imgsz, max_det=max_det, everything=len(keep) == len(names))
    return detector


def fetch(what: str) -> Path:
    """The published weights of model `what` in torch's cache, downloaded unless they are there, checked by hash."""
    import torch
    from torchvision.models import detection as family
    from torchvision.models import get_model_weights, list_models

    known = list_models(module=family)
    if what not in known:
        raise UnknownName("torchvision model", what, known)
    url = get_model_weights(what).DEFAULT.url
    kept = _cached(url)
    folder = OutputFolder(kept.parent)
    with Lock(kept, wait=True):
        if not kept.is_file():
            log.warning("downloading %s into %s", url, kept.parent)
            with folder.private_folder(kept.name) as work:
                file = str(folder.path / work / kept.name)
                try:
                    torch.hub.download_url_to_file(url, file, hash_prefix=_hash_prefix(kept), progress=False)
                except Exception as error:  # urllib, ssl and torch.hub each raise their own
                    raise WeightsError(
                        f"weights of {what} could not be downloaded from {url} ({brief(error)}); fetch them and "
                        f"write torchvision:{what}@FILE"
                    ) from error
                folder.rename(f"{work}/{kept.name}", kept.name)
        _check_hash(kept)
    return kept


def _cached(url: str) -> Path:
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]


def _hash_prefix(file: Path) -> str:
    """The start of the SHA-256, which torchvision writes into the name: `model-258fb6c6.pth`."""
    return file.stem.rpartition("-")[2]


def _check_hash(file: Path) -> None:
    found = hash_file(file)
    if not found.startswith(_hash_prefix(file)):
        raise WeightsError(f"{file}: its SHA-256 is {found}, wanted {_hash_prefix(file)}...; delete and fetch it again")


@contextmanager
def _plain_weights_only() -> Iterator[None]:
    """torchvision reads its cache as a pickle unless torch is told that plain tensors are all it may hold."""
    before = os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"]
        else:
            os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = before


def _bytes(path: Path, trust: bool | str) -> tuple[bytes, str]:
    """What a weights file holds, and its SHA-256."""
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file")
    content = path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    if isinstance(trust, str):
        check_digest(path, sha256, trust)
    return content, sha256


def _from_file(name: str, path: Path, content: bytes, published: dict[int, str]) -> tuple[Any, dict[int, str]]:
    """Model `name` with as many classes as the `content` of `path` has, and their names."""
    from torchvision.models import get_model

    state, listed = _read(path, content)
    state_of = {key: tuple(value.shape) for key, value in state.items()}
    plain = get_model(name, weights=None, weights_backbone=None)
    count = _class_count(plain, state_of, path)
    model = get_model(name, weights=None, weights_backbone=None, num_classes=count)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        differing = " ".join(str(error).split())[:300]
        raise WeightsError(f"{path}: not the weights of {name}: {differing}") from error
    if listed:
        if len(listed) != count - 1:
            raise WeightsError(f"{path}: {len(listed)} names for {count - 1} classes")
        return model, {i: str(text) for i, text in enumerate(listed, start=1)}
    if count == max(published) + 1:
        return model, published
    return model, {i: f"class {i}" for i in range(1, count)}


def _read(path: Path, data: bytes) -> tuple[dict[str, Any], list[str]]:
    """State dict and class names (empty where there are none) of a checkpoint, with no code run."""
    import torch

    from sam.claims import check_file, check_tensors

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load

            return load(data), []
        check_file(io.BytesIO(data), len(data))
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and safetensors each raise their own
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"{path}: cannot be read as plain weights ({reason})") from error
    names = content.get("names", []) if isinstance(content, dict) else []
    for key in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise WeightsError(f"{path}: holds no state dict of tensors")
    try:
        check_tensors(content.values(), len(data))
    except ValueError as error:
        raise WeightsError(f"{path}: {error}") from error
    return content, list(names)


def _class_count(plain: Any, shapes: Mapping[str, tuple[int, ...]], path: Path) -> int:
    """Number of classes, background included, from how much larger or smaller the classification layers are."""
    from torchvision.models.detection import KeypointRCNN

    usual = 2 if isinstance(plain, KeypointRCNN) else 91
    for key, value in plain.state_dict().items():
        if not shapes.get(key) or not any(part in key for part in CLASS_PARAMETERS):
            continue
        ours, plain_size = shapes[key][0], int(value.shape[0])
        if ours != plain_size and ours * usual % plain_size == 0:
            return max(2, ours * usual // plain_size)
    return usual
