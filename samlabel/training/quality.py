"""How good the shipped models are, measured on photos with true masks.

Masks: mean IoU over instances that are no crowds and have at least 400 pixels, prompted by the true
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

from .photos import EXHAUSTIVE, box_iou, read_photos, tight_box

if TYPE_CHECKING:
    from sam import Sam

Item = TypeVar("Item")
SMALLEST = 400  # pixels
POINTED_AT = 0.04  # of the photo: what is smaller, nobody would point at first


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


def detection(data: Path, *, limit: int | None = None) -> dict[str, Any]:
    """AP50 a class, AR@100 over classes and without, precision and recall at the default score.

    A source counts for a class only where it labels every object of it. "largest" are the largest person, animal and
    vehicle of each photo: of each class how many there are, how many are found, and how many under its name; "first"
    are those of them whose box fills `POINTED_AT` of the photo or more.
    """
    from PIL import Image

    from .. import detectors
    from ..detectors.nano import CLASS_NAMES
    from ..protocols import Image as Picture

    detector = detectors.load("nano", conf=0.01, max_det=100)
    rows: dict[int, list[tuple[float, bool]]] = defaultdict(list)
    counts: dict[int, int] = defaultdict(int)
    recalled: list[float] = []
    shown: list[bool] = []
    largest, first = ({name: [0, 0, 0] for name in CLASS_NAMES if name != "object"} for _ in range(2))
    wanted = 0
    for photo in spread(read_photos(data, "val.json"), limit):
        pixels = np.asarray(Image.open(photo.path).convert("RGB"))
        truth = [a for a in photo.annotations if a["class"] >= 0]
        boxes = np.array([[x, y, x + w, y + h] for x, y, w, h in (a["bbox"] for a in truth)], np.float32).reshape(-1, 4)
        kinds = np.array([a["class"] for a in truth], int)
        (found,) = detector.detect([Picture(photo.path.name, pixels)])
        overlap = box_iou(found.boxes, boxes) if len(found) and len(boxes) else np.zeros((len(found), len(boxes)))
        if len(boxes):
            best = overlap.max(0) if len(found) else np.zeros(len(boxes))
            recalled += [float(np.mean([b >= t for t in np.arange(0.5, 1.0, 0.05)])) for b in best]
        sure = found.scores >= 0.25
        for kind, name in enumerate(CLASS_NAMES):
            if name in largest and (kinds == kind).any():
                areas = np.where(kinds == kind, np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), 0)
                there = overlap[sure, areas.argmax()] >= 0.5
                named = there & (found.category_ids[sure] == kind + 1)
                for counted in (largest, first) if areas.max() >= POINTED_AT * pixels[..., 0].size else (largest,):
                    counted[name] = [
                        a + int(b) for a, b in zip(counted[name], (True, there.any(), named.any()), strict=True)
                    ]
        if len(EXHAUSTIVE[photo.source]) == len(CLASS_NAMES):
            shown += _hits(overlap[sure])
            wanted += len(boxes)
        for kind in EXHAUSTIVE[photo.source]:
            mine, theirs = found.category_ids == kind + 1, kinds == kind
            counts[kind] += int(theirs.sum())
            hits = _hits(overlap[mine][:, theirs])
            rows[kind] += list(zip(found.scores[mine].tolist(), hits, strict=True))
    return {
        "AP50": {CLASS_NAMES[k]: average_precision(rows[k], counts[k]) for k in sorted(counts) if counts[k]},
        "AR@100": float(np.mean(recalled)),
        "precision": sum(shown) / max(len(shown), 1),
        "recall": sum(shown) / max(wanted, 1),
        "largest": largest,
        "first": first,
    }


def _hits(overlap: np.ndarray) -> list[bool]:
    """Which detections, best first, match a box not matched yet at IoU 0.5."""
    taken = np.zeros(overlap.shape[1], bool)
    hits = []
    for row in overlap:
        row = np.where(taken, 0, row)
        k = int(row.argmax()) if len(row) else -1
        hit = k >= 0 and row[k] >= 0.5
        if hit:
            taken[k] = True
        hits.append(bool(hit))
    return hits


def average_precision(rows: list[tuple[float, bool]], count: int) -> float:
    """Area under the precision-recall curve, precision made monotone, over every point."""
    rows = sorted(rows, key=lambda r: -r[0])
    hits = np.cumsum([hit for _, hit in rows])
    if not len(hits) or not count:
        return 0.0
    precision = hits / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    recall = np.concatenate([[0], hits / count])
    return float((np.diff(recall) * envelope).sum())


def report(data: Path, *, checkpoint: Path | None = None, limit: int | None = None, compare: bool = True) -> str:
    """The figures of the shipped models, or of other nano weights, as text."""
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
    if checkpoint is None:
        found = detection(data, limit=limit)
        scores = ", ".join(f"{name} {value:.3f}" for name, value in found["AP50"].items())
        largest, first = (
            ", ".join(f"{name} {hit} of {there} ({named} by name)" for name, (there, hit, named) in found[key].items())
            for key in ("largest", "first")
        )
        lines += [
            f"Detector: AP50 {scores}; AR@100 {found['AR@100']:.3f} without classes;",
            f"at score 0.25 on exhaustively labelled photos: precision {found['precision']:.3f}, "
            f"recall {found['recall']:.3f};",
            f"the largest of a photo found: {largest};",
            f"those that fill {POINTED_AT:.0%} of it or more: {first}",
        ]
    return "\n".join(lines)
