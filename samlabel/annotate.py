"""`auto_annotate`: from pictures to label files in one call."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from . import detectors
from . import formats as known_formats
from .cores import MOST_AT_ONCE
from .errors import OutputExists, UnknownName, UsageError
from .files import OutputFolder
from .hub.devices import resolve_device
from .hub.libraries import guarded_torch
from .hub.memory import kept_pages
from .hub.threads import torch_threads
from .lock import Lock
from .options import DETECTING, Detecting, Grid, Thresholds
from .pipeline.class_map import ClassMap, MappedDetector
from .pipeline.engine import Clock, Models, label, read_ahead, windows
from .progress import SILENT, Progress
from .protocols import Detector, Segmenter
from .runs.hidden import HIDDEN
from .runs.invalidation import settings_hash
from .runs.journal import Journal
from .runs.outputs import foreign_labels, refuse_links
from .runs.run import Event, Run, Summary
from .runs.settings import Asked, Recall, Recalled, class_names, relative, settings_of
from .segmenters import SEGMENTERS
from .sources.images import MAX_PIXELS, Data, Failed, scan

IMAGE_MODES = ("copy", "hardlink", "symlink", "none")
CHECKPOINT_SUFFIXES = (".pt", ".pth", ".safetensors")


@guarded_torch()
def auto_annotate(
    data: Data,
    det_model: str | os.PathLike[str] | None = "nano",
    sam_model: str | os.PathLike[str] | None = None,
    device: str = "",
    conf: float | None = DETECTING.conf,
    iou: float | None = DETECTING.iou,
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
    workers: int | None = None,
    max_pixels: int = MAX_PIXELS,
    update: bool = False,
    max_failures: int | None = None,
    trust_weights: bool | str = False,
    accept: str | os.PathLike[str] | None = None,
    follow_links: bool = False,
    dtype: str = "float32",
    backend: str = "torch",
    class_map: str | os.PathLike[str] | Mapping[str, str | None] | None = None,
    rename: Sequence[str] = (),
    progress: Callable[[Event], None] | None = None,
    stages: Progress = SILENT,
) -> Summary:
    """Label files for every picture in `data` (a folder, a file, a glob pattern or a list of these).

    `det_model` is a detector `NAME[:WHAT]` or a model file for ultralytics; `None` or "none" covers
    each picture with a grid of points instead. `sam_model` is a SAM variant ("nano" when absent), a
    checkpoint file, or `NAME:WHAT` of another segmenter. `classes` keeps classes by name or number.
    Labels go to `output_dir`, one folder a format, or beside the data to
    `<data>_auto_annotate_labels`. `images` says how formats that hold pictures get them: copy,
    hardlink, symlink, none, or `None` for each format's own way. `detector` and `segmenter` take
    objects of your own. `batch` is the most images detected at once: 1 on a CPU, else 8. `workers` images are
    worked on at the same time: one a core up to 4 on a CPU, else 1. The labels are the same bytes with any number of
    workers, since an image's share of the cores does not depend on it. The arguments up to `output_dir` are those of
    ultralytics' `auto_annotate`.

    Started again with the same settings it continues; a finished dataset stays as it is. With other
    settings it stops, or with `update` redoes the pictures that the difference touches, or with
    `overwrite` all of them. `max_failures` stops the run when more pictures than that have failed.
    `trust_weights` lets a detector open a file that can run code (a `.pt` is a Python pickle): True,
    or the SHA-256 of the one file that may. `dtype` (float32, bfloat16, float16, auto) and `backend` (torch,
    openvino) are how the SAM variant is run. `accept` is a dataset in any format that people made: its
    labels are kept as they are, and so is every label that was edited in the output. Links in `data` are followed;
    those in that dataset, and in that of the detector labels:, are followed out of it only with `follow_links`.

    `class_map` is the user's own taxonomy, a mapping from the detector's class names to new ones or a file of it (YAML,
    JSON or CSV): several names may become one, what it does not name is left out, and category ids count from 1 in its
    order. `rename` holds `OLD=NEW` texts; alone, they leave all other classes as they are.

    `progress` is called after each picture, and `stages` is told how far everything that takes long has come.

    Raises UsageError for what cannot be meant, OutputExists before anything is overwritten, TooManyFailures, and
    LeadsOutside.
    """
    started = time.perf_counter()
    thresholds, grid, clock = thresholds or Thresholds(), grid or Grid(), Clock()
    formats = _check_formats(formats, images)
    if overwrite and update:
        raise UsageError("--overwrite redoes everything and --update as little as it can; choose one of them")
    if workers is not None and workers < 1:
        raise UsageError(f"workers is {workers}; wanted 1 or more")
    if max_failures is not None and max_failures < 0:
        raise UsageError(f"max_failures is {max_failures}; wanted 0 or more")
    out = Path(os.path.abspath(output_dir if output_dir is not None else beside(data)))
    source = scan(data, exclude=_ours(out))
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; wanted a folder for the labels")
    refuse_links(out, formats)
    if not overwrite:
        _refuse_foreign(out)
    mapped = ClassMap.of(class_map, rename)
    if mapped is not None and mapped.whole and classes:
        raise UsageError("--classes and --map both choose classes; leave classes out of the map instead")
    asked = Asked(
        _text(det_model),
        _text(sam_model),
        _text(sam_checkpoint),
        device,
        Detecting(conf, iou, imgsz, max_det),
        class_names(classes),
        thresholds,
        grid,
        relative(source, out),
        detector is not None or segmenter is not None,
        dtype,
        backend,
        mapped,
    )
    recall = Recall(OutputFolder(out), asked)

    def load() -> tuple[Models, str]:
        with clock.of("load"):
            chosen = resolve_device(device)
            models = _models(
                det_model,
                sam_model,
                sam_checkpoint,
                detector,
                segmenter,
                device=chosen,
                detecting=asked.detecting,
                classes=classes,
                grid=grid,
                trust_weights=trust_weights,
                follow_links=follow_links,
                dtype=dtype,
                backend=backend,
                class_map=mapped,
            )
            return models, chosen

    loaded = None
    known = None if overwrite else recall.find()
    with Lock(out):
        while True:
            if known is None:
                loaded = loaded or load()
                known = Recalled(settings_of(asked, *loaded), loaded[0].categories)
            run = Run(
                out,
                source,
                known.settings,
                known.categories,
                formats,
                images,
                overwrite,
                update,
                max_failures,
                Path(accept) if accept is not None else None,
                follow_links,
                stages,
            )
            run.folder.mkdir(HIDDEN)
            run.prepare()
            settings = settings_hash(known.settings)
            with Journal(run.journal, settings, categories=known.categories, below=run.folder) as journal:
                run.stop_when_too_many_failed()
                todo = run.todo(journal)
                run.refuse_edited(todo)
                if todo:
                    loaded = loaded or load()
                    if settings_of(asked, *loaded) != known.settings:  # a GPU came or went; nothing was done yet
                        known = None
                        continue
                    models, chosen = loaded
                    most = _most_at_once(chosen, models.segmenter)
                    at_once = workers or min(most, len(source.paths))
                    step = batch or (1 if chosen == "cpu" else 8)
                    alone = models.detector is None  # then nothing is detected in batches
                    shown = windows(source.paths, todo, 1 if alone else step)
                    ahead = read_ahead(source.root, shown.paths, threads=max(1, at_once // 2), max_pixels=max_pixels)
                    made = label(
                        ahead,
                        models,
                        thresholds,
                        batch=step,
                        at_once=at_once,
                        threads=max(1, torch_threads() // max(1, most)),
                        windows=shown,
                        clock=clock,
                    )
                    labeling = stages.stage("labeling", total=len(source.paths), resumed=len(source.paths) - len(todo))
                    with kept_pages(), closing(ahead), closing(made), labeling as advance:
                        for done in made:
                            with clock.of("journal"):
                                run.finish(done, journal, len(todo), progress)
                            advance(objects=0 if isinstance(done, Failed) else len(done.record.annotations))
                if loaded is not None:
                    recall.keep(known.settings, known.categories)
                return run.close(journal, clock, started)


def beside(data: Data) -> Path:
    """Where labels go when nobody says: `<data>_auto_annotate_labels` next to the data, as ultralytics does."""
    if not isinstance(data, (str, os.PathLike)):
        raise UsageError("a list of pictures has no place beside it for the labels; give output_dir")
    path = Path(os.path.abspath(data))
    return path.parent / f"{path.stem}_auto_annotate_labels"


def _most_at_once(device: str, segmenter: Segmenter) -> int:
    """Images that this machine works on at the same time unless told otherwise; 0 means in the caller's thread.

    They share the cores, and an image keeps that share with any number of workers, in a folder of any size: how many
    threads share a sum may change the last digit of a logit, and the same image must give the same bytes.
    """
    if device == "cpu":
        return max(1, min(segmenter.info.max_concurrency or MOST_AT_ONCE, torch_threads()))
    return 1 if device.startswith("cuda") else 0  # others are not made for several threads


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
    trust_weights: bool | str = False,
    follow_links: bool = False,
    dtype: str,
    backend: str,
    class_map: ClassMap | None = None,
) -> Models:
    if segmenter is None:
        segmenter = _segmenter(sam_model, sam_checkpoint, device=device, grid=grid, dtype=dtype, backend=backend)
    elif (dtype, backend) != ("float32", "torch"):
        raise UsageError("dtype and backend are of the SAM variants; a segmenter of your own brings its own")
    if detector is None and det_model is not None and detectors.parse(str(det_model))[0] != detectors.NO_DETECTOR:
        detector = detectors.load(
            str(det_model),
            device=device,
            classes=classes,
            trust_weights=trust_weights,
            follow_links=follow_links,
            **asdict(detecting),
        )
    elif detector is None and classes:
        raise UsageError("classes were given, but without a detector every object is of one class; leave them out")
    if class_map is not None:
        if detector is None:
            raise UsageError("a class map was given, but without a detector every object is of one class; leave it out")
        detector = MappedDetector(detector, class_map)
    return Models(detector, segmenter)


def _segmenter(
    sam_model: str | os.PathLike[str] | None,
    sam_checkpoint: str | os.PathLike[str] | None,
    *,
    device: str,
    grid: Grid,
    dtype: str,
    backend: str,
) -> Segmenter:
    """What `sam_model` means: a SAM variant, a checkpoint file, or `NAME:WHAT` of another segmenter plug-in."""
    name = os.fspath(sam_model) if sam_model is not None else None
    kind, colon, what = (name or "").partition(":")
    if colon and kind in SEGMENTERS.found():
        name = what or None
    else:
        kind = "sam"
        if name is not None and sam_checkpoint is None and name.lower().endswith(CHECKPOINT_SUFFIXES):
            name, sam_checkpoint = None, name
    if kind == "sam" and name is None and sam_checkpoint is None:
        name = "nano"
    module = SEGMENTERS.get(kind)
    if kind == "sam":
        of_sam: Segmenter = module.load(
            name, checkpoint=sam_checkpoint, device=device, grid=grid, dtype=dtype, backend=backend
        )
        return of_sam
    if (dtype, backend) != ("float32", "torch"):
        raise UsageError(f"dtype and backend are of the SAM variants, not of {kind!r}; leave them out")
    other: Segmenter = module.load(name, checkpoint=sam_checkpoint, device=device, grid=grid)
    return other


def _text(value: str | os.PathLike[str] | None) -> str | None:
    return None if value is None else os.fspath(value)


def _ours(out: Path) -> list[Path]:
    """Folders below an output that hold copies of pictures: they are not input."""
    return [out, *(out / name for name in (*known_formats.names(), "kept", "view"))]


def _check_formats(formats: Sequence[str], images: str | None) -> tuple[str, ...]:
    wanted = (formats,) if isinstance(formats, str) else tuple(dict.fromkeys(formats))
    if not wanted:
        raise UsageError(f"no format was asked for; known: {', '.join(known_formats.names())}")
    if images is not None and images not in IMAGE_MODES:
        raise UnknownName("way to place pictures", images, list(IMAGE_MODES))
    for name in wanted:
        known_formats.get(name)  # UnknownName now, not after hours of work
    return wanted


def _refuse_foreign(out: Path) -> None:
    if (label_file := foreign_labels(out)) is not None:
        raise OutputExists(
            f"{out} already holds labels that samlabel did not write ({label_file.relative_to(out)}); choose another "
            f"folder, or --overwrite to write beside them"
        )
