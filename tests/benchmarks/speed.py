"""Ours against its peers, stage by stage: `python -m tests.benchmarks.speed`.

Each side is a process of its own, prepared and warmed alike, and they run in turns: ours, ours in bf16, the peer, the
peer with our allocator settings, and again. A process that waited while the others ran is slow at first on some virtual
machines (7 ms became 100 on one after 0.7 s, without a page fault), which says how long the others took and nothing of
the side itself, so in short stages each turn of each side begins with a call that is not counted. A
ratio is the peer's time over ours in one round; printed are the median and the quartiles. Only ratios mean something on
a busy machine. Both sides have `--threads` threads, the same seeded weights, pixels, boxes and logits
(`tests/benchmarks/material.py`), and their results are compared.

ultralytics and transformers are taken from the running environment. The original repositories join in where they are
given: `--segment-anything DIR --mobile-sam DIR`, folders that hold the packages segment_anything and mobile_sam.
`--check` makes the exit code tell whether every target was reached. No test collects this.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks import material
from tests.benchmarks.child import Child

OURS, BF16 = "float32", "bfloat16"


@dataclass(frozen=True)
class Stage:
    """Whom it is measured against, and the ratios wanted in fp32 and bf16; of those `beside` none is wanted.

    In a `short` one each turn begins with a call that is not counted.
    """

    name: str
    says: str
    peers: tuple[str, ...]
    targets: tuple[float, float | None]
    most_rounds: int = 99
    more: tuple[tuple[str, Any], ...] = ()
    beside: tuple[str, ...] = ()
    short: bool = False

    def wanted_of(self, peer: str) -> tuple[float | None, float | None]:
        return (None, None) if peer in self.beside else self.targets

    @property
    def has_bf16(self) -> bool:
        return not self.name.startswith("masks")


STAGES = (
    Stage(
        "encoder-vit_b",
        "ViT-B encoder",
        ("segment_anything", "ultralytics", "transformers"),
        (1.7, 3.2),
        more=(("variant", "vit_b"),),
        beside=("transformers",),
    ),
    Stage(
        "encoder-tiny",
        "Tiny-ViT encoder",
        ("mobile_sam", "ultralytics"),
        (2, 4),
        more=(("variant", "tiny"),),
        beside=("ultralytics",),
        short=True,
    ),
    Stage(
        "boxes",
        "50 boxes on one embedding, 1080x810, to RLE",
        ("segment_anything", "mobile_sam", "ultralytics", "transformers"),
        (3, 4.5),
        short=True,
    ),
    Stage(
        "masks-small",
        "50 low-res logits to RLE, box, area, 1080x810",
        ("segment_anything", "pycocotools"),
        (12, None),
        short=True,
    ),
    Stage(
        "masks-large",
        "12 low-res logits to RLE, box, area, 4000x3000",
        ("segment_anything", "pycocotools"),
        (60, None),
        short=True,
    ),
    Stage("grid", "automatic masks, 32x32 points, default thresholds", ("mobile_sam",), (3, 4.5), 2),
    Stage(
        "folder", "a folder, YOLO nano + MobileSAM, 15 boxes a photo, equal threads", ("ultralytics",), (2.4, 3.5), 2
    ),
    Stage("folder-shipped", "the same, both as shipped", ("ultralytics",), (4, 6), 2),
)


def available(peer: str, paths: list[str]) -> bool:
    """Whether the peer's package is installed or in one of the folders given."""
    return any((Path(path) / peer).is_dir() for path in paths) or importlib.util.find_spec(peer) is not None


def spread(values: list[float]) -> str:
    """`median [first quartile-third quartile]`."""
    low, middle, high = np.percentile(values, (25, 50, 75))
    return f"{middle:.2f} [{low:.2f}-{high:.2f}]"


def measure(stage: Stage, peer: str, chosen: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Seconds and peak memory of each side over all rounds, and what our side says of itself."""
    common = {
        "stage": stage.name,
        "short": stage.short,
        "folder": str(folder),
        "points": 8 if chosen.quick else 32,
        "photos": 2 if chosen.quick else 8,
        "backend": chosen.backend,
        **dict(stage.more),
    }
    paths = [str(path) for path in (chosen.segment_anything, chosen.mobile_sam) if path]
    threads = None if stage.name == "folder-shipped" else chosen.threads
    wanted = {
        "ours": ({"who": "ours", "dtype": OURS}, False),
        "ours bf16": ({"who": "ours", "dtype": BF16}, False),
        "peer": ({"who": peer, "dtype": OURS}, False),
        "peer, our allocator": ({"who": peer, "dtype": OURS}, True),
    }
    if not stage.has_bf16:
        del wanted["ours bf16"]
    found: dict[str, Any] = {"runs": {}, "problems": {}}
    with ExitStack() as stack:
        sides: dict[str, Child] = {}
        for name, (side, allocator) in wanted.items():
            child = stack.enter_context(Child(common | side, threads=threads, paths=paths, allocator=allocator))
            try:
                child.ready()
            except RuntimeError as error:
                found["problems"][name] = str(error).splitlines()[-1]
                continue
            sides[name] = child
        for _ in range(min(chosen.rounds, stage.most_rounds)):
            for name, child in sides.items():
                found["runs"].setdefault(name, []).append(child.ask("run"))
        found["results"] = {name: child.ask("result")["result"] for name, child in sides.items()}
        if "ours" in sides and not chosen.no_profile:
            found["rate"] = sides["ours"].ask("rate")
            found["profile"] = sides["ours"].ask("profile")["profile"]
            if not stage.name.startswith(("masks", "folder")):
                found["operations"] = sides["ours"].ask("operations")["operations"]
    return found


def agreement(stage: Stage, results: dict[str, Any]) -> str:
    """How our results compare with the peer's."""
    mine, theirs = results.get("ours"), results.get("peer")
    if mine is None or theirs is None:
        return ""
    if isinstance(mine, dict):
        return f"{mine['photos']} photos, {mine['objects']} objects; peer {theirs['photos']}, {theirs['objects']}"
    if isinstance(mine, str):
        a, b = np.load(mine), np.load(theirs)
        said = [f"largest difference {np.abs(a - b).max() / np.abs(b).max():.0e} of the largest value"]
        if (half := results.get("ours bf16")) is not None:
            said.append(f"bf16 {np.abs(np.load(half) - b).mean() / np.abs(b).mean():.0e} on average")
        return ", ".join(said)
    size = material.LARGE if stage.name == "masks-large" else material.SMALL
    said = f"{_alike(mine, theirs, size)} the peer's"
    half = results.get("ours bf16")
    return said if half is None else f"{said}; bf16: {_alike(half, theirs, size)} the peer's"


def _alike(mine: list[str], theirs: list[str], size: tuple[int, int]) -> str:
    """How many masks are equal; in order where there are as many, else as sets."""
    from pycocotools import mask as coco

    if len(mine) != len(theirs):
        return f"{len(mine)} masks for {len(theirs)}, {len(set(mine) & set(theirs))} of them bit for bit"
    same = sum(a == b for a, b in zip(mine, theirs, strict=True))
    pairs = [[{"size": list(size), "counts": one.encode()} for one in pair] for pair in zip(mine, theirs, strict=True)]
    ious = [float(coco.iou([a], [b], [0])[0, 0]) for a, b in pairs] or [1.0]
    return f"{same} of {len(theirs)} masks (mean IoU {statistics.mean(ious):.4f}, lowest {min(ious):.4f}) bit for bit"


def report(stage: Stage, peer: str, found: dict[str, Any]) -> dict[str, Any]:
    """Print one comparison; gives its figures."""
    runs = found["runs"]
    row: dict[str, Any] = {
        "stage": stage.name,
        "peer": peer,
        "targets": stage.wanted_of(peer),
        "problems": found["problems"],
        "sides": {},
        "results": found["results"] if stage.name.startswith("folder") else None,
    }
    print(f"\n{stage.says}, against {peer}")
    for name, rounds in runs.items():
        seconds = [one["seconds"] for one in rounds]
        row["sides"][name] = {
            key: [one[key] for one in rounds] for key in ("seconds", "cpu", "peak", "added", "threads")
        }
        print(
            f"  {name:20} {spread([1000 * s for s in seconds]):>32} ms  peak {rounds[-1]['peak']:6.0f} MB, "
            f"of it {rounds[-1]['added']:6.0f} for this; {rounds[-1]['threads']} threads"
        )
    for name, problem in found["problems"].items():
        print(f"  {name}: not measured: {problem}")
    for mine, target in zip(("ours", "ours bf16"), row["targets"], strict=True):
        for theirs in ("peer", "peer, our allocator"):
            if mine in runs and theirs in runs:
                ratios, cpu = (
                    [b[key] / a[key] for a, b in zip(runs[mine], runs[theirs], strict=True)]
                    for key in ("seconds", "cpu")
                )
                row[f"{theirs} / {mine}"] = ratios
                goal = f"  (wanted {target})" if target and theirs == "peer" else ""
                print(f"  {theirs} / {mine}: {spread(ratios)}, of processor time {spread(cpu)}{goal}")
    if stage.name.startswith("masks") and "peer" in runs and "ours" in runs:
        row["memory"] = runs["peer"][-1]["added"] / max(runs["ours"][-1]["added"], 0.1)
        print(f"  memory for this, peer / ours: {row['memory']:.0f}  (wanted 20)")
    if said := agreement(stage, found["results"]):
        print(f"  {said}")
    if "rate" in found:
        _limit(row, runs, found)
        print("  where our time goes: " + ", ".join(f"{name} {share:.0%}" for name, share in found["profile"]))
    return row


def _limit(row: dict[str, Any], runs: dict[str, Any], found: dict[str, Any]) -> None:
    row["rate"], row["operations"] = found["rate"], found.get("operations")
    if not row["operations"]:
        return
    for name, dtype in (("ours", OURS), ("ours bf16", BF16)):
        if name in runs:
            least = row["operations"] / found["rate"][dtype]
            took = statistics.median(one["seconds"] for one in runs[name])
            print(
                f"  {name}: {row['operations'] / 1e9:.0f} G operations at the machine's "
                f"{found['rate'][dtype] / 1e9:.0f} G a second are {1000 * least:.0f} ms; "
                f"it takes {took / least:.1f} times that"
            )


def _table(rows: list[dict[str, Any]]) -> list[str]:
    """The targets that were missed, after a table of the medians."""
    missed = []
    print(
        f"\n{'stage':16} {'peer':17} {'fp32':>6} {'wanted':>7} {'same alloc.':>12} "
        f"{'bf16':>6} {'wanted':>7} {'same alloc.':>12}"
    )
    for row in rows:
        cells = []
        for mine, target in zip(("ours", "ours bf16"), row["targets"], strict=True):
            plain, alike = (row.get(f"{theirs} / {mine}") for theirs in ("peer", "peer, our allocator"))
            middle = statistics.median(plain) if plain else None
            cells += [
                f"{middle:.2f}" if middle else "-",
                f"{target}" if target else "-",
                f"{statistics.median(alike):.2f}" if alike else "-",
            ]
            if target and (middle is None or middle < target):
                missed.append(f"{row['stage']} against {row['peer']}, {mine}: {cells[-3]}, wanted {target}")
        if row.get("memory", 20) < 20:
            missed.append(f"{row['stage']} against {row['peer']}: {row['memory']:.1f} times the memory, wanted 20")
        print("{:16} {:17} {:>6} {:>7} {:>12} {:>6} {:>7} {:>12}".format(row["stage"], row["peer"], *cells))
    return missed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--only", nargs="*", choices=[stage.name for stage in STAGES], help="these stages")
    parser.add_argument("--peers", nargs="*", help="these peers")
    parser.add_argument("--rounds", type=int, help="of each comparison, fewer where one takes minutes; default 5")
    parser.add_argument("--threads", type=int, default=2, help="of both sides")
    parser.add_argument("--backend", choices=("torch", "openvino"), default="torch", help="of our encoder")
    parser.add_argument("--quick", action="store_true", help="two rounds, 8x8 points, two photos: to see that it runs")
    parser.add_argument("--segment-anything", type=Path, metavar="DIR", help="holds the package segment_anything")
    parser.add_argument("--mobile-sam", type=Path, metavar="DIR", help="holds the package mobile_sam")
    parser.add_argument("--no-profile", action="store_true", help="leave out the profile and the machine's limit")
    parser.add_argument("--folder", type=Path, help="where to keep the drawn photos and seeded weights (1 GB)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    parser.add_argument("--check", action="store_true", help="exit code 1 when a target is missed")
    chosen = parser.parse_args()
    chosen.rounds = chosen.rounds or (2 if chosen.quick else 5)
    paths = [str(path) for path in (chosen.segment_anything, chosen.mobile_sam) if path]
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = (chosen.folder or Path(scratch)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        for stage in STAGES:
            if chosen.only and stage.name not in chosen.only:
                continue
            for peer in stage.peers:
                if chosen.peers and peer not in chosen.peers:
                    continue
                if not available(peer, paths):
                    print(f"\n{stage.says}, against {peer}: not here")
                    continue
                rows.append(report(stage, peer, measure(stage, peer, chosen, folder)))
    missed = _table(rows)
    print("".join(f"missed: {line}\n" for line in missed) or "every target was reached")
    if chosen.json:
        chosen.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    if chosen.check and missed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
