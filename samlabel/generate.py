"""Masks of everything in pictures, as Segment Anything's own script writes them, or as SA-1B records.

https://github.com/facebookresearch/segment-anything/blob/main/scripts/amg.py
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from . import formats
from .errors import OutputExists, UnknownName, UsageError
from .files import OutputFolder
from .hub.memory import kept_pages
from .lock import Lock
from .pipeline.engine import OF_ONE_IMAGE, failure
from .progress import SILENT, Progress
from .runs.hidden import HIDDEN, read_json
from .runs.invalidation import describe_difference
from .runs.outputs import refuse_links
from .runs.settings import detector_settings, relative, segmenter_settings
from .sources.images import Data, Failed, Source, decode, scan
from .types import Annotation, Category, Dataset, ImageRecord

if TYPE_CHECKING:
    from .protocols import Detector
    from .segmenters.sam import SamSegmenter

SETTINGS = f"{HIDDEN}/generate.json"
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
    """Masks of every picture of `data` in the folder `output`, in one of `FORMS`.

    "png" makes a folder a picture, `0.png`, `1.png`, ... and metadata.csv; "coco_rle" one JSON file a
    picture; "sa1b" SA-1B records. With `detector` its boxes are the prompts, else a grid of points. A
    picture whose masks are there is passed over unless `overwrite`; SA-1B records are made all or none.
    A picture that a model cannot take is listed in `failed`, and the others are done.

    The settings are noted in `output/.samlabel`. Raises OutputExists, with nothing changed, where masks are there that
    other settings made (`overwrite` replaces them), and UsageError for a link below `output`, or at once where another
    command writes there.
    """
    if form not in FORMS:
        raise UnknownName("output form", form, list(FORMS))
    out = Path(os.path.abspath(output))
    source = scan(data, exclude=[out])
    done = Generated(out, failed=list(source.failed))

    def records(paths: Sequence[str]) -> Iterator[ImageRecord]:
        return _records(source, paths, segmenter, detector, done, progress)

    suffix = "" if form == "png" else ".json"
    targets = {path: name + suffix for path, name in names(source.paths).items()}
    with Lock(out) as lock:
        folder = OutputFolder(out)
        settings = _settings(source, out, segmenter, form, detector)
        _begin(folder, settings, set(targets.values()), overwrite=overwrite)
        if form == "sa1b":
            sa1b = formats.get("sa1b")
            dataset = Dataset((Category(1, "object"),), records(source.paths), source.root)
            what = f"masks with {json.dumps(settings, sort_keys=True)}"
            with formats.begun(lock, what, sa1b, [out], overwrite=overwrite) as may_replace:
                formats.write(dataset, out, sa1b, overwrite=may_replace, sidecar=False)
            return done
        todo = [path for path, target in targets.items() if overwrite or folder.kind(target) is None]
        done.present = len(targets) - len(todo)
        for record in records(todo):
            if form == "png":
                _write_pngs(record, folder, targets[record.path])
            else:
                text = json.dumps([as_record(one) for one in record.annotations]) + "\n"
                folder.write(targets[record.path], text, durable=True)
    return done


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


def _records(
    source: Source,
    paths: Sequence[str],
    segmenter: SamSegmenter,
    detector: Detector | None,
    done: Generated,
    progress: Progress,
) -> Iterator[ImageRecord]:
    total = done.present + len(paths)
    with progress.stage("making masks", total=total, resumed=done.present) as advance:
        for path in paths:
            record = _record(source.root, path, segmenter, detector)
            if isinstance(record, Failed):
                done.failed.append(record)
                progress.tell(f"failed: {path}: {record.stage}: {record.reason}")
                advance()
                continue
            done.images += 1
            done.masks += len(record.annotations)
            yield record
            advance(objects=len(record.annotations))


def _record(root: Path, path: str, segmenter: SamSegmenter, detector: Detector | None) -> ImageRecord | Failed:
    stage = "decode"
    try:
        image, boxes = decode(root, path).image, None
        if detector is not None:
            stage = "detect"
            boxes = detector.detect([image])[0].boxes
        stage = "segment"
        return ImageRecord(path, image.size, tuple(segmenter.generate(image, boxes=boxes)))
    except UsageError:
        raise
    except OF_ONE_IMAGE as error:
        return failure(path, stage, error)


def _settings(
    source: Source, out: Path, segmenter: SamSegmenter, form: str, detector: Detector | None
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
