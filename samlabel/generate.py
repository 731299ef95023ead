"""Masks of everything in pictures, as Segment Anything's own script writes them, or as SA-1B records.

https://github.com/facebookresearch/segment-anything/blob/main/scripts/amg.py
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from . import formats
from .datasets.records import Records
from .errors import OutputExists, UnknownName
from .files import OutputFolder
from .hub.memory import kept_pages
from .lock import Lock
from .pipeline.engine import label
from .pipeline.reading import read_ahead
from .pipeline.stages import GRID_CATEGORIES, Detect, Generate, Stage
from .progress import SILENT, Progress
from .protocols import ImageRef, MaskGenerator, check_model
from .runs.hidden import HIDDEN, read_json
from .runs.invalidation import describe_difference, settings_hash
from .runs.journal import Journal
from .runs.outputs import refuse_links
from .runs.settings import detector_settings, relative, segmenter_settings
from .runs.unchanged import Unchanged
from .sources.folder import Data, Folder, scan
from .sources.images import Failed
from .types import Annotation, Dataset, ImageRecord

if TYPE_CHECKING:
    from .protocols import Detector
    from .segmenters.sam import SamSegmenter

SETTINGS, JOURNAL = f"{HIDDEN}/generate.json", f"{HIDDEN}/journal.jsonl"
FORMS = ("png", "coco_rle", "sa1b")
COLUMNS = (
    "id,area,bbox_x0,bbox_y0,bbox_w,bbox_h,point_input_x,point_input_y,predicted_iou,stability_score,"
    "crop_box_x0,crop_box_y0,crop_box_w,crop_box_h"
)


@dataclass(slots=True)
class Generated:
    """What a run wrote."""

    output: Path
    images: int = 0  # pictures whose masks were made
    present: int = 0  # pictures whose masks were there already
    masks: int = 0
    failed: list[Failed] = field(default_factory=list)
    unread: Mapping[str, int] = field(default_factory=dict)  # files among the images that are none, by suffix
    left_out: tuple[str, ...] = ()  # folders among the images that are outputs of earlier runs

    @property
    def exit_code(self) -> int:
        """0 done, 1 nothing could be made, 3 some images failed."""
        if not self.failed:
            return 0
        return 3 if self.images + self.present else 1


@kept_pages()
def generate(
    data: Data,
    output: str | os.PathLike[str],
    segmenter: SamSegmenter,
    *,
    form: str = "png",
    detector: Detector | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Generated:
    """Masks of every image of `data` in the folder `output`, in one of `FORMS`.

    "png" makes a folder an image, `0.png`, `1.png`, ... and metadata.csv; "coco_rle" one JSON file an
    image; "sa1b" SA-1B records. With `detector` its boxes are the prompts, else a grid of points. An image whose masks
    are there is passed over unless `overwrite`; SA-1B records are written all or none. An image that a model cannot
    take is listed in `failed`, and the others are done.

    Settings and a journal lie in `output/.samlabel`: a run that was killed goes on where it stopped, and masks in the
    journal are not computed again. Raises OutputExists, with nothing changed, where masks are there that
    other settings made (`overwrite` replaces them), and UsageError for a link below `output`, or at once where another
    command writes there.
    """
    if form not in FORMS:
        raise UnknownName("output form", form, list(FORMS))
    check_model(segmenter, "segmenter", MaskGenerator)
    out = Path(os.path.abspath(output))
    source = scan(data, exclude=[out])
    suffix = "" if form == "png" else ".json"
    targets = {path: name + suffix for path, name in names(source.paths).items()}
    with Lock(out) as lock:
        folder = OutputFolder(out)
        settings = _settings(source, out, segmenter, form, detector)
        _begin(folder, settings, set(targets.values()), overwrite=overwrite)
        with Journal(out / JOURNAL, settings_hash(settings), categories=GRID_CATEGORIES, below=folder) as journal:
            job = _Job(
                source,
                folder,
                journal,
                targets,
                form,
                progress,
                Generated(out, failed=list(source.failed), unread=source.unread, left_out=source.outputs),
            )
            job.find_done(overwrite=overwrite)
            stages: list[Stage] = [Generate(segmenter, prompted=detector is not None)]
            job.make([Detect(detector), *stages] if detector is not None else stages)
            if form == "sa1b":
                what = f"masks with {json.dumps(settings, sort_keys=True)}"
                sa1b = formats.get("sa1b")
                with formats.begun(lock, what, sa1b, [out], overwrite=overwrite) as may_replace:
                    job.write_records(overwrite=may_replace)
            return job.done


@dataclass(slots=True)
class _Job:
    """One run: which masks are there, which are in the journal, and which are to be made."""

    source: Folder
    folder: OutputFolder
    journal: Journal
    targets: Mapping[str, str]  # the name of each image's output
    form: str
    progress: Progress
    done: Generated
    todo: list[ImageRef] = field(default_factory=list)

    def find_done(self, *, overwrite: bool) -> None:
        """Sort the images: those with output are passed over, those in the journal alone are written."""
        unchanged = Unchanged(self.source, self.folder)
        for ref in self.source.refs():
            path, known = ref.name, False
            if path in self.journal.entries and not overwrite:
                try:
                    known = unchanged.check(self.journal, path)
                except OSError:  # decoding it will say what is wrong
                    known = False
            there = self.folder.kind(self.targets[path]) is not None
            if not known:
                stale = self.journal.entries.pop(path, None) is not None
                if overwrite or stale or not there:  # what is there without an entry is of a version without a journal
                    self.todo.append(ref)
                else:
                    self.done.present += 1
            elif there or self.form == "sa1b":
                self.done.present += 1
            else:
                self._write(self.journal.record(path))
        unchanged.keep()

    def make(self, stages: Sequence[Stage]) -> None:
        """Masks of the images that are left, each in the journal before it is written."""
        total = len(self.source.paths)
        ahead = read_ahead(self.source, self.todo)
        made = label(ahead, stages)
        making = self.progress.stage("making masks", total=total, resumed=total - len(self.todo))
        with closing(ahead), closing(made), making as advance:
            for result in made:
                if isinstance(result, Failed):
                    self.done.failed.append(result)
                    self.progress.tell(f"failed: {result.path}: {result.stage}: {result.reason}")
                    advance()
                    continue
                self.journal.append(result)
                self._write(result.record)
                advance(objects=len(result.record.annotations))

    def _write(self, record: ImageRecord) -> None:
        self.done.images += 1
        self.done.masks += len(record.annotations)
        target = self.targets[record.path]
        if self.form == "png":
            _write_pngs(record, self.folder, target)
        elif self.form == "coco_rle":
            text = json.dumps([as_record(one) for one in record.annotations]) + "\n"
            self.folder.write(target, text, durable=True)

    def write_records(self, *, overwrite: bool) -> None:
        """All SA-1B records, unless they are there and nothing was made."""
        paths = [path for path in self.source.paths if path in self.journal.entries]
        if not self.done.images and all(self.folder.kind(self.targets[path]) is not None for path in paths):
            return
        records = Records(lambda: self.progress.over(self.journal.records(paths), "writing sa1b"))
        dataset = Dataset(GRID_CATEGORIES, records, self.source.root)
        formats.write(dataset, self.done.output, formats.get("sa1b"), overwrite=overwrite, sidecar=False)


def names(paths: tuple[str, ...]) -> dict[str, str]:
    """The name of each picture's output: without its suffix, but where two would share it, with it."""
    stems = {path: str(PurePosixPath(path).with_suffix("")) for path in paths}
    shared = Counter(stem.lower() for stem in stems.values())
    return {path: stem if shared[stem.lower()] == 1 else path for path, stem in stems.items()}


def as_record(one: Annotation) -> dict[str, Any]:
    """An annotation under the names of Segment Anything's records; boxes are x, y, width, height."""
    assert one.mask is not None and one.crop_box is not None, "the generator sets both"
    record = {
        "segmentation": {"size": list(one.mask.size), "counts": one.mask.counts.decode("ascii")},
        "area": one.mask.area,
        "bbox": _xywh(one.box),
        "predicted_iou": one.predicted_iou,
        "point_coords": [list(point) for point in one.point_coords],
        "stability_score": one.stability_score,
        "crop_box": _xywh(one.crop_box),
    }
    return record if one.prompt_box is None else record | {"prompt_box": _xywh(one.prompt_box)}


def _settings(
    source: Folder, out: Path, segmenter: SamSegmenter, form: str, detector: Detector | None
) -> dict[str, Any]:
    """Everything that decides what the masks are."""
    from . import __version__

    return {
        "samlabel": __version__,
        "images": relative(source, out),
        "form": form,
        "device": segmenter.info.device,
        "segmenter": segmenter_settings(segmenter),
        "grid": asdict(segmenter.grid),
        "detector": "none" if detector is None else detector_settings(detector),
    }


def _begin(out: OutputFolder, settings: dict[str, Any], targets: set[str], *, overwrite: bool) -> None:
    """Note the settings, once no masks are left that others made; OutputExists where they may not go."""
    refuse_links(out.named, ())
    before = read_json(out, SETTINGS)
    if before == settings:
        return
    made = list(_outputs(out.path)) if before else [target for target in targets if out.kind(target) is not None]
    if before:
        why = f"holds masks made with other settings: {describe_difference(before, settings)}"
    else:
        why = "holds masks made with settings that nothing here notes"
    if made and not overwrite:
        raise OutputExists(f"{out.named} {why}; choose another --output, or --overwrite to make them anew")
    others = [one for one in made if one not in targets]
    if others:
        raise OutputExists(
            f"{out.named} {why}; --overwrite would leave {len(others)} of them beside the new ones, the first is "
            f"{others[0]}: choose another --output, or move them away"
        )
    for one in made:  # all of them now: a run that is cut off must leave none to the next
        out.remove_tree(one)
    out.write(SETTINGS, json.dumps(settings, indent=1, sort_keys=True) + "\n", durable=True)


def _outputs(out: Path) -> Iterator[str]:
    """Folders of PNG masks and JSON files below `out`, as POSIX paths relative to it; nothing hidden."""
    for where, folders, files in os.walk(out):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        base = Path(where).relative_to(out)
        if "metadata.csv" in files:
            yield base.as_posix()
        yield from ((base / name).as_posix() for name in sorted(files) if name.endswith(".json"))


def _write_pngs(record: ImageRecord, out: OutputFolder, name: str) -> None:
    """A folder of masks that takes its name when all of it is written."""
    with out.replacing_folder(name) as folder:
        _fill(record, out, folder)


def _fill(record: ImageRecord, out: OutputFolder, folder: str) -> None:
    from PIL import Image

    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(COLUMNS.split(","))
    for number, one in enumerate(record.annotations):
        assert one.mask is not None, "the generator sets it"
        with out.replacing(f"{folder}/{number}.png", durable=True) as file:
            Image.fromarray(one.mask.to_pixels().astype("uint8") * 255).save(file, format="PNG")
        values = as_record(one)
        point = values["point_coords"][0] if values["point_coords"] else ["", ""]
        rows.writerow(
            [
                number,
                values["area"],
                *values["bbox"],
                *point,
                values["predicted_iou"],
                values["stability_score"],
                *values["crop_box"],
            ]
        )
    out.write(f"{folder}/metadata.csv", table.getvalue(), durable=True)


def _xywh(box: tuple[float, ...]) -> list[float]:
    x0, y0, x1, y1 = box
    return [int(v) if v == int(v) else v for v in (x0, y0, x1 - x0, y1 - y0)]
