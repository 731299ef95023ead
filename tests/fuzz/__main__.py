"""Read, refuse and convert thousands of damaged, made-up and exploding label files, and print how many of each."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import converters
from samlabel.datasets.check import check

from . import bombs, generated
from .child import MEMORY, apart, in_child
from .damage import damaged
from .judge import Hung, judge, only_below
from .seeds import label_files, lay_out, titles

SHARE = 100  # inputs of a piece of work: small enough to be spread over the processors
EACH_BOMB = 50  # a bomb comes with so many other inputs: it takes a process of its own, and a second
SHOWN = 20  # faults that are printed
DATA = Path(os.environ["SAMLABEL_DATA"]) if "SAMLABEL_DATA" in os.environ else None


Found = tuple[Counter[str], list[str]]  # what came of the inputs, and the faults


def judged(found: Found, bad: bytes, where: str, path: Path, name: str, home: Path, rng: random.Random) -> None:
    """Count what a reader makes of one input."""
    try:
        found[0]["read" if judge(path, name, home, rng) == "read" else "refused"] += 1
    except (Exception, Hung) as error:
        found[0]["FAULTY"] += 1
        trace = "".join(traceback.format_exception(error, limit=-4))
        found[1].append(f"{where}: {trace[:4000]}\nThe input was {bad[:3000]!r}")


def mutate(title: str, count: int, turn: int, home: Path) -> Found:
    """Damage one file of a dataset at a time, `count` times."""
    name, path = lay_out(title, home / "sound", DATA)
    rng = random.Random(f"{title} {turn}")
    files = label_files(path, name)
    found: Found = (Counter(), [])
    for number in range(count):
        file = rng.choice(files)
        good = file.read_bytes()
        bad = damaged(good, file.suffix, rng)
        file.write_bytes(bad)
        judged(found, bad, f"{title}, turn {turn}.{number}, {file.name}", path, name, home, rng)
        file.write_bytes(good)
    return found


def make_up(kind: str, count: int, turn: int, home: Path) -> Found:
    """Have hypothesis make up `count` datasets of one kind."""
    found: Found = (Counter(), [])
    rng = random.Random(f"{kind} {turn}")
    folder = home / "made"
    name = generated.DATASETS[kind][0]

    def use(files: generated.Files) -> None:
        generated.lay_out(files, folder)
        judged(found, repr(files).encode(), f"made up {kind}, turn {turn}", folder, name, home, rng)

    generated.run(kind, count, turn, use)
    return found


def explode(kind: str, count: int, turn: int, home: Path) -> Found:
    """Lay out `count` bombs of one kind and read or convert each in a process of its own, with limits."""
    found: Found = (Counter(), [])
    for number in range(count):
        seed = turn * SHARE + number
        folder = home / "bomb"
        apart(partial(bombs.lay_out, kind, seed, folder))  # what it takes to make one must not count
        name = bombs.KINDS[kind][0] or None
        rng = random.Random(f"{kind} {seed}")
        to = rng.choice(["", *(one for one in converters.names() if one not in ("png", "voc"))])
        what, fault = in_child(
            partial(use_bomb, folder, name, home / "target", to, rng.random() < 0.3), MEMORY * (3 if to else 1)
        )
        found[0][what] += 1
        if fault:
            found[1].append(f"bomb {kind}, seed {seed}: {fault[:4000]}")
        shutil.rmtree(folder)
        shutil.rmtree(home / "target", ignore_errors=True)
    return found


def use_bomb(path: Path, name: str | None, target: Path, to: str, lenient: bool) -> None:
    """Check a bomb, or convert it to a format that writes no pictures: these take as long as they are large."""
    with only_below(target.parent, Path(tempfile.gettempdir())):
        if to:
            converters.convert(path, target, from_=name, to=to, allow_lossy=True, images="none", lenient=lenient)
        else:
            check(path, format=name)


def work(task: tuple[str, str, int, int]) -> tuple[str, Counter[str], list[str]]:
    """Kind of the task, what came of it, and the faults."""
    kind, what, count, turn = task
    with tempfile.TemporaryDirectory(prefix="samlabel-fuzz-") as folder:
        return kind, *WORK[kind](what, count, turn, Path(folder))


WORK = {"made up": make_up, "damaged": mutate, "bombs": explode}


def plan(inputs: int) -> list[tuple[str, str, int, int]]:
    """Pieces of work: `inputs` inputs, a third made up, the rest spread evenly over the sound datasets; and bombs."""
    tasks = []
    third = inputs // 3
    kinds = (
        ("made up", third, list(generated.DATASETS)),
        ("damaged", inputs - third, titles(DATA)),
        ("bombs", inputs // EACH_BOMB, list(bombs.KINDS)),
    )
    for kind, total, whats in kinds:
        for place, what in enumerate(whats):
            left = total // len(whats) + (place < total % len(whats))
            for turn in range(-(-left // SHARE)):
                tasks.append((kind, what, min(SHARE, left - turn * SHARE), turn))
    return tasks


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    chosen = parser.parse_args()
    sys.dont_write_bytecode = True
    start = time.perf_counter()
    total: Counter[str] = Counter()
    faults: list[str] = []
    with ProcessPoolExecutor(chosen.workers) as pool:
        for kind, found, faulty in pool.map(work, plan(chosen.inputs)):
            total.update({f"{kind}, {what}": count for what, count in found.items()})
            faults += faulty
            for fault in faulty[: max(0, SHOWN - len(faults) + len(faulty))]:
                print(fault, file=sys.stderr, flush=True)
    for what in sorted(total):
        print(f"{total[what]:6} {what}")
    print(f"{sum(total.values()):6} inputs in {time.perf_counter() - start:.0f} s, {len(faults)} faults")
    return 1 if faults or sum(total.values()) < chosen.inputs else 0


if __name__ == "__main__":
    sys.exit(main())
