"""Work on a dataset's images shared with other processes of ours, where there is so much that it pays.

What comes of it does not depend on how many processes there were: each works on images that follow one another, and
what one of them does not bring to its end, for whatever reason, this process does itself, errors included.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import IO, Any, NoReturn, TypeVar

from samlabel.cores import cores
from samlabel.files import nameless
from samlabel.types import ImageRecord

MOST = 3  # processes at once; each takes 60 MB
PATIENCE = 10.0  # seconds from when this process has done its part to the first sign of life from another
LIFE = b"+"  # its first sign
T = TypeVar("T")


class Part(Iterable[ImageRecord]):
    """Records of images that follow one another, which can be divided into parts of the same kind."""

    paths_before: Sequence[str] = ()  # of the images that come before them
    masks_before: int = 0  # and how many masks these hold
    descriptors: Sequence[int] = ()  # open files, by number, that another process needs

    def divided(self, count: int) -> Sequence[Part]:
        """At most so many parts; none where that would not pay."""
        return ()

    def seen(self) -> Any:
        """What its iteration found out, to be sent to the process that has the whole."""
        return None

    def join(self, seen: Sequence[Any]) -> None:
        """Takes what each part has `seen` when all are done, in their order."""


def in_parts(work: Callable[[Iterable[ImageRecord]], T], records: Iterable[ImageRecord]) -> list[T]:
    """What `work` makes of the records, part after part; of all at once where they are few or there is one core.

    `work` and the parts are pickled for the other processes.
    """
    if not isinstance(records, Part) or len(parts := records.divided(processes())) < 2:
        return [work(records)]
    helpers: list[_Helper | None] = [None]
    try:
        for part in parts[1:]:
            helpers.append(_Helper.started(work, part))
        pairs = zip(helpers, parts, strict=True)
        answers = [(helper and helper.answer()) or (work(part), part.seen()) for helper, part in pairs]
    finally:
        for helper in helpers:
            if helper is not None:
                helper.end()
    records.join([seen for _, seen in answers])
    return [made for made, _ in answers]


def processes() -> int:
    """How many may work at once: as many as there are cores for us, few; OMP_NUM_THREADS is heeded, as by torch."""
    name = os.path.basename(sys.executable or "").lower()
    ours = name.startswith(("python", "pypy"))  # not an application with Python inside
    if os.name != "posix" or not ours or getattr(sys, "frozen", False):
        return 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores(), MOST, int(asked) if asked.isdigit() and int(asked) else MOST)


_BEGIN = "import sys; sys.path[:] = sys.argv[2:]; from converters.parallel import main; main(int(sys.argv[1]))"


class _Helper:
    """A process that works on a part. It is started anew and not forked, since a fork of one with threads may hang."""

    def __init__(self, job: IO[bytes], files: Sequence[int]) -> None:
        import subprocess

        self._process = subprocess.Popen(
            [sys.executable, "-c", _BEGIN, str(os.getpid()), *map(str, sys.path)],
            stdin=job,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            pass_fds=files,
        )

    @classmethod
    def started(cls, work: Callable[..., Any], part: Part) -> _Helper | None:
        """None where it cannot be."""
        try:
            with nameless() as job:
                pickle.dump((work, part), job, protocol=pickle.HIGHEST_PROTOCOL)
                job.seek(0)
                return cls(job, part.descriptors)
        except Exception:  # no more processes, no room for its job, something of a plug-in that cannot be pickled
            return None

    def answer(self) -> Any:
        """What it made of its part; None when it came to nothing."""
        from multiprocessing.connection import wait

        pipe = self._process.stdout
        assert pipe is not None
        if not wait([pipe.fileno()], PATIENCE):
            return None
        data = pipe.read()
        return pickle.loads(data[1:]) if self._process.wait() == 0 and data[:1] == LIFE else None

    def end(self) -> None:
        """It is gone afterwards; what it was writing is whole or not there."""
        import subprocess

        assert self._process.stdout is not None
        self._process.stdout.close()  # it may be about to answer, which nobody waits for any more
        self._process.terminate()
        try:
            self._process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def main(parent: int) -> None:
    """Work on the part that stdin holds and write what came of it to stdout, while the process `parent` lives."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of Ctrl-C the parent tells us
    signal.signal(signal.SIGTERM, _end)
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    answers.write(LIFE)
    answers.flush()
    work, part = pickle.load(sys.stdin.buffer)
    pickle.dump((work(part), part.seen()), answers, protocol=pickle.HIGHEST_PROTOCOL)
    answers.close()


def _end(*_: object) -> NoReturn:
    raise SystemExit(1)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGTERM)
