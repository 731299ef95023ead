"""`auto_annotate`: from pictures to label files in one call."""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import detectors, plugins
from .errors import OutputExists, UnknownName, UsageError
from .images import MAX_PIXELS, Data, Source, hash_tree, scan
from .ledger import Journal, Lock
from .outputs import foreign_labels
from .pipeline import Clock, Models, label, read_ahead
from .protocols import Detector, EmbeddingDetector, Segmenter
from .run import Event, Run, Summary, settings_hash
from .select import DETECTING, Detecting, Grid, Thresholds

IMAGE_MODES = ("copy", "hardlink", "symlink", "none")
CHECKPOINT_SUFFIXES = (".pt", ".pth", ".safetensors")
SEGMENTERS = "samlabel.segmenters"


def auto_annotate(
    data: Data,
    det_model: str | os.PathLike[str] | None = "nano",
    sam_model: str | os.PathLike[str] | None = None,
    device: str = "",
    conf: float = DETECTING.conf,
    iou: float = DETECTING.iou,
    imgsz: int = DETECTING.imgsz,
    max_det: int = DETECTING.max_det,
    classes: Sequence[str | int] | None = None,
    output_dir: str | os.PathLike[str] | None = None,
    *,
    formats: Sequence[str] = ("coco",),
    sam_checkpoint: str | os.PathLike[str] | None = None,
    thresholds: Thresholds | None = None,
    grid: Grid | None = None,
    images: str | None = None,
    overwrite: bool = False,
    detector: Detector | None = None,
    segmenter: Segmenter | None = None,
    batch: int | None = None,
    max_pixels: int = MAX_PIXELS,
    progress: Callable[[Event], None] | None = None,
) -> Summary:
    """Label files for every picture in `data` (a folder, a file, a glob pattern or a list of these).

    `det_model` is a detector `NAME[:WHAT]` or a model file for ultralytics; `None` or "none" covers
    each picture with a grid of points instead. `sam_model` is a SAM variant ("nano" when absent), a
    checkpoint file, or `NAME:WHAT` of another segmenter. `classes` keeps classes by name or number.
    Labels go to `output_dir`, one folder a format, or beside the data to
    `<data>_auto_annotate_labels`. `images` says how formats that hold pictures get them: copy,
    hardlink, symlink, none, or `None` for each format's own way. `detector` and `segmenter` take
    objects of your own. `batch` is the most pictures detected at once: 1 on a CPU, else 8. The
    arguments up to `output_dir` are those of ultralytics' `auto_annotate`.

    Started again with the same settings it continues; a finished dataset stays as it is. Raises
    UsageError for what cannot be meant, OutputExists before anything is overwritten.
    """
    started = time.perf_counter()
    thresholds, grid, clock = thresholds or Thresholds(), grid or Grid(), Clock()
    detecting = Detecting(conf, iou, imgsz, max_det)
    formats = _check_formats(formats, images)
    out = Path(os.path.abspath(output_dir if output_dir is not None else beside(data)))
    source = scan(data, exclude=_ours(out))
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; wanted a folder for the labels")
    if not overwrite:
        _refuse_foreign(out)

    with clock.of("load"):
        device = resolve_device(device)
        models = _models(
            det_model, sam_model, sam_checkpoint, detector, segmenter,
            device=device, detecting=detecting, classes=classes, grid=grid,
        )  # fmt: skip
    settings = _settings(source, out, models, det_model, detecting, classes, thresholds, grid, device)
    run = Run(out, source, settings, models.categories, formats, images, overwrite)
    _make(run.hidden)
    with Lock(run.hidden / "lock"):
        run.prepare()
        with Journal(run.hidden / "journal.jsonl", settings_hash(settings)) as journal:
            todo = run.todo(journal)
            run.refuse_edited(todo)
            pictures = read_ahead(source.root, todo, ahead=2, max_pixels=max_pixels)
            step = batch or (1 if device == "cpu" else 8)
            for done in label(pictures, models, thresholds, batch=step, clock=clock):
                run.finish(done, journal, len(todo), progress)
            with clock.of("write"):
                return run.close(journal, clock, started)


def beside(data: Data) -> Path:
    """Where labels go when nobody says: `<data>_auto_annotate_labels` next to the data, as ultralytics does."""
    if not isinstance(data, (str, os.PathLike)):
        raise UsageError("a list of pictures has no place beside it for the labels; give output_dir")
    path = Path(os.path.abspath(data))
    return path.parent / f"{path.stem}_auto_annotate_labels"


def resolve_device(device: str) -> str:
    """The torch name of a device: "" picks the first GPU or the CPU, "0" means cuda:0."""
    if device == "cpu":
        return device
    import torch

    if not device:
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    name = f"cuda:{device}" if device.isdecimal() else device
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UsageError(f"device {device!r} cannot be used: {reason[:200]}; wanted cpu, cuda, cuda:1, mps") from error
    return name


def _models(
    det_model: str | os.PathLike[str] | None,
    sam_model: str | os.PathLike[str] | None,
    sam_checkpoint: str | os.PathLike[str] | None,
    detector: Detector | None,
    segmenter: Segmenter | None,
    *,
    device: str,
    detecting: Detecting,
    classes: Sequence[str | int] | None,
    grid: Grid,
) -> Models:
    if segmenter is None:
        segmenter = _segmenter(sam_model, sam_checkpoint, device=device, grid=grid)
    if detector is None and det_model is not None and detectors.parse(str(det_model))[0] != detectors.NO_DETECTOR:
        detector = detectors.load(str(det_model), device=device, classes=classes, **asdict(detecting))
    elif detector is None and classes:
        raise UsageError("classes were given, but without a detector every object is of one class; leave them out")
    shared = (
        isinstance(detector, EmbeddingDetector)
        and detector.reads_variant == segmenter.name
        and getattr(segmenter, "own_weights", False)  # its head was trained on the embeddings of these weights alone
    )
    return Models(detector, segmenter, shared)


def _segmenter(
    sam_model: str | os.PathLike[str] | None,
    sam_checkpoint: str | os.PathLike[str] | None,
    *,
    device: str,
    grid: Grid,
) -> Segmenter:
    """What `sam_model` means: a SAM variant, a checkpoint file, or `NAME:WHAT` of another segmenter plug-in."""
    name = os.fspath(sam_model) if sam_model is not None else None
    kind, colon, what = (name or "").partition(":")
    if colon and kind in plugins.find("segmenter", SEGMENTERS):
        name = what or None
    else:
        kind = "sam"
        if name is not None and sam_checkpoint is None and name.lower().endswith(CHECKPOINT_SUFFIXES):
            name, sam_checkpoint = None, name
    if kind == "sam" and name is None and sam_checkpoint is None:
        name = "nano"
    module = plugins.get("segmenter", kind, SEGMENTERS)
    return module.load(name, checkpoint=sam_checkpoint, device=device, grid=grid)


def _settings(
    source: Source,
    out: Path,
    models: Models,
    det_model: str | os.PathLike[str] | None,
    detecting: Detecting,
    classes: Sequence[str | int] | None,
    thresholds: Thresholds,
    grid: Grid,
    device: str,
) -> dict[str, Any]:
    """Everything that decides what the labels are; two runs with equal settings may share a journal."""
    from . import __version__

    settings: dict[str, Any] = {
        "samlabel": __version__,
        "images": _relative(source.root, out),
        "device": device.partition(":")[0],
        "segmenter": {"name": models.segmenter.name, "weights": getattr(models.segmenter, "weights", None)},
        "thresholds": asdict(thresholds),
    }
    if models.detector is None:
        return {**settings, "detector": "none", "grid": asdict(grid)}
    names = [classes] if isinstance(classes, (str, int)) else classes
    settings["detector"] = {
        "name": models.detector.name,
        "weights": getattr(models.detector, "weights", None) or _hash_what(det_model),
        "classes": None if names is None else [str(one) for one in names],
        "shared_embedding": models.shared_embedding,
        **asdict(detecting),
    }
    return settings


def _hash_what(det_model: str | os.PathLike[str] | None) -> str | None:
    """SHA-256 of the file or folder that a detector was loaded from, when its name shows one."""
    what = detectors.parse(str(det_model))[1] if det_model is not None else None
    path = Path(what).expanduser() if what else None
    return hash_tree(path) if path is not None and path.exists() else None


def _relative(root: Path, out: Path) -> str:
    """The pictures as seen from the output, so that both can be moved together."""
    try:
        return Path(os.path.relpath(root, out)).as_posix()
    except ValueError:  # another drive of Windows
        return root.as_posix()


def _ours(out: Path) -> list[Path]:
    """Folders below an output that hold copies of pictures: they are not input."""
    import converters

    return [out, *(out / name for name in (*converters.names(), "kept", "view"))]


def _check_formats(formats: Sequence[str], images: str | None) -> tuple[str, ...]:
    import converters

    wanted = (formats,) if isinstance(formats, str) else tuple(dict.fromkeys(formats))
    if not wanted:
        raise UsageError(f"no format was asked for; known: {', '.join(converters.names())}")
    if images is not None and images not in IMAGE_MODES:
        raise UnknownName("way to place pictures", images, list(IMAGE_MODES))
    for name in wanted:
        # Now, not after hours of work: UnknownName, or a UsageError for a format that cannot place pictures.
        if images is not None and "images" not in inspect.signature(converters.get(name).write).parameters:
            raise UsageError(f"the format {name!r} holds no pictures; leave --images out")
        converters.get(name)
    return wanted


def _refuse_foreign(out: Path) -> None:
    if (label_file := foreign_labels(out)) is not None:
        raise OutputExists(
            f"{out} already holds labels that samlabel did not write ({label_file.relative_to(out)}); choose another "
            f"folder, or --overwrite to write beside them"
        )


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"the output folder {folder.parent} cannot be made: {error.strerror}") from error
