"""Runs of the version before options were fields: its settings, and a journal with their hash in each line."""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from samlabel import __version__, run
from samlabel.options import (
    ClassOptions,
    Detecting,
    Grid,
    ModelOptions,
    RunSpec,
    Thresholds,
)

pytestmark = pytest.mark.usefixtures("plain_formats")


BOXES = {"backend": None, "dtype": None, "name": "boxes", "weights": "none"}
COLOURS = {"name": "colours", "weights": "none", "conf": None, "imgsz": 640, "iou": None, "max_det": 300}
COMMON = {"device": "cpu", "images": "../photos", "segmenter": BOXES}
GRID = {
    "box_nms_thresh": 0.7,
    "containment_thresh": 1.0,
    "crop_n_layers": 0,
    "crop_n_points_downscale_factor": 1,
    "crop_nms_thresh": 0.7,
    "crop_overlap_ratio": 0.3413333333333333,
    "mask_nms_thresh": 1.0,
    "max_border_share": 1.0,
    "max_image_share": 1.0,
    "max_masks": None,
    "min_mask_region_area": 0,
    "points_per_batch": 64,
    "points_per_side": 8,
    "pred_iou_thresh": None,
    "stability_score_offset": 1.0,
    "stability_score_thresh": None,
}
MAP = [True, ["red", "warm"], ["blue", "cold"]]


def thresholds(area: int = 1, iou: float = 0.0) -> dict[str, Any]:
    return {"min_area": area, "pred_iou_thresh": iou, "stability_score_thresh": 0.0}


OLDER: dict[str, tuple[dict[str, Any], str, RunSpec]] = {
    "a class map": (
        {
            **COMMON,
            "detector": {**COLOURS, "conf": 0.25, "classes": None, "class_map": MAP},
            "thresholds": thresholds(20),
        },
        "b0f8481808ff3a4d",
        RunSpec(
            detecting=Detecting(conf=0.25),
            taxonomy=ClassOptions(class_map={"red": "warm", "blue": "cold"}),
            thresholds=Thresholds(min_area=20),
        ),
    ),
    "classes": (
        {**COMMON, "detector": {**COLOURS, "classes": ["red", "7"]}, "thresholds": thresholds()},
        "7e18324719c9ff3d",
        RunSpec(taxonomy=ClassOptions(classes=["red", 7])),
    ),
    "a grid": (
        {**COMMON, "detector": "none", "grid": GRID, "thresholds": thresholds(iou=0.5)},
        "353c228a64ef9a38",
        RunSpec(models=ModelOptions("none"), grid=Grid(points_per_side=8), thresholds=Thresholds(pred_iou_thresh=0.5)),
    ),
}


def hashed(settings: dict[str, Any]) -> str:
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def older_run(home: Path, fakes: ModuleType, settings: dict[str, Any]) -> Path:
    """An image and the output folder of a run of the version before that had labeled it."""
    image = fakes.draw(home / "photos" / "a.ppm", (2, 3, 8, 9, fakes.RED), size=(12, 16))
    hidden = home / "out" / ".samlabel"
    hidden.mkdir(parents=True)
    (hidden / "settings.json").write_text(json.dumps(settings, indent=1, sort_keys=True) + "\n")
    head = {
        "path": "a.ppm",
        "sha256": hashlib.sha256(image.read_bytes()).hexdigest(),
        "stat": [1, 2, 3, 4],
        "settings": hashed(settings),
        "dropped": {},
        "categories": {"1": 1},
        "weak": 0,
    }
    mask = {"size": [12, 16], "counts": "k066000000000m2"}
    one = {"category_id": 1, "box": [2.0, 3.0, 8.0, 9.0], "mask": mask, "predicted_iou": 0.8, "source": "older"}
    record = {"path": "a.ppm", "size": [12, 16], "annotations": [one]}
    line = "\t".join(json.dumps(part, separators=(",", ":")) for part in (head, record))
    (hidden / "journal.jsonl").write_text(f"{zlib.crc32(line.encode()):08x} {line}\n")
    return home / "out"


@pytest.mark.parametrize(("settings", "name", "spec"), OLDER.values(), ids=OLDER)
def test_a_run_of_the_version_before_goes_on(
    tmp_path: Path, fakes: ModuleType, settings: dict[str, Any], name: str, spec: RunSpec
) -> None:
    assert hashed({**settings, "samlabel": "0.1.0"}) == name
    out = older_run(tmp_path, fakes, {**settings, "samlabel": __version__})
    before = (out / ".samlabel" / "settings.json").read_bytes()
    detector = None if spec.models.detector == "none" else fakes.Detector()
    spec = replace(spec, source=str(tmp_path / "photos"), out=out, models=replace(spec.models, device="cpu"))
    summary = run(spec, detector=detector, segmenter=fakes.Segmenter())
    assert (summary.resumed, summary.annotated) == (1, 0)
    assert (out / ".samlabel" / "settings.json").read_bytes() == before
    assert detector is None or detector.batches == []
