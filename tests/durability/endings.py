"""Runs that are ended in every way there is, and started again."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from .faults import Faults
from .world import JOBS, World, annotate, do, run_in_child, start_child, use_fakes, wait

Counts = Counter[str]


def random_kills(base: Path, count: int, seed: int = 7) -> Counts:
    """SIGKILL at `count` random moments; each job is killed and started again until a run comes to its end."""
    use_fakes()
    world, rng, counts = World(base, photos=9), random.Random(seed), Counts()
    jobs = list(JOBS)
    while counts["kills at random moments"] < count:
        job = jobs[counts["jobs"] % len(jobs)]
        folder = world.start(job, "killed")
        whole = _seconds(world, job) if counts["jobs"] % 8 < len(jobs) else whole  # noqa: F821  measured above
        for attempt in range(12):
            child = start_child(lambda job=job, folder=folder: do(job, folder))
            if attempt < 11:
                time.sleep(rng.uniform(0, whole))
                os.kill(child, signal.SIGKILL)
            code = wait(child)
            if code != -signal.SIGKILL:
                assert code == 0, f"{job}: exit code {code}"
                break
            counts["kills at random moments"] += 1
        counts["bytes lost"] += world.bytes_lost(job, folder)
        counts["jobs"] += 1
    del counts["jobs"]
    return counts


def _seconds(world: World, job: str) -> float:
    folder = world.start(job, "timed")
    start = time.perf_counter()
    assert run_in_child(lambda: do(job, folder)) == 0
    return time.perf_counter() - start


def every_call(base: Path, kind: str, stride: int = 1, jobs: tuple[str, ...] = tuple(JOBS)) -> Counts:
    """The fault `kind` at each call that changes the disk in turn (or each `stride`th), and a second run after it."""
    use_fakes()
    world, counts = World(base, photos=3), Counts()
    name = {
        "kill": "kills at a call",
        "torn": "kills inside a write",
        "full": "full disks",
        "denied": "lost permissions",
    }
    said = base / "said.txt"
    for number, job in enumerate(jobs):
        step = number % stride
        while True:
            folder = world.start(job, "faulty")

            def work(job: str = job, folder: Path = folder, step: int = step) -> int:
                Faults(folder, kind, step).install()
                return do(job, folder)

            code = run_in_child(work, said=said)
            if code == 0:
                break
            text = said.read_text(errors="replace")
            if kind in ("kill", "torn"):
                assert code == -signal.SIGKILL, f"{job}, call {step}: exit code {code}: {text}"
            else:
                assert code in (1, 2) and text.startswith("samlabel: error: ") and text.count("\n") == 1, (
                    f"{job}, call {step}: exit code {code}: {text}"
                )
            again = run_in_child(lambda job=job, folder=folder: do(job, folder), said=said)
            assert again == 0, f"{job}, after call {step}: exit code {again}: {said.read_text()}"
            lost = world.bytes_lost(job, folder)
            assert lost == 0, f"{job}, call {step}: {lost} bytes differ"
            counts[name[kind]] += 1
            counts["bytes lost"] += lost
            step += stride
    return counts


def limited_file_size(base: Path, sizes: int = 12) -> Counts:
    """The system itself refuses to let a file grow (RLIMIT_FSIZE), at several sizes."""
    use_fakes()
    world, counts, said = World(base, photos=5), Counts(), base / "said.txt"
    for i in range(sizes):
        folder = world.start("changed photos", "limited")

        def work(folder: Path = folder, limit: int = 40 + i * 350) -> int:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            return do("changed photos", folder)

        code = run_in_child(work, said=said)
        counts["file size limits"] += code != 0
        assert run_in_child(lambda folder=folder: do("changed photos", folder)) == 0
        counts["bytes lost"] += world.bytes_lost("changed photos", folder)
    assert counts["file size limits"] >= min(3, sizes), counts
    return counts


def taken_permissions(base: Path) -> Counts:
    """Folders that become read-only for a user who is not root, before and while a run works."""
    use_fakes(pause=0.05)
    world, counts, said = World(base, photos=5), Counts(), base / "said.txt"
    job = "changed photos"
    for name in ("out", "out/.samlabel", "out/yolo", "photos"):
        folder = world.start(job, "denied")
        if os.geteuid() == 0:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, 65534, 65534)

        def work(folder: Path = folder) -> int:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            return do(job, folder)

        mode = (folder / name).stat().st_mode
        (folder / name).chmod(0o000 if name == "photos" else 0o555)
        code = run_in_child(work, said=said)
        assert code in (0, 1, 2, 3), said.read_text()
        assert "Traceback" not in said.read_text(), said.read_text()
        (folder / name).chmod(mode)
        for path in (folder / "out").rglob("*"):  # the folder may have another name by now
            if path.is_dir():
                path.chmod(0o755)
        assert run_in_child(work, said=said) == 0, said.read_text()
        counts["folders made read-only"] += 1
        counts["bytes lost"] += world.bytes_lost(job, folder)
    return counts


def signals(base: Path, count: int, seed: int = 3) -> Counts:
    """SIGINT and SIGTERM at random moments: exit code 130 or 143, one line, and the run goes on later."""
    use_fakes(pause=0.005)
    world, rng, counts, said = World(base, photos=9), random.Random(seed), Counts(), base / "said.txt"
    codes = {signal.SIGINT: (130, "stops by SIGINT (exit 130)"), signal.SIGTERM: (143, "stops by SIGTERM (exit 143)")}
    job = "changed photos"
    whole = _seconds(world, job)
    tries = 0
    while min(counts[name] for _, name in codes.values()) < count:
        number = list(codes)[tries % 2]
        tries += 1
        assert tries < 40 * count, f"signals came too late: {counts}"
        folder = world.start(job, "stopped")
        ready = base / "ready"
        ready.unlink(missing_ok=True)
        child = start_child(
            lambda folder=folder, ready=ready: _after_handlers(ready, lambda: do(job, folder)), said=said
        )
        while not ready.exists():
            time.sleep(0.001)
        time.sleep(rng.uniform(0, whole))
        os.kill(child, number)
        code = wait(child)
        text = said.read_text()
        assert "Traceback" not in text, text
        if code == 0:  # it was faster
            continue
        assert code == codes[number][0], f"exit code {code}: {text}"
        counts[codes[number][1]] += 1
        assert run_in_child(lambda folder=folder: do(job, folder)) == 0
        counts["bytes lost"] += world.bytes_lost(job, folder)
    return counts


def _after_handlers(ready: Path, work: Callable[[], int]) -> int:
    import samlabel.cli

    install = samlabel.cli._end_on_sigterm

    def and_say() -> None:
        install()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        ready.touch()

    samlabel.cli._end_on_sigterm = and_say
    return work()


def runs_at_once(base: Path, count: int = 4) -> Counts:
    """Several runs on one output: one works, the others are refused; a killed owner frees the lock."""
    use_fakes()
    world, counts, said = World(base, photos=5), Counts(), base / "said.txt"
    folder = world.start("fresh", "shared")
    use_fakes(pause=30)
    owner = start_child(lambda: do("fresh", folder))
    use_fakes()
    journal = folder / "out" / ".samlabel" / "journal.jsonl"
    while not journal.exists():
        time.sleep(0.005)
    for _ in range(count):
        code = run_in_child(lambda: do("fresh", folder), said=said)
        assert code == 2 and "in use by another samlabel run" in said.read_text(), (code, said.read_text())
        counts["second runs refused"] += 1
    os.kill(owner, signal.SIGKILL)
    wait(owner)
    assert run_in_child(lambda: do("fresh", folder)) == 0
    counts["bytes lost"] += world.bytes_lost("fresh", folder)
    return counts


def vanished_inputs(base: Path) -> Counts:
    """Pictures, and the whole folder, that go away while a run works: named in the end, nothing else lost."""
    use_fakes(pause=0.08)
    world, counts, said = World(base, photos=7), Counts(), base / "said.txt"
    for everything in (False, True):
        folder = world.start("fresh", "vanishing")
        child = start_child(lambda folder=folder: annotate(folder), said=said)
        journal = folder / "out" / ".samlabel" / "journal.jsonl"
        while not journal.exists() or not journal.stat().st_size:
            time.sleep(0.005)
        if everything:
            (folder / "photos").rename(folder / "elsewhere")
        else:
            (folder / "photos" / NEW_NAME).unlink()
        code = wait(child)
        assert code in (1, 3), (code, said.read_text())
        assert "Traceback" not in said.read_text()
        assert (folder / "out" / "failed.jsonl").stat().st_size > 0
        counts["inputs that vanished"] += 1
        if everything:
            (folder / "elsewhere").rename(folder / "photos")
        else:
            shutil.copy2(world.base / "before" / "photos" / NEW_NAME, folder / "photos" / NEW_NAME)
        assert run_in_child(lambda folder=folder: do("fresh", folder)) == 0
        counts["bytes lost"] += world.bytes_lost("fresh", folder)
    return counts


NEW_NAME = "new photo.png"
