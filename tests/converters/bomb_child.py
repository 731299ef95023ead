"""Runs commands in this process, under a limit on its memory, and prints what became of each as JSON."""

from __future__ import annotations

import contextlib
import io
import json
import resource
import signal
import sys
import time

from tests.memory import peak

LIMIT = 5 << 30  # bytes of addresses: what is not bounded ends here, and not the machine


def main(commands: list[list[str]], file_size: int) -> None:
    from samlabel.cli import main as run

    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
    if file_size >= 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
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
    print(json.dumps({"ends": ends, "peak": peak()}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), int(sys.argv[2]))
