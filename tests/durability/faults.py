"""A layer below the run that counts every call that changes the disk, and makes one of them go wrong.

Calls by name (open for writing, rename, remove, mkdir, link, ...) are seen by an audit hook of the interpreter, so
none can slip by; writes to an open file by a raw file of our own below Python's buffers, and by `os.write`. Only for
a process of its own.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import signal
import sys
from pathlib import Path
from typing import Any

CREATING = frozenset(("open", "os.mkdir", "os.link", "os.symlink"))
NAMED = CREATING | frozenset(("os.rename", "os.remove", "os.rmdir", "os.truncate", "os.chmod"))
KINDS = ("kill", "torn", "full", "denied")


class Faults:
    """Lets `at` calls pass; the next is the fault, and with a full disk or lost permissions all that follow."""

    def __init__(self, base: Path, kind: str, at: int) -> None:
        assert kind in KINDS
        self._base = str(base)
        self._kind = kind
        self._left = at
        self.seen = 0

    def install(self) -> None:
        real = io.open

        def counted(
            file: Any,
            mode: str = "r",
            buffering: int = -1,
            encoding: Any = None,
            errors: Any = None,
            newline: Any = None,
            closefd: bool = True,
            opener: Any = None,
        ) -> Any:
            if not set(mode) & set("wax+"):
                return real(file, mode, buffering, encoding, errors, newline, closefd, opener)
            raw = _File(self, file, mode.replace("b", "").replace("t", ""), closefd, opener)
            if buffering == 0:
                return raw
            buffer = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
            return buffer if "b" in mode else io.TextIOWrapper(buffer, encoding, errors, newline)

        io.open = builtins.open = counted  # type: ignore[assignment]
        sendfile = os.sendfile

        def counted_sendfile(*arguments: Any) -> int:
            self.before_write(lambda: None)
            return sendfile(*arguments)

        os.sendfile = counted_sendfile
        write = os.write

        def counted_write(handle: int, data: Any) -> int:
            self.before_write(lambda: write(handle, memoryview(data)[: len(data) // 2]))
            return write(handle, data)

        os.write = counted_write  # type: ignore[assignment]
        sys.addaudithook(self._audit)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in NAMED:
            return
        path = os.fsdecode(arguments[0]) if isinstance(arguments[0], (str, bytes, os.PathLike)) else ""
        if (os.path.isabs(path) and not path.startswith(self._base)) or not path:
            return
        if event == "open" and not (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        if self._is_due():
            if self._kind in ("kill", "torn"):
                os.kill(os.getpid(), signal.SIGKILL)
            if self._kind == "denied":
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
            if event in CREATING:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    def before_write(self, half: Any) -> None:
        """Called before each write to an open file; `half` writes the first half of it."""
        if self._is_due():
            if self._kind == "torn":
                half()
            if self._kind in ("kill", "torn"):
                os.kill(os.getpid(), signal.SIGKILL)
            if self._kind == "full":
                half()
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _is_due(self) -> bool:
        self.seen += 1
        self._left -= 1
        return self._left < 0


class _File(io.FileIO):
    """A raw file that asks before it writes."""

    def __init__(self, faults: Faults, file: Any, mode: str, closefd: bool, opener: Any) -> None:
        super().__init__(file, mode, closefd, opener)
        self._faults = faults

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self._faults.before_write(lambda: super(_File, self).write(view[: len(view) // 2]))
        return super().write(view)
