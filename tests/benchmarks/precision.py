"""Distance of each faster way to float32: `python -m tests.benchmarks.precision DATA [--photos 40] [--seeded vit_b]`.

DATA holds photos/val.json. Masks of nano for true boxes of photos spread over all sources; for the variants named by
`--seeded` the same with seeded weights, whose masks are blobs without a meaning (`material.seeded`), on fewer photos.
Printed are the IoU of the masks of both, and the largest error of the embedding as a part of its largest value.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

Photo = tuple[np.ndarray, list[list[float]]]
WAYS: dict[str, dict[str, str]] = {
    "bfloat16": {"dtype": "bfloat16"},
    "openvino": {"backend": "openvino"},
    "openvino, bfloat16": {"backend": "openvino", "dtype": "bfloat16"},
}


def photos(data: Path, count: int) -> Iterator[Photo]:
    """Some photos of the validation part, spread over all its sources, each with at most ten true boxes."""
    from PIL import Image

    content = json.loads((data / "photos" / "val.json").read_text(encoding="utf-8"))
    images = content["images"][:: max(1, len(content["images"]) // count)][:count]
    for one in images:
        found = [each["bbox"] for each in content["annotations"] if each["image_id"] == one["id"]]
        boxes = [[x, y, x + w, y + h] for x, y, w, h in found if w > 1 and h > 1][:10]
        if boxes:
            yield np.asarray(Image.open(data / "photos" / one["file_name"]).convert("RGB")), boxes


def overlaps(found: Any, wanted: Any) -> np.ndarray:
    """IoU of the masks of two predictions, those left out that are empty in both."""
    a, b = found.masks().flatten(0, 1), wanted.masks().flatten(0, 1)
    both, either = (a & b).sum((-2, -1)), (a | b).sum((-2, -1))
    return (both / either.clamp(min=1))[either > 0].numpy()


def compare(exact: Any, fast: Any, some: list[Photo]) -> tuple[np.ndarray, float]:
    """IoU of every mask of two models on `some` photos, and the largest error of an embedding."""
    found, error = [], 0.0
    for pixels, boxes in some:
        ours, theirs = fast.embed(pixels), exact.embed(pixels)
        error = max(error, float((ours.features - theirs.features).abs().max() / theirs.features.abs().max()))
        found.append(overlaps(fast.predict(ours, boxes=boxes), exact.predict(theirs, boxes=boxes)))
    return np.concatenate(found), error


def main() -> None:
    import sam
    from samlabel.hub.memory import kept_pages
    from tests.benchmarks.material import seeded

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--photos", type=int, default=40)
    parser.add_argument("--seeded", nargs="*", default=[], metavar="VARIANT")
    parser.add_argument("--seeded-photos", type=int, default=4)
    given = parser.parse_args()
    ways = {name: how for name, how in WAYS.items() if "backend" not in how or importlib.util.find_spec("openvino")}
    print("| weights | way | masks | mean IoU | 1 % worst | worst | embedding |\n|---|---|---|---|---|---|---|")
    with kept_pages(), tempfile.TemporaryDirectory() as folder:
        for name in ("nano", *given.seeded):
            some = list(photos(given.data, given.photos if name == "nano" else given.seeded_photos))
            file = None if name == "nano" else seeded(name, Path(folder))
            exact = sam.load(name, checkpoint=file)
            for way, how in ways.items():
                found, error = compare(exact, sam.load(name, checkpoint=file, **how), some)
                low = np.quantile(found, 0.01)
                print(
                    f"| {name}{', seeded' if file else ''} | {way} | {len(found)} | {found.mean():.4f} | {low:.3f} "
                    f"| {found.min():.3f} | {error:.1e} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
