"""What the commands print: results on stdout, the rest on stderr.

All of it goes through here, where text of strangers loses its power over terminals and CI logs.
"""

from __future__ import annotations

import csv
import logging
import re
import sys
import traceback
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..options import WEAK_SCORE
from ..text import line, printable, to_json, without_commands

if TYPE_CHECKING:
    from ..runs.run import Summary

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # ultralytics paints its warnings


def say(text: object = "", *, err: bool = False) -> None:
    """One line on stdout, or on stderr; a line feed inside `text` is shown as `\\n`."""
    print(line(text), file=sys.stderr if err else sys.stdout, flush=err)


def say_annotation(level: str, message: str, *, file: str, title: str) -> None:
    """An annotation that GitHub shows at `file`; the one line of ours that is a command to a CI system.

    https://docs.github.com/actions/reference/workflow-commands-for-github-actions
    """

    def encoded(text: str) -> str:
        text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
        return without_commands(printable(text))

    where, what = (encoded(value).replace(":", "%3A").replace(",", "%2C") for value in (file, title))
    print(f"::{level} file={where},title={what}::{encoded(message)}")


def say_traceback(_: type[BaseException], error: BaseException, __: TracebackType | None) -> None:
    """The traceback of `error` on stderr; a `sys.excepthook`."""
    for part in "".join(traceback.format_exception(error)).rstrip("\n").split("\n"):
        say(part, err=True)


class _Record(logging.LogRecord):
    """A record whose message is one harmless line, whichever library's handler prints it."""

    def getMessage(self) -> str:
        return line(_COLOURS.sub("", super().getMessage()))


@contextmanager
def tamed_libraries() -> Iterator[None]:
    """Inside, what libraries log or warn of is printed as `say` prints."""

    def show(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        say(f"{category.__name__}: {message}", err=True)

    factory, shown = logging.getLogRecordFactory(), warnings.showwarning
    logging.setLogRecordFactory(_Record)
    warnings.showwarning = show
    try:
        yield
    finally:
        logging.setLogRecordFactory(factory)
        warnings.showwarning = shown


def print_summary(summary: Summary) -> None:
    """The end of a run for people: what there is, what was left out, where it lies."""
    before = f", {summary.resumed} from an earlier run" if summary.resumed else ""
    say(
        f"{summary.annotated + summary.resumed} of {summary.images} images labelled{before}: "
        f"{summary.objects} objects in {summary.seconds:.1f} s"
    )
    if summary.categories:
        say("  " + ", ".join(f"{name} {count}" for name, count in summary.categories.items()))
    elif summary.outputs:
        say("  nothing was found: try a lower --conf or, without a detector, --pred-iou-thresh")
    if summary.dropped:
        say("  dropped: " + ", ".join(f"{reason} {count}" for reason, count in summary.dropped.items()))
    if 2 * summary.weak >= summary.objects > 0:
        say(
            f"  {summary.weak} of {summary.objects} objects scored under {WEAK_SCORE}; "
            f"a larger detector may find more: `samlabel detectors`"
        )
    say_passed_by(summary.unread, summary.left_out)
    for remark in summary.remarks:
        say(f"  {remark}")
    for name, path in summary.outputs.items():
        lost = ", ".join(f"{code} {count}" for code, count in summary.losses[name].items())
        say(f"  {name}: {path}" + (f" (not in this format: {lost})" if lost else ""))
    if summary.human:
        say(f"  {summary.human} images have a person's labels, which were kept")
    for edited in summary.kept:
        say(f"  your edited file was kept: {edited}")
    if summary.conflicts:
        say(f"  {len(summary.conflicts)} conflicts with what a person made, see {summary.output / 'conflicts.jsonl'}")
        print_table(
            ("image", "conflict", "what"), [(one.path, one.kind, one.message) for one in summary.conflicts[:20]]
        )
    if summary.failed:
        say(f"  {summary.failed} failed, see {summary.output / 'failed.jsonl'}; the next run tries them again")
        shown = summary.failures
        print_table(("image", "stage", "reason"), [(one.path, one.stage, one.reason) for one in shown])


def say_passed_by(unread: Mapping[str, int], outputs: Sequence[str]) -> None:
    """What lies among the images and was not read."""
    if unread:
        count = sum(unread.values())
        kinds = ", ".join(f"{number} {suffix}" for suffix, number in unread.items())
        say(f"  {count} other file{'s' * (count > 1)} not read: {kinds}")
    if outputs:
        more = f" and {len(outputs) - 3} more" if len(outputs) > 3 else ""
        say(f"  labels of earlier runs not read: {', '.join(outputs[:3])}{more}")


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    print(to_json(value, indent=1))


def print_row(cells: Iterable[object]) -> None:
    """Cells on a line of stdout, with tabs between them."""
    print("\t".join(line(cell) for cell in cells))


def print_table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table on stdout: drawn on a terminal, tab-separated lines elsewhere."""
    rows = list(rows)
    if not rows or not sys.stdout.isatty():
        for row in rows:
            print_row(row)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*head, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(Text(line(cell)) for cell in row))
    Console().print(table)


def split(values: Sequence[str] | None) -> list[str]:
    """`["a,b", "c"]` as `["a", "b", "c"]`; a part in double quotes may hold commas, as in CSV."""
    rows = (row for value in values or () for row in csv.reader([value], skipinitialspace=True))
    return [part.strip() for row in rows for part in row if part.strip()]
