"""How good the shipped segmenter is, measured on photos with true masks.

Mean IoU over instances that are no crowds and have at least 400 pixels, prompted by the true
box, beside the filled box, an ellipse in it and OpenCV's GrabCut on the same box.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from .photos import tight_box

if TYPE_CHECKING:
    from sam import Sam

Item = TypeVar("Item")
SMALLEST = 400  # pixels


@dataclass(slots=True)
class Scores:
    """Values by source; the mean over all instances stands under "all"."""

    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, source: str, value: float) -> None:
        self.values[source].append(float(value))
        self.values["all"].append(float(value))

    def mean(self, source: str) -> float:
        return float(np.mean(self.values[source])) if self.values[source] else float("nan")


def instances(data: Path, *, limit: int | None = None) -> Iterator[tuple[dict[str, Any], np.ndarray, list[np.ndarray]]]:
    """Image entry, (H, W, 3) pixels and true masks of each photo of `val.json` that has any to judge."""
    from PIL import Image
    from pycocotools import mask as coco

    table = json.loads((data / "val.json").read_text())
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for a in table["annotations"]:
        if not a["iscrowd"] and a["area"] >= SMALLEST:
            found[a["image_id"]].append(a)
    for image in spread([i for i in table["images"] if found[i["id"]]], limit):
        pixels = np.asarray(Image.open(data / image["file_name"]).convert("RGB"))
        yield image, pixels, [coco.decode(a["segmentation"]).astype(bool) for a in found[image["id"]]]


def spread(items: list[Item], limit: int | None) -> list[Item]:
    """At most `limit` of the items, evenly spread, because neighbours come from one source."""
    return items if limit is None else items[:: -(-len(items) // limit)]


def measure(model: Sam, data: Path, *, limit: int | None = None) -> dict[str, Scores]:
    """IoU of the masks by prompt, and what the model itself thought of them."""
    scores: dict[str, Scores] = defaultdict(Scores)
    for image, pixels, truths in instances(data, limit=limit):
        source = image["source"]
        embedding = model.embed(pixels)
        boxes = np.array([tight_box(t) for t in truths], np.float32)
        points = np.array([[innermost(t)] for t in truths], np.float32)
        inside = np.ones(points.shape[:2], np.int64)
        by_box = model.predict(embedding, boxes=boxes)
        masks = by_box.masks()[:, 0].cpu().numpy()
        clicks = np.array([[corrective(t, m)] for t, m in zip(truths, masks, strict=True)], np.float32)
        labels = np.array([[t[int(y), int(x)]] for t, ((x, y),) in zip(truths, clicks, strict=True)], np.int64)
        refined = model.predict(
            embedding, boxes=boxes, point_coords=clicks, point_labels=labels, mask_input=by_box.low_res_logits[:, :1]
        ).masks()[:, 0]
        by_point = model.predict(embedding, point_coords=points, point_labels=inside, multimask_output=True).masks()
        for k, truth in enumerate(truths):
            reached = iou(masks[k], truth)
            scores["box"].add(source, reached)
            scores["predicted"].add(source, float(by_box.predicted_iou[k, 0]))
            scores["refined"].add(source, iou(refined[k].cpu().numpy(), truth))
            scores["click"].add(source, max(iou(m.cpu().numpy(), truth) for m in by_point[k]))
    return scores


def baselines(data: Path, *, sample: int = 70) -> dict[str, Scores]:
    """IoU of the filled box (every instance), the ellipse in it and GrabCut (at most `sample` a source)."""
    import cv2

    scores: dict[str, Scores] = defaultdict(Scores)
    total: dict[str, int] = defaultdict(int)
    for image, _, truths in instances(data):
        total[image["source"]] += len(truths)
    done: dict[str, int] = defaultdict(int)
    for image, pixels, truths in instances(data):
        source = image["source"]
        for truth in truths:
            tight = tight_box(truth)
            assert tight is not None, "a judged mask has pixels"
            x0, y0, x1, y1 = (int(v) for v in tight)
            box = np.zeros(truth.shape, bool)
            box[y0:y1, x0:x1] = True
            scores["filled box"].add(source, iou(box, truth))
            y, x = np.ogrid[: truth.shape[0], : truth.shape[1]]
            round_ = ((2 * x + 1 - x0 - x1) / (x1 - x0)) ** 2 + ((2 * y + 1 - y0 - y1) / (y1 - y0)) ** 2 <= 1
            scores["ellipse"].add(source, iou(round_, truth))
            done[source] += 1
            if done[source] % -(-total[source] // sample):  # evenly spread: neighbours are of one photo
                continue
            guess = np.zeros(truth.shape, np.uint8)
            cv2.setRNGSeed(0)
            area = (x0, y0, x1 - x0, y1 - y0)
            bgr, behind, before = pixels[:, :, ::-1].copy(), np.zeros((1, 65)), np.zeros((1, 65))
            try:
                cv2.grabCut(bgr, guess, area, behind, before, 5, cv2.GC_INIT_WITH_RECT)
                cut = (guess == cv2.GC_FGD) | (guess == cv2.GC_PR_FGD)
            except cv2.error:  # a box over the whole photo leaves no background to learn from
                cut = box
            scores["GrabCut"].add(source, iou(cut, truth))
    return scores


def innermost(mask: np.ndarray) -> tuple[float, float]:
    """x, y of the pixel furthest inside a boolean mask."""
    import cv2

    distance = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    y, x = np.unravel_index(distance.argmax(), mask.shape)
    return float(x), float(y)


def corrective(truth: np.ndarray, guess: np.ndarray) -> tuple[float, float]:
    """x, y of the middle of the largest error, or of the truth where there is none."""
    missing, extra = truth & ~guess, guess & ~truth
    return innermost(max((missing, extra), key=np.count_nonzero) if (missing | extra).any() else truth)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boolean masks; 0 when both are empty."""
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 0.0


def auc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Probability that a good one is ranked above a bad one (area under the ROC curve)."""
    good, bad = scores[positive], scores[~positive]
    if not len(good) or not len(bad):
        return float("nan")
    order = np.sort(bad)
    below, upto = np.searchsorted(order, good, "left"), np.searchsorted(order, good, "right")
    return float((below + (upto - below) / 2).mean() / len(bad))


def report(data: Path, *, checkpoint: Path | None = None, limit: int | None = None, compare: bool = True) -> str:
    """The figures of the shipped segmenter, or of other weights of it, as text."""
    import sam

    model = sam.load("nano", checkpoint=checkpoint)
    reached = measure(model, data, limit=limit)
    columns = {**(baselines(data) if compare else {}), "nano": reached["box"]}
    columns |= {"nano + click": reached["refined"], "nano, 1 click": reached["click"]}
    sources = [*sorted(k for k in reached["box"].values if k != "all"), "all"]
    lines = ["Mean IoU of masks prompted by the true box (last column: by one click, best of three)", ""]
    lines.append("| source | instances | " + " | ".join(columns) + " |")
    lines.append("|---" * (len(columns) + 2) + "|")
    for source in sources:
        cells = [f"{column.mean(source):.3f}" for column in columns.values()]
        lines.append(f"| {source} | {len(reached['box'].values[source])} | " + " | ".join(cells) + " |")
    truth, predicted = np.array(reached["box"].values["all"]), np.array(reached["predicted"].values["all"])
    error, rank = np.abs(truth - predicted).mean(), auc(predicted, truth > 0.75)
    lines += ["", f"Predicted IoU: mean absolute error {error:.3f}, AUC for IoU above 0.75 {rank:.3f}"]
    return "\n".join(lines)
