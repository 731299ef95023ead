"""`auto_annotate`: from pictures to label files in one call; `run`, the same from a `RunSpec`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

from . import detectors
from . import formats as known_formats
from .cores import MOST_AT_ONCE
from .errors import OutputExists, UsageError
from .files import OutputFolder
from .hub.devices import resolve_device
from .hub.libraries import guarded_torch
from .hub.memory import kept_pages
from .hub.threads import torch_threads
from .lock import Lock
from .option_info import Options, changed, options_of
from .options import (
    SPEC,
    ClassOptions,
    Detecting,
    Duplicates,
    Grid,
    JobOptions,
    ModelOptions,
    OutputOptions,
    RunSpec,
    Thresholds,
    TrustOptions,
)
from .pipeline.class_map import ClassMap, MappedDetector
from .pipeline.context import Clock
from .pipeline.engine import label, windows
from .pipeline.executors import INLINE, Executor, Threads
from .pipeline.reading import read_ahead
from .pipeline.stages import Models
from .progress import SILENT, Progress
from .protocols import Detector, PairsWithImages, Segmenter
from .runs.outputs import foreign_labels, refuse_links
from .runs.run import Event, Run, Summary
from .runs.settings import Asked, Recall, Recalled, relative, settings_of
from .segmenters import SEGMENTERS
from .sources.folder import Data, scan
from .sources.images import Failed

Part = TypeVar("Part", bound=Options)
CHECKPOINT_SUFFIXES = (".pt", ".pth", ".safetensors")
# The names that ultralytics gives to the same models. https://docs.ultralytics.com/models/sam/
ULTRALYTICS_NAMES = {"sam_b.pt": "vit_b", "sam_l.pt": "vit_l", "sam_h.pt": "vit_h", "mobile_sam.pt": "mobile_sam"}


def auto_annotate(
    data: Data,
    det_model: str | os.PathLike[str] | None = SPEC.models.detector,
    sam_model: str | os.PathLike[str] | None = SPEC.models.sam,
    device: str = SPEC.models.device,
    conf: float | None = SPEC.detecting.conf,
    iou: float | None = SPEC.detecting.iou,
    imgsz: int = SPEC.detecting.imgsz,
    max_det: int = SPEC.detecting.max_det,
    classes: Sequence[str | int] | None = SPEC.taxonomy.classes,
    output_dir: str | os.PathLike[str] | None = SPEC.out,
    *,
    formats: Sequence[str] = SPEC.formats,
    models: ModelOptions = SPEC.models,
    detecting: Detecting = SPEC.detecting,
    taxonomy: ClassOptions = SPEC.taxonomy,
    trust: TrustOptions = SPEC.trust,
    thresholds: Thresholds = SPEC.thresholds,
    duplicates: Duplicates = SPEC.duplicates,
    grid: Grid = SPEC.grid,
    output: OutputOptions = SPEC.output,
    job: JobOptions = SPEC.job,
    detector: Detector | None = None,
    segmenter: Segmenter[Any] | None = None,
    progress: Callable[[Event], None] | None = None,
    stages: Progress = SILENT,
) -> Summary:
    """Label files for every picture in `data` (a folder, a file, a glob pattern or a list of these).

    The arguments up to `output_dir` are those of ultralytics' `auto_annotate`. `det_model` is a detector `NAME[:WHAT]`
    or a model file for ultralytics; `None` or "none" covers each picture with a grid of points instead. `sam_model` is
    a SAM variant ("nano" when absent), a checkpoint file, or `NAME:WHAT` of another segmenter. `classes` keeps classes
    by name or number. Labels go to `output_dir`, one folder for each of `formats`, or beside the data to
    `<data>_auto_annotate_labels`.

    All else stands in objects of options: `samlabel.options` says what each does. They hold what the arguments hold as
    well, for whoever prefers that; saying it twice with two values is a UsageError. `detector`, `segmenter`, `progress`
    and `stages` are those of `run`, and so are the errors.
    """
    found = "none" if det_model is None else os.fspath(det_model)
    sam = None if sam_model is None else os.fspath(sam_model)
    if classes is not None:
        classes = (classes,) if isinstance(classes, (str, int)) else tuple(classes)
    spec = RunSpec(
        data if isinstance(data, (str, os.PathLike)) else tuple(data),
        output_dir,
        formats,
        _joined(models, detector=found, sam=sam, device=device),
        _joined(detecting, conf=conf, iou=iou, imgsz=imgsz, max_det=max_det),
        _joined(taxonomy, classes=classes),
        trust,
        thresholds,
        duplicates,
        grid,
        output,
        job,
    )
    return run(spec, detector=detector, segmenter=segmenter, progress=progress, stages=stages)


def _joined(options: Part, **arguments: Any) -> Part:
    """`options` with the arguments that are not their defaults; UsageError where the two contradict each other."""
    usual, said = {one.name: one.default for one in options_of(type(options))}, changed(options)
    given = {name: value for name, value in arguments.items() if value != usual[name]}
    for name, value in given.items():
        if name in said and said[name] != value:
            raise UsageError(f"{name} is {value!r} as an argument and {said[name]!r} in {type(options).__name__}")
    return replace(options, **given)


@guarded_torch()
def run(
    spec: RunSpec,
    *,
    detector: Detector | None = None,
    segmenter: Segmenter[Any] | None = None,
    progress: Callable[[Event], None] | None = None,
    stages: Progress = SILENT,
) -> Summary:
    """Label files as `spec` says; the one way to make them, of Python and of the command line.

    `detector` and `segmenter` are objects of your own in the place of those that `spec.models` names.

    Started again with the same settings it continues; a finished dataset stays as it is. With other settings it stops,
    or with `spec.output.update` redoes the pictures that the difference touches, or with `overwrite` all of them. The
    dataset `accept` is of people's labels: they are kept as they are, and so is every label that was edited in the
    output. Links in the source are followed; those in that dataset, and in that of the detector labels:, are followed
    out of it only with `follow_links`. The labels are the same bytes with any number of `spec.job.workers`, since an
    image's share of the cores does not depend on it.

    `progress` is called after each picture, and `stages` is told how far everything that takes long has come.

    Raises UsageError for what cannot be meant, OutputExists before anything is overwritten, TooManyFailures, and
    LeadsOutside.
    """
    started = time.perf_counter()
    clock, job, output, data = Clock(), spec.job, spec.output, spec.source
    formats = _check_formats(spec.formats)
    out = Path(os.path.abspath(spec.out if spec.out is not None else beside(data)))
    source = scan(data, exclude=_ours(out))
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; wanted a folder for the labels")
    refuse_links(out, formats)
    if not output.overwrite:
        _refuse_foreign(out)
    mapped = ClassMap.of(spec.taxonomy.class_map, spec.taxonomy.rename)
    if mapped is not None and mapped.whole and spec.taxonomy.classes:
        raise UsageError("--classes and --map both choose classes; leave classes out of the map instead")
    asked = Asked(spec, relative(source, out), detector is not None or segmenter is not None, mapped)
    recall = Recall(OutputFolder(out), asked)

    def load() -> tuple[Models, str]:
        with clock.of("load"):
            chosen = resolve_device(spec.models.device)
            return _models(spec, detector, segmenter, device=chosen, class_map=mapped), chosen

    loaded = None
    known = None if output.overwrite else recall.find()
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
                output.place_images,
                output.overwrite,
                output.update,
                0 if job.fail_fast else job.max_failures,
                Path(output.accept) if output.accept is not None else None,
                output.follow_links,
                stages,
                spec=spec,
            )
            with run.begin() as begun:
                todo = begun.todo
                remarks: tuple[str, ...] = ()
                if todo:
                    loaded = loaded or load()
                    if settings_of(asked, *loaded) != known.settings:  # a GPU came or went; nothing was done yet
                        known = None
                        continue
                    models, chosen = loaded
                    pairs = models.detector if isinstance(models.detector, PairsWithImages) else None
                    if pairs is not None:
                        pairs.expect(source.paths)
                    way = models.stages(spec.thresholds, spec.duplicates)
                    most = _most_at_once(chosen, models.segmenter)
                    at_once = job.workers or min(most, len(source.paths))
                    step = (job.batch or (1 if chosen == "cpu" else 8)) if any(one.batched for one in way) else 1
                    executor: Executor = INLINE
                    if at_once and all(one.thread_safe for one in way if not one.batched):
                        executor = Threads(at_once, max(1, torch_threads() // max(1, most)))
                    shown = windows(tuple(source.refs()), todo, step)
                    ahead = read_ahead(
                        source, shown.refs, threads=max(1, at_once // 2), max_pixels=job.max_pixels, clock=clock
                    )
                    made = label(ahead, way, batch=step, executor=executor, windows=shown)
                    labeling = stages.stage("labeling", total=len(source.paths), resumed=len(source.paths) - len(todo))
                    with kept_pages(), closing(ahead), closing(made), labeling as advance:
                        for done in made:
                            with clock.of("journal"):
                                begun.append(done, progress)
                            advance(objects=0 if isinstance(done, Failed) else len(done.record.annotations))
                    remarks = () if pairs is None else tuple(pairs.remarks())
                if loaded is not None:
                    recall.keep(known.settings, known.categories)
                return begun.close(clock, started, remarks)


def beside(data: Data) -> Path:
    """Where labels go when nobody says: `<data>_auto_annotate_labels` next to the data, as ultralytics does."""
    if not isinstance(data, (str, os.PathLike)):
        raise UsageError("a list of pictures has no place beside it for the labels; give output_dir")
    path = Path(os.path.abspath(data))
    return path.parent / f"{path.stem}_auto_annotate_labels"


def _most_at_once(device: str, segmenter: Segmenter[Any]) -> int:
    """Images that this machine works on at the same time unless told otherwise; 0 means in the caller's thread.

    They share the cores, and an image keeps that share with any number of workers, in a folder of any size: how many
    threads share a sum may change the last digit of a logit, and the same image must give the same bytes.
    """
    if device == "cpu":
        return max(1, min(segmenter.info.max_concurrency or MOST_AT_ONCE, torch_threads()))
    return 1 if device.startswith("cuda") else 0  # others are not made for several threads


def _models(
    spec: RunSpec,
    detector: Detector | None,
    segmenter: Segmenter[Any] | None,
    *,
    device: str,
    class_map: ClassMap | None,
) -> Models:
    """The models that `spec` names, or the objects in their place, on the device that was resolved."""
    named, classes, trust = spec.models.detector, spec.taxonomy.classes, spec.trust
    if segmenter is None:
        segmenter = _segmenter(spec.models, device=device, grid=spec.grid)
    elif not _is_plain(spec.models):
        raise UsageError("dtype and backend are of the SAM variants; a segmenter of your own brings its own")
    if detector is None and detectors.parse(named)[0] != detectors.NO_DETECTOR:
        detector = detectors.load(
            named,
            device=device,
            classes=classes,
            trust_weights=trust.trust_sha256 or trust.trust_weights,
            follow_links=spec.output.follow_links,
            **asdict(spec.detecting),
        )
    elif detector is None and classes:
        raise UsageError("classes were given, but without a detector every object is of one class; leave them out")
    if class_map is not None:
        if detector is None:
            raise UsageError("a class map was given, but without a detector every object is of one class; leave it out")
        detector = MappedDetector(detector, class_map)
    return Models(detector, segmenter)


def _segmenter(models: ModelOptions, *, device: str, grid: Grid) -> Segmenter[Any]:
    """What `models.sam` means: a SAM variant, a checkpoint file, or `NAME:WHAT` of another segmenter plug-in."""
    name, checkpoint = models.sam, models.sam_checkpoint
    kind, colon, what = (name or "").partition(":")
    if colon and kind in SEGMENTERS.found():
        name = what or None
    else:
        kind = "sam"
        if name in ULTRALYTICS_NAMES and not Path(name).exists():
            name = ULTRALYTICS_NAMES[name]
        if name is not None and checkpoint is None and name.lower().endswith(CHECKPOINT_SUFFIXES):
            name, checkpoint = None, name
    if kind == "sam" and name is None and checkpoint is None:
        name = "nano"
    module = SEGMENTERS.get(kind)
    if kind == "sam":
        of_sam: Segmenter[Any] = module.load(
            name, checkpoint=checkpoint, device=device, grid=grid, dtype=models.dtype, backend=models.backend
        )
        return of_sam
    if not _is_plain(models):
        raise UsageError(f"dtype and backend are of the SAM variants, not of {kind!r}; leave them out")
    other: Segmenter[Any] = module.load(name, checkpoint=checkpoint, device=device, grid=grid)
    return other


def _is_plain(models: ModelOptions) -> bool:
    return (models.dtype, models.backend) == (SPEC.models.dtype, SPEC.models.backend)


def _ours(out: Path) -> list[Path]:
    """Folders below an output that hold copies of pictures: they are not input."""
    return [out, *(out / name for name in (*known_formats.names(), "kept", "view"))]


def _check_formats(formats: Sequence[str]) -> tuple[str, ...]:
    wanted = (formats,) if isinstance(formats, str) else tuple(dict.fromkeys(formats))
    if not wanted:
        raise UsageError(f"no format was asked for; known: {', '.join(known_formats.names())}")
    for name in wanted:
        known_formats.get(name)  # UnknownName now, not after hours of work
    return wanted


def _refuse_foreign(out: Path) -> None:
    if (label_file := foreign_labels(out)) is not None:
        raise OutputExists(
            f"{out} already holds labels that samlabel did not write ({label_file.relative_to(out)}); choose another "
            f"folder, or --overwrite to write beside them"
        )
