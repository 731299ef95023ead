"""YOLO, RT-DETR, YOLO-World: any file that ultralytics runs (ultralytics:yolo11n.pt, or simply its path).

ultralytics is AGPL-3.0 and is imported when this detector is loaded, never before. A `.pt` file is a Python
pickle: loading one runs code of whoever made it, so it wants `trust_weights`; exports (.onnx, .tflite) hold none.

Published weights are named like files; `samlabel fetch` brings them into samlabel's cache, loading never does.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import MissingDependency, SamlabelError, UnknownName, UsageError, WeightsError
from ..file_state import hash_file
from ..files import OutputFolder
from ..hub.threads import same_threads
from ..hub.trust import Copy, note, private_copy
from ..lock import Lock
from ..objects import Objects
from ..protocols import Image, ModelInfo
from ..types import Category
from ._batches import inside, same_size
from ._classes import chosen
from ._offline import offline, quiet_import, replaced, warm_up

REQUIRES = ("ultralytics",)

log = logging.getLogger("samlabel")

FATAL = 4  # of ONNX Runtime's levels
# ViT-B/32, https://github.com/openai/CLIP: the name of its folder there
CLIP_SHA256 = "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"
BOX_TASKS = ("detect", "segment", "pose", "obb")


class UltralyticsDetector:
    """A loaded ultralytics model; a category's id is the model's class index plus 1."""

    def __init__(self, model: Any, path: Path, copy: Copy, *, keep: frozenset[int], options: dict[str, Any]) -> None:
        categories = tuple(Category(index + 1, str(model.names[index])) for index in sorted(keep))
        self.info = ModelInfo(f"ultralytics:{path.name}", categories, copy.sha256)
        self._copy = copy  # some runtimes read it again
        self._model = model
        self._options = options
        self._together = copy.path.suffix == ".pt" and _on_gpu(options["device"])
        if len(keep) < len(model.names):
            self._options = {**options, "classes": sorted(keep)}

    def detect(self, images: Sequence[Image]) -> list[Objects]:
        found: list[Objects] = [Objects.empty()] * len(images)
        for group in same_size(images, together=self._together):
            # For arrays ultralytics expects OpenCV's channel order, BGR.
            pixels = [np.ascontiguousarray(images[i].pixels[:, :, ::-1]) for i in group]
            with same_threads():  # on a CPU ultralytics takes all cores but one, from the rest of the process too
                results = self._model.predict(pixels, **self._options)
            for i, result in zip(group, results, strict=True):
                found[i] = _detections(result, images[i].size)
        return found


def _detections(result: Any, size: tuple[int, int]) -> Objects:
    boxes = result.boxes if result.boxes is not None else result.obb
    if boxes is None or not len(boxes):
        return Objects.empty()
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
    options = {
        "conf": conf,
        "iou": iou,
        "imgsz": imgsz,
        "max_det": max_det,
        "device": device or None,
        "verbose": False,
        "save": False,
    }
    with offline() as ultralytics:
        path = _file(what)
        copy = private_copy(path, trust_weights, suffix=_suffix(path))
        model, known = _open(ultralytics, path, copy)
        try:
            keep = chosen(classes, known)
        except UnknownName:
            if not (hasattr(model, "set_classes") and classes and all(isinstance(name, str) for name in classes)):
                raise
            known = _set_vocabulary(model, [str(name) for name in classes])
            keep = frozenset(known)
        with _said_of(path, copy):
            # An export may know one size alone; to a .pt any will do.
            warm_up(model, {**options, "imgsz": 32} if copy.path.suffix == ".pt" else options)
    return UltralyticsDetector(model, path, copy, keep=keep, options=options)


def _open(ultralytics: Any, path: Path, copy: Copy) -> tuple[Any, dict[int, str]]:
    """The model in `copy`, which is what `path` held, and its class names."""
    _prepare_runtime(_suffix(copy.path))
    # Exports of older versions do not say that they are RT-DETR, whose boxes are laid out otherwise.
    kind = ultralytics.RTDETR if "rtdetr" in path.name.lower() else ultralytics.YOLO
    with _said_of(path, copy):
        # An export without metadata does not say its task; boxes are what we came for.
        more = {} if copy.path.suffix == ".pt" or kind is ultralytics.RTDETR else {"task": "detect"}
        model = kind(str(copy.path), **more)
        known = _as_mapping(model.names)
    if model.task not in BOX_TASKS:
        raise WeightsError(
            f"{path}: a model for {model.task!r} finds no boxes; expected one for {', '.join(BOX_TASKS)}"
        )
    return model, known


def fetch(what: str) -> Path:
    """The published weights `what` in samlabel's cache, downloaded unless they are there; trusts their content.

    ultralytics publishes no hashes, so what arrived first is trusted: a file that changes later is not.
    """
    with quiet_import():
        path, name = Path(what), _published_name(what)
    if path.parent != Path() or name is None:
        raise _no_such_file(what)
    target = _cached(name)
    with Lock(target, wait=True):
        if not target.exists():
            _download(name, target)
        note(target, hash_file(target))
    return target


@contextlib.contextmanager
def _said_of(path: Path, copy: Copy) -> Iterator[None]:
    """What goes wrong inside as an error of ours that names `path`, not its copy."""

    def reason(error: Exception) -> str:
        return _one_line(str(error).replace(str(copy.path), str(path))) or type(error).__name__

    try:
        yield
    except SamlabelError:
        raise
    except ImportError as error:
        raise MissingDependency(f"{path}: a package is missing to run it ({reason(error)})") from error
    except Exception as error:  # ultralytics raises whatever its many backends raise
        raise WeightsError(f"{path}: ultralytics cannot load it ({reason(error)})") from error


def _prepare_runtime(suffix: str) -> None:
    """Import what will run an export before ultralytics does, so that it reports to nobody."""
    from sam import telemetry

    with contextlib.suppress(ImportError):  # ultralytics says it better
        if suffix == ".onnx":
            # Its warnings quote names from the file, and go past Python to stderr.
            telemetry.import_onnxruntime().set_default_logger_severity(FATAL)
        elif suffix == "_openvino_model":
            with telemetry.quiet_openvino():
                pass


def _suffix(path: Path) -> str:
    """The end of a model's name that tells ultralytics its kind: `.pt`, `_openvino_model`, `_edgetpu.tflite`."""
    found = re.search(r"(_edgetpu|_qnn)?\.[a-z0-9]+$|_[a-z0-9]+_model$", path.name.lower())
    return found[0] if found else ""


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
    with folder.private_folder(name) as work:
        try:
            attempt_download_asset(folder.path / work / name)
        except Exception as error:  # requests, ssl and ultralytics each raise their own
            raise WeightsError(_no_download(name, target, _one_line(str(error)) or type(error).__name__)) from error
        if folder.kind(f"{work}/{name}") != "file":
            raise WeightsError(_no_download(name, target, "nothing arrived"))
        folder.rename(f"{work}/{name}", name)


def _no_download(name: str, target: Path, reason: str) -> str:
    return f"{name} could not be downloaded ({reason}); fetch it elsewhere and put it at {target}, or give its path"


def _as_mapping(names: Any) -> dict[int, str]:
    pairs = names.items() if isinstance(names, dict) else enumerate(names)
    return {int(index): str(name) for index, name in pairs}


def _set_vocabulary(model: Any, names: list[str]) -> dict[int, str]:
    """Make `names` the classes of an open-vocabulary model, which needs its text encoder."""
    try:
        with _fetched_encoders():
            model.set_classes(names)
    except SamlabelError:
        raise
    except Exception as error:  # the text encoder is a package and a download of its own
        reason = _one_line(str(error)) or type(error).__name__
        raise MissingDependency(
            f"new class names need the model's text encoder, which could not be used ({reason})"
        ) from error
    return dict(enumerate(names))


@contextlib.contextmanager
def _fetched_encoders() -> Iterator[None]:
    """Inside, text encoders are found among what was fetched; ultralytics looks in the current folder and downloads."""
    copies = []

    def find(file: str | Path, *_: object, **__: object) -> str:
        kept = _cached(Path(file).name)
        if not kept.is_file():
            raise WeightsError(
                f"{kept.name} is not here and nothing is downloaded unasked: samlabel fetch ultralytics:{kept.name}"
            )
        copies.append(private_copy(kept, False, suffix=kept.suffix))
        return str(copies[-1].path)

    def find_clip(size: str, *args: Any, download_root: str, **kwargs: Any) -> Any:
        kept = Path(download_root) / f"{size.replace('/', '-')}.pt"
        if not kept.is_file() or hash_file(kept) != CLIP_SHA256:
            raise WeightsError(f"the text encoder {kept} is not here and nothing is downloaded unasked; put it there")
        return load_clip(size, *args, download_root=download_root, **kwargs)

    with contextlib.ExitStack() as stack:
        stack.enter_context(replaced("ultralytics.utils.downloads", "attempt_download_asset", find))
        with contextlib.suppress(ImportError):
            load_clip = importlib.import_module("clip").load
            stack.enter_context(replaced("clip", "load", find_clip))
        yield


def _on_gpu(device: str | None) -> bool:
    import torch

    return torch.cuda.is_available() if not device else device != "cpu"


def _one_line(text: str) -> str:
    return " ".join(text.split())[:200]
