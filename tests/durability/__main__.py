"""Print how many endings, faults and broken inputs the runs survived, and how many bytes they lost."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from . import commands, endings, inputs
from .faults import KINDS

Check = Callable[[Path], Counter[str]]


def checks(full: bool) -> dict[str, Check]:
    """Every check by name; the bounded share takes about a minute."""
    stride = (1, 3, 2, 2) if full else (31, 61, 61, 61)
    return {
        "kills": lambda base: endings.random_kills(base, 100 if full else 25),
        **{kind: partial(endings.every_call, kind=kind, stride=step) for kind, step in zip(KINDS, stride, strict=True)},
        "limit": lambda base: endings.limited_file_size(base, 24 if full else 5),
        "readonly": endings.taken_permissions,
        "signals": lambda base: endings.signals(base, 20 if full else 3),
        "lock": endings.runs_at_once,
        "commands": partial(commands.killed_commands, stride=1 if full else 5),
        "vanished": endings.vanished_inputs,
        "inputs": partial(inputs.broken_inputs, mutations=2000 if full else 260),
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.durability", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"which checks, of {', '.join(checks(True))}; all when none is named")
    parser.add_argument("--bounded", action="store_true", help="a share of each, in about a minute")
    parser.add_argument("--json", action="store_true", help="print the counts as JSON")
    options = parser.parse_args()
    known = checks(not options.bounded)
    if unknown := set(options.names) - set(known):
        parser.error(f"unknown check {unknown}")
    sys.dont_write_bytecode = True
    total: Counter[str] = Counter({"bytes lost": 0})
    start = time.perf_counter()
    for name in options.names or known:
        base = Path(tempfile.mkdtemp(prefix="samlabel-durability-"))
        os.chmod(base, 0o755)
        try:
            found = known[name](base)
        finally:
            shutil.rmtree(base, ignore_errors=True)
        total.update(found)
        print(f"{name}: {dict(found)} after {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    lost = total.pop("bytes lost")
    if options.json:
        print(json.dumps({**total, "bytes lost": lost}))
    else:
        for name, count in total.items():
            print(f"{count:6} {name}")
        print(f"{lost:6} bytes lost")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
