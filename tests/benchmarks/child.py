"""One side of a comparison in a process of its own: prepared and warmed once, then run whenever the parent says so.

`python -m tests.benchmarks.child {...}` is started by `Child`. Lines of JSON go to the parent on stdout; whatever
the code under test prints goes to stderr.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
# What `samlabel.hub.memory.kept_pages` sets while models run, for a process that does not set it itself.
ALLOCATOR = {
    "GLIBC_TUNABLES": "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=2147483647:glibc.malloc.top_pad=67108864:"
    "glibc.malloc.arena_max=1"
}


class Child:
    """A running side; `run()` gives what one call took. Use it as a context manager."""

    def __init__(self, side: dict[str, Any], *, threads: int | None, paths: list[str], allocator: bool = False) -> None:
        """`threads` None leaves the choice to the libraries, as when nobody sets anything."""
        self.side = side
        environment = {key: value for key, value in os.environ.items() if key not in ("OMP_NUM_THREADS", *ALLOCATOR)}
        environment |= ALLOCATOR if allocator else {}
        environment |= {"OMP_NUM_THREADS": str(threads)} if threads else {}
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *paths])
        environment |= {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false"}
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed by __exit__, as the process that writes it is
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.child", json.dumps({**side, "threads": threads})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=environment,
            cwd=ROOT,
        )

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()  # type: ignore[union-attr]
        self._process.wait()
        self._process.stdout.close()  # type: ignore[union-attr]
        self._errors.close()

    def ready(self) -> None:
        """Wait until it is prepared and warm. Raises RuntimeError with the end of what it said when it is not."""
        self._answer()

    def ask(self, what: str) -> dict[str, Any]:
        """`run`, `result`, `profile`, `operations` or `rate`."""
        print(what, file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline()  # type: ignore[union-attr]
        if line:
            return json.loads(line)
        self._errors.seek(0)
        raise RuntimeError("".join(self._errors.readlines()[-4:]).strip() or "it ended without a word")


def main() -> None:
    """Answer the parent until it closes the pipe."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    side = json.loads(sys.argv[1])

    def answer(**found: Any) -> None:
        print(json.dumps(found), file=answers, flush=True)

    if side["who"] != "ours" and side["stage"].startswith("folder"):
        import ultralytics  # noqa: F401  before torch, as in a script of its own: it then sets the thread count
    import torch

    from tests.benchmarks import machine
    from tests.benchmarks.sides import prepare

    if side["threads"]:
        torch.set_num_threads(side["threads"])
    call, warm = prepare(side)
    before = machine.memory("VmRSS")
    warm()
    if side["threads"]:
        torch.set_num_threads(side["threads"])  # some libraries set it when they are first used
    answer(ready=True)
    found: Any = None
    for line in sys.stdin:
        what = line.strip()
        if what == "run":
            found = None
            if side["short"]:
                call()
            wall, cpu = time.perf_counter(), time.process_time()
            found = call()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            peak = machine.memory("VmHWM")
            answer(seconds=wall, cpu=cpu, peak=peak, added=peak - before, threads=torch.get_num_threads())
        elif what == "result":
            answer(result=found)
        elif what == "profile":
            numpy = side["stage"].startswith("masks")
            answer(profile=(machine.hottest_lines if numpy else machine.hottest)(call))
        elif what == "operations":
            answer(operations=machine.operations(call))
        elif what == "rate":
            answer(float32=machine.rate("float32"), bfloat16=machine.rate("bfloat16"))
        del line


if __name__ == "__main__":
    main()
