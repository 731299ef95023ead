"""What a budget of points costs: `python -m tests.benchmarks.budgets SAMLABEL_DATA/photos/val.json`.

Writes the labels as YOLO rows, and as COCO polygons, within each budget into a temporary folder, and prints the mean
and the lowest mask IoU as the format's usual reader fills them (ultralytics, pycocotools), the share of masks at 0.95
or more, points an object, and the size of the labels. No test collects this.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import converters
from converters.round_trip import down

BUDGETS: tuple[dict[str, Any], ...] = (
    {},
    {"tolerance": 0.5},
    {"tolerance": 1.0},
    {"tolerance": 2.0},
    {"max_points": 200},
    {"max_points": 100},
    {"max_points": 50},
    {"max_points": 20},
)


def ious(source: Path, to: str, budget: dict[str, Any]) -> Iterator[float]:
    """IoU of every mask with what the reader of the format fills for it."""
    options = {**budget, **({"segmentation": "polygons"} if to == "coco" else {})}
    form = converters.get(to)
    chosen = form.chosen(options)
    for record in converters.read(source).records:
        masked = [a for a in record.annotations if a.mask is not None]
        yield from (iou for iou in form.rendered_ious(masked, record.size, chosen) if iou is not None)


def written(source: Path, to: str, budget: dict[str, Any]) -> tuple[int, int, int]:
    """Points, objects and bytes of the labels within a budget."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / ("out.json" if to == "coco" else "out")
        options = {**budget, **({"segmentation": "polygons"} if to == "coco" else {})}
        converters.convert(source, out, to=to, allow_lossy=True, measure="none", images="none", **options)
        if to == "coco":
            found = json.loads(out.read_text(encoding="utf-8"))["annotations"]
            polygons = [one["segmentation"] for one in found if isinstance(one["segmentation"], list)]
            points = sum(len(polygon) // 2 for one in polygons for polygon in one)
            return points, len(polygons), sum(len(json.dumps(one, separators=(",", ":"))) for one in polygons)
        texts = [file.read_text(encoding="utf-8") for file in (out / "labels").rglob("*.txt")]
        rows = [row for text in texts for row in text.splitlines()]
        return sum((len(row.split()) - 1) // 2 for row in rows), len(rows), sum(map(len, texts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("source", type=Path)
    source = parser.parse_args().source
    print("| budget | format | mean IoU | lowest | at 0.95 or more | points an object | labels |")
    print("|---|---|---|---|---|---|---|")
    for to in ("yolo", "coco"):
        for budget in BUDGETS:
            found = list(ious(source, to, budget))
            points, objects, size = written(source, to, budget)
            name = ", ".join(f"--{key.replace('_', '-')} {value:g}" for key, value in budget.items()) or "none"
            good = sum(iou >= 0.95 for iou in found) / len(found)
            print(
                f"| {name} | {to} | {down(sum(found) / len(found))} | {down(min(found))} | {good:.1%} | "
                f"{points / max(objects, 1):.0f} | {size / 1e6:.2f} MB |",
                flush=True,
            )


if __name__ == "__main__":
    main()
