"""Runs commands in this process, under a limit on its memory, and prints what became of each as JSON."""

from __future__ import annotations

import contextlib
import io
import json
import resource
import sys
import time

LIMIT = 5 << 30  # bytes of addresses: what is not bounded ends here, and not the machine


def main(commands: list[list[str]]) -> None:
    from samlabel.cli import main as run

    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
    ends = []
    for words in commands:
        said, out = io.StringIO(), io.StringIO()
        start = time.process_time()
        code: object = 0
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(out):
            try:
                run(words)
            except SystemExit as end:
                code = end.code
        ends.append(
            {
                "code": code,
                "said": said.getvalue(),
                "out": out.getvalue(),
                "seconds": time.process_time() - start,
            }
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(json.dumps({"ends": ends, "peak": peak}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
