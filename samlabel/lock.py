"""One writer at a time: a hidden file beside the target, held while a command works and gone at its end."""

from __future__ import annotations

import io
import logging
import os
import sys
from contextlib import suppress
from pathlib import Path

from .errors import SamlabelError, UsageError
from .files import OutputFolder

log = logging.getLogger(__name__)


class Lock:
    """Holds `target`, a file or a folder, for this process; the system frees it however the process ends.

    A process that is killed leaves the file behind, and in it what it had begun to write; the next one removes its
    temporary files. Raises UsageError at once where another process holds the target, or with `wait` waits for it.
    """

    def __init__(self, target: Path | str, *, wait: bool = False) -> None:
        self.target, self._wait = Path(target), wait
        real = Path(os.path.realpath(target))
        beside = os.access(real.parent, os.W_OK) or not real.is_dir()  # a mounted folder may be all that we may change
        self._folder = OutputFolder(real.parent if beside else real)
        self._name = f".samlabel-{real.name[:50]}.lock"  # 50 characters are 200 of the 255 bytes of a name at most
        self.unfinished = ""  # what an earlier process had begun and did not finish

    def __enter__(self) -> Lock:
        self._file = self._held()
        self._file.seek(0)
        left = self._file.read()
        self.unfinished = left.decode("utf-8", "surrogateescape").strip()
        self._note(self.unfinished)
        if left:  # by a process that was killed, or could not finish
            self._clear()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and self._noted:
            self._file.close()
            return
        with suppress(SamlabelError):
            if os.name == "nt":  # which removes no open file
                self._file.close()
            self._folder.remove(self._name)
        self._file.close()
        self._folder.unmake()

    def begin(self, what: str) -> None:
        """Note what is being written, for the next process to find, unless it comes to a good end."""
        self._note(what)

    def forget(self) -> None:
        """Note that nothing is left to be finished."""
        self._note("")

    def _clear(self) -> None:
        """Remove temporary files in the target, or beside it for a file, and of the images that come with it."""
        if self.target.is_dir():
            OutputFolder(self.target).clear_leftovers()
        elif self.target.parent.is_dir():
            folder = OutputFolder(self.target.parent)
            folder.clear_leftovers(prefix=self.target.stem, below=False)
            folder.clear_leftovers("images")

    def _note(self, what: str) -> None:
        self._noted = what
        self._file.truncate(0)
        self._file.write(f"{what}\n".encode("utf-8", "surrogateescape"))

    def _held(self) -> io.FileIO:
        while True:
            file = self._folder.append(self._name)
            try:
                if not _is_locked(file, wait=False):
                    if not self._wait:
                        raise UsageError(
                            f"{self.target} is in use by another samlabel run; wait for it or choose another output"
                        )
                    log.warning("waiting for another process that writes %s", self.target)
                    while not _is_locked(file, wait=True):
                        pass
                if os.path.samestat(os.fstat(file.fileno()), os.lstat(self._folder.path / self._name)):
                    return file
            except FileNotFoundError:  # its last owner removed it after we had opened it
                pass
            except UsageError:
                file.close()
                raise
            file.close()


def _is_locked(file: io.FileIO, *, wait: bool) -> bool:
    """Whether the lock on a file is ours now."""
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True
