"""A log of a run for machines: one JSON object a line, flushed line by line."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from ..errors import SamlabelError, UsageError
from ..files import open_log
from ..text import to_json

if TYPE_CHECKING:
    from ..runs.run import Event, Summary

_UTC = timezone(timedelta())  # `datetime.UTC` is of Python 3.11


class Log:
    """Writes `start`, one `image` or `failed` a picture, and `end`; "-" is stderr, None writes nothing."""

    def __init__(self, target: Path | None) -> None:
        self._target = target
        self._stream: TextIO | None = None
        self._ended = False

    def __enter__(self) -> Log:
        if self._target is not None:
            try:
                self._stream = sys.stderr if str(self._target) == "-" else open_log(self._target)
            except SamlabelError as error:
                raise UsageError(f"--log {error}") from error
        self._write("start")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if not self._ended:
            self._write("end", error=f"{kind.__name__}: {error}" if kind is not None else None)
        if self._stream is not None and self._stream is not sys.stderr:
            self._stream.close()

    def __call__(self, event: Event) -> None:
        if event.failed is not None:
            self._write("failed", path=event.path, reason=event.failed, done=event.done, total=event.total)
        else:
            self._write("image", path=event.path, objects=event.objects, done=event.done, total=event.total)

    def end(self, summary: Summary) -> None:
        """The last line of a run that came to its end."""
        self._ended = True
        self._write("end", error=None, exit_code=summary.exit_code, summary=summary.to_json())

    def _write(self, event: str, **values: Any) -> None:
        if self._stream is not None:
            now = datetime.now(_UTC).isoformat(timespec="milliseconds")
            self._stream.write(to_json({"time": now, "event": event, **values}) + "\n")
            self._stream.flush()
