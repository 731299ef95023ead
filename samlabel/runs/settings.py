"""What a run was asked for, and the settings that follow; a finished run is recognised without loading a model."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import detectors
from ..file_state import hash_file, is_unchanged, state_of
from ..files import OutputFolder
from ..options import Detecting, Grid, Thresholds
from ..pipeline.class_map import ClassMap
from ..pipeline.engine import Models
from ..protocols import Detector, Segmenter
from ..sources.images import Source, hash_tree
from ..types import Category
from .hidden import HIDDEN, read_json

if TYPE_CHECKING:
    from ..segmenters.sam import SamSegmenter

RECALL = f"{HIDDEN}/recall.json"
SHIPPED = ("nano", "none")  # names whose weights come with the package


@dataclass(frozen=True, slots=True)
class Asked:
    """The arguments that decide what the labels are, as the caller wrote them."""

    det_model: str | None
    sam_model: str | None
    sam_checkpoint: str | None
    device: str
    detecting: Detecting
    classes: tuple[str, ...] | None
    thresholds: Thresholds
    grid: Grid
    images: str  # the pictures as seen from the output, so that both can be moved together
    own_objects: bool = False  # a detector or segmenter object was given; nothing is known of it but its attributes
    dtype: str = "float32"
    backend: str = "torch"
    class_map: ClassMap | None = None

    def to_json(self) -> dict[str, Any]:
        from .. import __version__

        plain: dict[str, Any] = json.loads(json.dumps({**asdict(self), "samlabel": __version__}))
        return plain

    def files(self) -> list[Path] | None:
        """Weight files that these arguments name; None where a name does not tell its file."""
        if self.own_objects:
            return None
        found = _shipped_weights()
        sam = self.sam_checkpoint or (self.sam_model if self.sam_model not in (None, *SHIPPED) else None)
        name, what = detectors.parse(self.det_model) if self.det_model is not None else (detectors.NO_DETECTOR, None)
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
        "thresholds": asdict(asked.thresholds),
    }
    if models.detector is None:
        return {**settings, "detector": "none", "grid": asdict(asked.grid)}
    found = detector_settings(models.detector)
    settings["detector"] = {
        **found,
        "weights": found["weights"] or _hash_what(asked.det_model),
        "classes": None if asked.classes is None else list(asked.classes),
        **asdict(asked.detecting),
    }
    if asked.class_map is not None:  # a list, as the order of a whole taxonomy gives the ids
        settings["detector"]["class_map"] = [asked.class_map.whole, *map(list, asked.class_map.names.items())]
    return settings


def _follow(settings: Mapping[str, Any], asked: Asked) -> bool:
    """Whether settings that were noted can be those that `asked` led to; the note may be a stranger's."""
    own = {"thresholds": asdict(asked.thresholds), "images": asked.images, "samlabel": asked.to_json()["samlabel"]}
    models = isinstance(settings["segmenter"], Mapping) and isinstance(settings["detector"], (Mapping, str))
    return models and all(settings[key] == value for key, value in own.items())


def segmenter_settings(segmenter: Segmenter | SamSegmenter) -> dict[str, Any]:
    """What of a segmenter decides what the masks are; None for what one of a third party does not say."""
    info = segmenter.info
    return {"name": info.name, "weights": info.weights, "dtype": info.dtype, "backend": info.backend}


def detector_settings(detector: Detector) -> dict[str, Any]:
    """What of a detector decides what the boxes are; None for what one of a third party does not say."""
    return {"name": detector.info.name, "weights": detector.info.weights}


def class_names(classes: Sequence[str | int] | str | int | None) -> tuple[str, ...] | None:
    """Classes as text; one alone need not be in a list."""
    if classes is None:
        return None
    return tuple(str(one) for one in ([classes] if isinstance(classes, (str, int)) else classes))


def relative(source: Source, out: Path) -> str:
    """The pictures as seen from the output."""
    try:
        return Path(os.path.relpath(source.root, out)).as_posix()
    except ValueError:  # another drive of Windows
        return source.root.as_posix()


def _hash_what(det_model: str | None) -> str | None:
    """SHA-256 of the file or folder that a detector was loaded from, when its name shows one."""
    what = detectors.parse(det_model)[1] if det_model is not None else None
    path = Path(what).expanduser() if what else None
    return hash_tree(path) if path is not None and path.exists() else None


def _shipped_weights() -> list[Path]:
    """Every weight file inside the package, found without importing what uses it."""
    import importlib.util

    spec = importlib.util.find_spec("sam")
    homes = [Path(__file__).parent, *(Path(one) for one in (spec.submodule_search_locations or [] if spec else []))]
    return sorted(file for home in homes for file in home.rglob("*.safetensors"))


def _is_same(path: Path, known: Sequence[Any]) -> bool:
    *state, sha256 = known
    return is_unchanged(path, state, sha256)
