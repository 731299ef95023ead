"""Every option with its default, and `RunSpec`, which holds all of one run.

The command line, samlabel.toml, the variables SAMLABEL_* and `auto_annotate` all make a RunSpec. An option is a field
here and used where it acts; its flag, its help, its bounds and its place in the settings follow from the field.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from .errors import UsageError
from .option_info import Options, option
from .sources.folder import Data
from .sources.images import MAX_PIXELS

WEAK_SCORE = 0.55  # objects of a lower detector score are often wrong: of nano's about four in ten

# The groups of options in the help, in this order; options without one come first.
MODELS, MASKS, GENERATOR, BEYOND = "Models", "Masks", "Without a detector (--detector none)", "Beyond amg.py"
OUTPUT, JOB = "Output", "As a job"

# What the help says of thresholds that each SAM variant brings itself; looking them up would load torch.
_OWN_IOU, _OWN_STABILITY = "the variant's own, 0.88 but for nano", "its own, 0.95 but for nano"


@dataclass(frozen=True, slots=True)
class ModelOptions(Options):
    """Which models find and outline objects, and how they run."""

    detector: str = option(
        "nano",
        "What finds objects: see samlabel detectors. A model file alone means ultralytics; none covers each picture "
        "with a grid of points.",
        metavar="NAME[:WHAT]",
        panel=MODELS,
        resolved=True,
    )
    sam: str | None = option(
        None,
        "What outlines them: see samlabel models. A checkpoint file alone tells its variant.",
        metavar="VARIANT",
        shown="nano, or what --sam-checkpoint holds",
        panel=MODELS,
        resolved=True,
    )
    sam_checkpoint: str | os.PathLike[str] | None = option(
        None, "Weights for --sam: .pth, .pt or .safetensors.", metavar="FILE", panel=MODELS, resolved=True
    )
    device: str = option(
        "", "cpu, cuda, 0, mps, ...", shown="a GPU where there is one, else cpu", panel=MODELS, resolved=True
    )
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = option(
        "float32",
        "Numbers that SAM computes in; bfloat16 is faster where the processor has it, and moves edges a little.",
        panel=MODELS,
        resolved=True,
    )
    backend: Literal["torch", "openvino"] = option(
        "torch", "What runs SAM's image encoder.", panel=MODELS, resolved=True
    )


@dataclass(frozen=True, slots=True)
class Detecting(Options):
    """What a detector is asked for."""

    conf: float | None = option(None, "Minimum detection score.", low=0, high=1, shown="0.25, nano 0.48", panel=MODELS)
    iou: float | None = option(
        None, "Boxes that overlap more are one object.", low=0, high=1, shown="0.7, nano 0.5", panel=MODELS
    )
    imgsz: int = option(640, "Longest side that the detector looks at, in pixels.", low=1, panel=MODELS)
    max_det: int = option(300, "Most boxes an image.", low=1, panel=MODELS)


@dataclass(frozen=True, slots=True)
class ClassOptions(Options):
    """Which of the detector's classes are kept, and what they are called.

    `class_map` is a mapping from the detector's class names to new ones (None leaves one out), or a file of it: several
    names may become one, what it does not name is left out, and category ids count from 1 in its order. `rename` holds
    `OLD=NEW` texts; alone, they leave all other classes as they are.
    """

    classes: Sequence[str | int] | None = option(
        None,
        "Keep these classes only, by name or number; repeat it or separate by commas.",
        shown="all",
        commas=True,
        panel=MODELS,
    )
    class_map: str | os.PathLike[str] | Mapping[str, str | None] | None = option(
        None,
        "Your own classes, from YAML or JSON (old: new) or CSV (old,new); classes not named are left out.",
        flags=("--map",),
        metavar="FILE",
        shown="none",
        panel=MODELS,
        resolved=True,
    )
    rename: Sequence[str] = option(
        (),
        "Rename a class of the detector; two of one name become one; OLD= leaves it out.",
        metavar="OLD=NEW",
        shown="none",
        panel=MODELS,
        resolved=True,
    )


@dataclass(frozen=True, slots=True)
class TrustOptions(Options):
    """Whether a detector may open a file that can run code; a `.pt` is a Python pickle."""

    trust_weights: bool = option(
        False,
        "Open a detector's file that can run code, such as a .pt; only for files of people you trust.",
        panel=MODELS,
        touches="nothing",
    )
    trust_sha256: str | None = option(
        None, "The same for the one file with this SHA-256.", metavar="HEX", panel=MODELS, touches="nothing"
    )


@dataclass(frozen=True, slots=True)
class Thresholds(Options):
    """What a mask must reach to become a label; the defaults drop empty masks only."""

    pred_iou_thresh: float = option(
        0.0,
        "Lowest predicted IoU of a mask.",
        low=0,
        high=1,
        shown=f"0.0 with a detector, {_OWN_IOU} without",
        panel=MASKS,
        touches="selection",
    )
    stability_score_thresh: float = option(
        0.0,
        "Lowest stability score of a mask.",
        low=0,
        high=1,
        shown=f"0.0 with a detector, {_OWN_STABILITY} without",
        panel=MASKS,
        touches="selection",
    )
    min_area: int = option(1, "Fewest pixels of a mask.", low=0, panel=MASKS, touches="selection")


@dataclass(frozen=True, slots=True)
class Duplicates(Options):
    """When two masks are of the same thing, and only the better one is kept; the defaults keep both."""

    duplicate_iou: float = option(
        1.0, "Masks that overlap more are one object; the better stays. 1 keeps all.", low=0, high=1, panel=MASKS
    )
    duplicate_containment: float = option(
        1.0, "Masks of which more lies in a better one go. 1 keeps all.", low=0, high=1, panel=MASKS
    )
    agnostic_nms: bool = option(False, "Compare masks of different classes too.", panel=MASKS)

    @property
    def any(self) -> bool:
        """Whether anything can be a duplicate."""
        return self.duplicate_iou < 1 or self.duplicate_containment < 1


@dataclass(frozen=True, slots=True)
class Grid(Options):
    """How the automatic mask generator works when there is no detector; Segment Anything's own defaults.

    https://github.com/facebookresearch/segment-anything/blob/main/segment_anything/automatic_mask_generator.py
    """

    points_per_side: int = option(32, "Points along one side of the grid.", low=1, panel=GENERATOR)
    points_per_batch: int = option(64, "Points decoded at once.", low=1, panel=GENERATOR)
    pred_iou_thresh: float | None = option(
        None, "Lowest predicted IoU of a mask.", low=0, high=1, shown=_OWN_IOU, panel=GENERATOR
    )
    stability_score_thresh: float | None = option(
        None, "Lowest stability score of a mask.", low=0, high=1, shown=_OWN_STABILITY, panel=GENERATOR
    )
    stability_score_offset: float = option(1.0, "Shift of the cutoff for the stability score.", panel=GENERATOR)
    box_nms_thresh: float = option(0.7, "Masks whose boxes overlap more are one.", low=0, high=1, panel=GENERATOR)
    crop_n_layers: int = option(0, "Layers of crops that are searched too.", low=0, panel=GENERATOR)
    crop_nms_thresh: float = option(
        0.7, "Masks of two crops whose boxes overlap more are one.", low=0, high=1, panel=GENERATOR
    )
    crop_overlap_ratio: float = option(
        512 / 1500, "Overlap of crops, as a part of the image.", low=0, high=1, panel=GENERATOR
    )
    crop_n_points_downscale_factor: int = option(1, "How much coarser the grid gets a layer.", low=1, panel=GENERATOR)
    min_mask_region_area: int = option(0, "Smaller holes and islands are removed, in pixels.", low=0, panel=GENERATOR)
    mask_nms_thresh: float = option(
        1.0, "Masks that overlap more are one; the better stays.", low=0, high=1, panel=BEYOND
    )
    containment_thresh: float = option(
        1.0, "Masks that lie in a larger one by more than this part go.", low=0, high=1, panel=BEYOND
    )
    max_image_share: float = option(1.0, "Masks over more than this part of the image go.", low=0, high=1, panel=BEYOND)
    max_border_share: float = option(
        1.0, "Masks over more than this part of the image's edge go.", low=0, high=1, panel=BEYOND
    )
    max_masks: int | None = option(None, "Most masks an image.", low=1, panel=BEYOND)


@dataclass(frozen=True, slots=True)
class OutputOptions(Options):
    """What happens in the output folder: to files that are there, and with images and people's labels."""

    place_images: Literal["copy", "hardlink", "symlink", "none"] | None = option(
        None,
        "How formats that hold pictures get them.",
        named="way to place images",
        flags=("--images",),
        shown="each format's own way",
        panel=OUTPUT,
        touches="nothing",
    )
    overwrite: bool = option(False, "Redo what samlabel wrote; other files stay.", panel=OUTPUT, touches="nothing")
    accept: str | os.PathLike[str] | None = option(
        None,
        "Labels that people made, in any format: they are kept and never redone.",
        metavar="DATASET",
        panel=OUTPUT,
        touches="nothing",
    )
    follow_links: bool = option(
        False,
        "Read what links lead to outside the dataset of --accept or labels:; those of IMAGES always are.",
        panel=OUTPUT,
        touches="nothing",
    )
    update: bool = option(False, "Redo only what a changed setting touches.", panel=OUTPUT, touches="nothing")

    def __post_init__(self) -> None:
        Options.__post_init__(self)
        if self.overwrite and self.update:
            raise UsageError("--overwrite redoes everything and --update as little as it can; choose one of them")


@dataclass(frozen=True, slots=True)
class JobOptions(Options):
    """How much is done at the same time, and what may fail. Labels do not depend on it."""

    fail_fast: bool = option(False, "Stop at the first picture that fails.", panel=JOB, touches="nothing")
    max_failures: int | None = option(
        None, "Stop when more pictures than this have failed.", low=0, shown="never", panel=JOB, touches="nothing"
    )
    workers: int | None = option(
        None,
        "Images worked on at the same time; the labels do not depend on it.",
        low=1,
        shown="one a core, at most 4; 1 on a GPU",
        panel=JOB,
        touches="nothing",
    )
    batch: int | None = option(
        None, "Most images detected at once.", low=1, shown="1 on a CPU, else 8", panel=JOB, touches="nothing"
    )
    max_pixels: int = option(
        MAX_PIXELS, "Larger pictures are refused, not decoded.", low=1, panel=JOB, touches="nothing"
    )


@dataclass(frozen=True, slots=True)
class RunSpec(Options):
    """All that one run was asked for; values alone, so that it can be pickled.

    `source` is a folder, an image, a glob pattern, or a list of these. Labels go to `out`, one folder for each of
    `formats`; without it beside the source, to `<source>_auto_annotate_labels`. `grid` acts without a detector only.
    """

    source: Data = option(
        (),
        "Folder of pictures, pictures, or a quoted glob pattern.",
        flags=("pictures",),
        metavar="IMAGES...",
        touches="nothing",
    )
    out: str | os.PathLike[str] | None = option(
        None, "Folder for the labels.", flags=("--out", "-o"), shown="IMAGES_auto_annotate_labels", touches="nothing"
    )
    formats: Sequence[str] = option(
        ("coco",),
        "Label format; may be repeated. See samlabel formats.",
        flags=("--format", "-f"),
        commas=True,
        touches="nothing",
    )
    models: ModelOptions = ModelOptions()
    detecting: Detecting = Detecting()
    taxonomy: ClassOptions = ClassOptions()
    trust: TrustOptions = TrustOptions()
    thresholds: Thresholds = Thresholds()
    duplicates: Duplicates = Duplicates()
    grid: Grid = Grid()
    output: OutputOptions = OutputOptions()
    job: JobOptions = JobOptions()


DETECTING, GRID, SPEC = Detecting(), Grid(), RunSpec()  # the defaults, for signatures
