"""What a run was asked for, and the settings that follow; a finished run is recognised without loading a model."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import detectors
from ..file_state import hash_file, is_unchanged, state_of
from ..files import OutputFolder
from ..hub.hashing import hash_tree
from ..option_info import OptionInfo, Options, Touches, changed, groups_of, options_of
from ..options import RunSpec
from ..pipeline.class_map import ClassMap
from ..pipeline.stages import Models
from ..protocols import Detector, Segmenter
from ..sources.source import Source
from ..types import Category
from .hidden import HIDDEN, read_json

if TYPE_CHECKING:
    from ..segmenters.sam import SamSegmenter

RECALL = f"{HIDDEN}/recall.json"
SHIPPED = ("nano", "none")  # names whose weights come with the package

# Where settings have the options of a part that is not called so.
_PLACES = {"detecting": "detector", "taxonomy": "detector"}
# Stated also where they are the defaults, as they were before there were others: a run is known by a hash of all that
# is stated. No further option belongs here.
_ALWAYS = {
    "conf",
    "iou",
    "imgsz",
    "max_det",
    "classes",
    "pred_iou_thresh",
    "stability_score_thresh",
    "min_area",
    "points_per_side",
    "points_per_batch",
    "stability_score_offset",
    "box_nms_thresh",
    "crop_n_layers",
    "crop_nms_thresh",
    "crop_overlap_ratio",
    "crop_n_points_downscale_factor",
    "min_mask_region_area",
    "mask_nms_thresh",
    "containment_thresh",
    "max_image_share",
    "max_border_share",
    "max_masks",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What decides what the labels are: options as the caller wrote them, and what was read for some of them."""

    spec: RunSpec
    images: str  # the pictures as seen from the output, so that both can be moved together
    own_objects: bool = False  # a detector or segmenter object was given; nothing is known of it but its attributes
    class_map: ClassMap | None = None

    def to_json(self) -> dict[str, Any]:
        from .. import __version__

        options: dict[str, dict[str, Any]] = {}
        for name, part in parts_of(self.spec).items():
            given = changed(part)
            options[name] = {one.name: one.plain(given[one.name]) for one in _deciding(part) if one.name in given}
        for name in ("class_map", "rename"):  # read into `class_map` below
            options["taxonomy"].pop(name, None)
        classes = None if self.class_map is None else [self.class_map.whole, *self.class_map.names.items()]
        found = {"images": self.images, "own_objects": self.own_objects, "class_map": classes, "samlabel": __version__}
        return dict(json.loads(json.dumps({**found, "options": options})))

    def files(self) -> list[Path] | None:
        """Weight files that these arguments name; None where a name does not tell its file."""
        if self.own_objects:
            return None
        found, models = _shipped_weights(), self.spec.models
        sam = models.sam_checkpoint or (models.sam if models.sam not in (None, *SHIPPED) else None)
        name, what = detectors.parse(models.detector)
        if name == "labels":  # a data.yaml or a table leads to further files
            return None
        for one in (sam, what if what is not None else (None if name in SHIPPED else name)):
            if one is None:
                continue
            path = Path(os.path.abspath(Path(one).expanduser()))
            if not path.is_file():
                return None
            found.append(path)
        return found


@dataclass(frozen=True, slots=True)
class Recalled:
    """What an earlier run with the same arguments and the same weight files found out by loading its models."""

    settings: dict[str, Any]
    categories: tuple[Category, ...]


@dataclass(slots=True)
class Recall:
    """The memory of `OUT/.samlabel`: arguments, hashes of weight files, and the settings they led to."""

    out: OutputFolder
    asked: Asked
    files: list[Path] | None = field(init=False)

    def __post_init__(self) -> None:
        self.files = self.asked.files()

    def find(self) -> Recalled | None:
        """The settings of the earlier run, None when anything is not as it was."""
        if self.files is None:
            return None
        try:
            found = read_json(self.out, RECALL)
            if found["asked"] != self.asked.to_json() or set(found["files"]) != {str(path) for path in self.files}:
                return None
            if any(not _is_same(Path(path), known) for path, known in found["files"].items()):
                return None
            categories = tuple(Category(int(key), str(name), above) for key, name, above in found["categories"])
            settings = found["settings"]
            if not _follow(settings, self.asked):
                return None
            return Recalled(settings, categories)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def keep(self, settings: Mapping[str, Any], categories: Iterable[Category]) -> None:
        """Remember them for the next run; atomic, and only where they can be recognised again."""
        if self.files is None:
            self.out.remove(RECALL)
            return
        known = {str(path): [*state_of(path), hash_file(path)] for path in self.files}
        rows = [[one.id, one.name, one.supercategory] for one in categories]
        says = {"asked": self.asked.to_json(), "files": known, "settings": dict(settings), "categories": rows}
        self.out.write(RECALL, json.dumps(says) + "\n", durable=True)


def settings_of(asked: Asked, models: Models, device: str) -> dict[str, Any]:
    """Everything that decides what the labels are; two runs with equal settings may share a journal."""
    from .. import __version__

    settings: dict[str, Any] = {
        "samlabel": __version__,
        "images": asked.images,
        "device": device.partition(":")[0],
        "segmenter": segmenter_settings(models.segmenter),
    }
    stated = {name: stated_options(part) for name, part in parts_of(asked.spec).items()}
    if models.detector is None:
        settings["detector"] = "none"
        stated = {name: said for name, said in stated.items() if _PLACES.get(name) != "detector"}
    else:
        found = detector_settings(models.detector)
        settings["detector"] = {**found, "weights": found["weights"] or _hash_what(asked.spec.models.detector)}
        stated.pop("grid")
        if asked.class_map is not None:  # a list, as the order of a whole taxonomy gives the ids
            settings["detector"]["class_map"] = [asked.class_map.whole, *map(list, asked.class_map.names.items())]
    for name, said in stated.items():
        if said:
            settings.setdefault(_PLACES.get(name, name), {}).update(said)
    return settings


def stated_options(options: Options) -> dict[str, Any]:
    """The values that settings state as they are: those that decide what the labels are.

    One that is its option's default is left out, so that a new option leaves the settings of older runs as they were.
    """
    stated = {*changed(options), *_ALWAYS}
    return {
        one.name: one.plain(getattr(options, one.name))
        for one in _deciding(options)
        if one.name in stated and not one.resolved
    }


def parts_of(spec: RunSpec) -> dict[str, Options]:
    """The parts of a run's options by name, and under `run` those that it holds itself."""
    return {"run": spec, **{name: getattr(spec, name) for name in groups_of(type(spec))}}


def names_of(spec: type[RunSpec], touches: Touches) -> frozenset[str]:
    """Names in the settings, as `thresholds.min_area`, of the options of which another value touches that much."""
    parts = {"run": spec, **groups_of(spec)}
    return frozenset(
        f"{_PLACES.get(name, name)}.{one.name}"
        for name, part in parts.items()
        for one in options_of(part)
        if one.touches == touches
    )


def _deciding(options: Options) -> list[OptionInfo]:
    """Options on which the labels depend."""
    return [one for one in options_of(type(options)) if one.touches != "nothing"]


def _follow(settings: Mapping[str, Any], asked: Asked) -> bool:
    """Whether settings that were noted can be those that `asked` led to; the note may be a stranger's."""
    own = {
        "thresholds": stated_options(asked.spec.thresholds),
        "images": asked.images,
        "samlabel": asked.to_json()["samlabel"],
    }
    models = isinstance(settings["segmenter"], Mapping) and isinstance(settings["detector"], (Mapping, str))
    return models and all(settings[key] == value for key, value in own.items())


def segmenter_settings(segmenter: Segmenter[Any] | SamSegmenter) -> dict[str, Any]:
    """What of a segmenter decides what the masks are; None for what one of a third party does not say."""
    info = segmenter.info
    return {"name": info.name, "weights": info.weights_sha256, "dtype": info.dtype, "backend": info.backend}


def detector_settings(detector: Detector) -> dict[str, Any]:
    """What of a detector decides what the boxes are; None for what one of a third party does not say."""
    return {"name": detector.info.name, "weights": detector.info.weights_sha256}


def relative(source: Source, out: Path) -> str:
    """The pictures as seen from the output."""
    try:
        return Path(os.path.relpath(source.root, out)).as_posix()
    except ValueError:  # another drive of Windows
        return source.root.as_posix()


def _hash_what(det_model: str) -> str | None:
    """SHA-256 of the file or folder that a detector was loaded from, when its name shows one."""
    what = detectors.parse(det_model)[1]
    path = Path(what).expanduser() if what else None
    return hash_tree(path) if path is not None and path.exists() else None


def _shipped_weights() -> list[Path]:
    """Every weight file inside the package, found without importing what uses it."""
    import importlib.util

    specs = [importlib.util.find_spec(name) for name in ("samlabel", "sam")]
    homes = [Path(one) for spec in specs if spec is not None for one in spec.submodule_search_locations or []]
    return sorted(file for home in homes for file in home.rglob("*.safetensors"))


def _is_same(path: Path, known: Sequence[Any]) -> bool:
    *state, sha256 = known
    return is_unchanged(path, state, sha256)
