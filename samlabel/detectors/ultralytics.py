"""YOLO, RT-DETR, YOLO-World: any file that ultralytics runs (ultralytics:yolo11n.pt, or simply its path).

ultralytics is AGPL-3.0 and is imported when this detector is loaded, never before. A `.pt` file is a Python
pickle: loading one runs code of whoever made it, so it wants `trust_weights`; exports (.onnx, .tflite) hold none.

Published weights are named like files; `samlabel fetch` brings them into samlabel's cache, loading never does.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import MissingDependency, SamlabelError, UnknownName, UsageError, WeightsError
from ..files import OutputFolder
from ..images import hash_file
from ..lock import Lock
from ..protocols import Image
from ..types import Category, Detections
from ..workers import same_threads
from ._batches import inside, same_size
from ._classes import chosen
from ._trust import check_trust, note_of

REQUIRES = ("ultralytics",)

log = logging.getLogger("samlabel")

BOX_TASKS = ("detect", "segment", "pose", "obb")


class UltralyticsDetector:
    """A loaded ultralytics model; a category's id is the model's class index plus 1."""

    def __init__(self, model: Any, path: Path, *, keep: frozenset[int], options: dict[str, Any]) -> None:
        self.name = f"ultralytics:{path.name}"
        self.weights = hash_file(path) if path.is_file() else None  # exports may be folders
        self.categories = tuple(Category(index + 1, str(model.names[index])) for index in sorted(keep))
        self._model = model
        self._options = options
        self._together = path.suffix == ".pt" and _on_gpu(options["device"])
        if len(keep) < len(model.names):
            self._options = {**options, "classes": sorted(keep)}

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        found: list[Detections] = [Detections.empty()] * len(images)
        for group in same_size(images, together=self._together):
            # For arrays ultralytics expects OpenCV's channel order, BGR.
            pixels = [np.ascontiguousarray(images[i].pixels[:, :, ::-1]) for i in group]
            with same_threads():  # on a CPU ultralytics takes all cores but one, from the rest of the process too
                results = self._model.predict(pixels, **self._options)
            for i, result in zip(group, results, strict=True):
                found[i] = _detections(result, images[i].size)
        return found


def _detections(result: Any, size: tuple[int, int]) -> Detections:
    boxes = result.boxes if result.boxes is not None else result.obb
    if boxes is None or not len(boxes):
        return Detections.empty()
    numbers = [value.detach().cpu().numpy() for value in (boxes.xyxy, boxes.conf, boxes.cls)]
    return inside(numbers[0], numbers[1], numbers[2].astype(np.int64) + 1, size)


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
) -> UltralyticsDetector:
    """The model in file `what`, or the published weights of that name that were fetched before.

    `classes` are names, or ultralytics' own class indices from 0. With YOLO-World, names that the model does not
    know become its vocabulary. Raises WeightsError where the file is missing, or not a model that finds boxes, and
    UntrustedWeights where it can run code and `trust_weights` is neither True nor its SHA-256.
    """
    if not what:
        raise UsageError("the ultralytics detector needs a model; write ultralytics:yolo11n.pt or a path to a file")
    ultralytics = _import()
    path = _file(what)
    check_trust(path, trust_weights)
    try:
        # An export without metadata does not say its task; boxes are what we came for.
        model = _model_class(ultralytics, path)(str(path), **({} if path.suffix == ".pt" else {"task": "detect"}))
        known = _as_mapping(model.names)
    except (ImportError, ModuleNotFoundError) as error:
        raise MissingDependency(f"{path}: a package is missing to run it ({_one_line(error)})") from error
    except SamlabelError:
        raise
    except Exception as error:  # ultralytics raises whatever its many backends raise
        raise WeightsError(f"{path}: ultralytics cannot load it ({_one_line(error)})") from error
    if model.task not in BOX_TASKS:
        raise WeightsError(f"{path}: a model for {model.task!r} finds no boxes; wanted one for {', '.join(BOX_TASKS)}")
    try:
        keep = chosen(classes, known)
    except UnknownName:
        if not (hasattr(model, "set_classes") and classes and all(isinstance(name, str) for name in classes)):
            raise
        known = _set_vocabulary(model, [str(name) for name in classes])
        keep = frozenset(known)
    options = {
        "conf": conf,
        "iou": iou,
        "imgsz": imgsz,
        "max_det": max_det,
        "device": device or None,
        "verbose": False,
        "save": False,
    }
    return UltralyticsDetector(model, path, keep=keep, options=options)


def fetch(what: str) -> Path:
    """The published weights `what` in samlabel's cache, downloaded unless they are there; notes their SHA-256.

    ultralytics publishes no hashes, so the note holds what arrived: a file that changes later is not trusted.
    """
    _import()
    path, name = Path(what), _published_name(what)
    if path.parent != Path() or name is None:
        raise _no_such_file(what)
    target = _cached(name)
    if not target.exists():
        _download(name, target)
    note = note_of(target)
    if not note.exists():
        OutputFolder(target.parent).write(note.name, hash_file(target) + "\n")
    return target


def _import() -> Any:
    with quiet_import():
        try:
            import ultralytics
        except ImportError as error:
            message = f"ultralytics cannot be imported ({error}); install it with: pip install ultralytics"
            raise MissingDependency(message) from error
    return ultralytics


@contextlib.contextmanager
def quiet_import() -> Iterator[None]:
    """Import ultralytics without its side effects on us.

    It would log to stdout, where our results go; install packages when one is missing; report usage over the
    network; and set OMP_NUM_THREADS=1, which takes all cores but one from torch if torch comes second.
    """
    import torch  # noqa: F401  first, so that it sees the machine's own thread count

    threads = os.environ.get("OMP_NUM_THREADS")
    for name, value in (("YOLO_VERBOSE", "false"), ("YOLO_AUTOINSTALL", "false"), ("YOLO_OFFLINE", "true")):
        os.environ.setdefault(name, value)
    try:
        yield
    finally:
        if threads is None:
            os.environ.pop("OMP_NUM_THREADS", None)


def _file(what: str) -> Path:
    """The model file or exported folder that `what` names: here, in ultralytics' weights folder, or in the cache."""
    from ultralytics.utils import SETTINGS

    if "://" in what:
        raise UsageError(f"{what}: a model is named by a file or by published weights; download it first")
    if what.lower().endswith((".yaml", ".yml")):
        raise WeightsError(f"{what}: a model definition holds no weights; name a trained file such as yolo11n.pt")
    path = Path(what).expanduser()
    if path.exists():
        return path
    name = _published_name(what)
    if path.parent != Path() or name is None:
        raise _no_such_file(what)
    for kept in (Path(SETTINGS["weights_dir"]) / name, _cached(name)):
        if kept.exists():
            return kept
    raise WeightsError(f"{what} is not here and nothing is downloaded unasked: samlabel fetch ultralytics:{name}")


def _published_name(what: str) -> str | None:
    """The file name of ultralytics' published weights that `what` means; None when it is none of them."""
    from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES

    path = Path(what)
    name = path.name if path.suffix else f"{path.name}.pt"  # "yolo11n" is what people type for yolo11n.pt
    return name if name in GITHUB_ASSETS_NAMES else None


def _no_such_file(what: str) -> WeightsError:
    from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES

    path = Path(what)
    close = get_close_matches(path.name, sorted(GITHUB_ASSETS_NAMES), n=3) if path.parent == Path() else []
    hint = f"; published weights of a like name: {', '.join(close)}" if close else ""
    return WeightsError(f"{what}: no such model file{hint}")


def _cached(name: str) -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("samlabel") / "ultralytics" / name


def _download(name: str, target: Path) -> None:
    from ultralytics.utils.downloads import attempt_download_asset

    log.warning("downloading %s from github.com/ultralytics/assets into %s", name, target.parent)
    folder = OutputFolder(target.parent)
    with Lock(target), folder.private_folder(name) as work:
        try:
            attempt_download_asset(folder.path / work / name)
        except Exception as error:  # requests, ssl and ultralytics each raise their own
            raise WeightsError(_no_download(name, target, _one_line(error))) from error
        if folder.kind(f"{work}/{name}") != "file":
            raise WeightsError(_no_download(name, target, "nothing arrived"))
        folder.rename(f"{work}/{name}", name)


def _no_download(name: str, target: Path, reason: str) -> str:
    return f"{name} could not be downloaded ({reason}); fetch it elsewhere and put it at {target}, or give its path"


def _model_class(ultralytics: Any, path: Path) -> Any:
    # Exports of older versions do not say that they are RT-DETR, whose boxes are laid out otherwise.
    return ultralytics.RTDETR if "rtdetr" in path.name.lower() else ultralytics.YOLO


def _as_mapping(names: Any) -> dict[int, str]:
    pairs = names.items() if isinstance(names, dict) else enumerate(names)
    return {int(index): str(name) for index, name in pairs}


def _set_vocabulary(model: Any, names: list[str]) -> dict[int, str]:
    """Make `names` the classes of an open-vocabulary model, which needs its text encoder."""
    try:
        model.set_classes(names)
    except Exception as error:  # the text encoder is a package and a download of its own
        raise MissingDependency(
            f"new class names need the model's text encoder, which could not be used ({_one_line(error)})"
        ) from error
    return dict(enumerate(names))


def _on_gpu(device: str | None) -> bool:
    import torch

    return torch.cuda.is_available() if not device else device != "cpu"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
