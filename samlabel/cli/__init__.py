"""The command `samlabel`: one thin file a command, every error one line, exit codes that a script can trust.

0 done, 1 failure, 2 usage, 3 finished but some images failed, 4 refused: a lossy
conversion, a check that failed, weights that may run code.
"""

from __future__ import annotations

import io
import sys
from contextlib import suppress
from types import FrameType
from typing import Annotated

import typer

from .. import __version__
from ..errors import SamlabelError, brief, cause, reason
from ..hub.libraries import guarded_torch
from ._console import say, say_traceback, tamed_libraries
from .annotate import annotate
from .bench import bench
from .check import check
from .config import app as config_app
from .convert import convert
from .export import export
from .fetch import fetch
from .filter import filter_
from .formats import formats
from .generate import generate
from .merge import merge
from .models import app as models_app
from .models import detectors
from .split import split
from .stats import stats
from .view import view

INTERRUPTED, TERMINATED = 130, 143  # exit codes, 128 and the signal's number, as a shell gives them

app = typer.Typer(
    name="samlabel",
    help="Turn folders of photos into segmentation labels: COCO, YOLO, SA-1B and more.",
    epilog="Exit codes: 0 done, 1 failure, 2 usage, 3 finished but some images failed, "
    "4 refused: a lossy conversion, a failed check, untrusted weights.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"samlabel {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error; goes anywhere.")] = False,
) -> None:
    pass


for _command in (
    annotate,
    check,
    convert,
    view,
    stats,
    merge,
    split,
    generate,
    export,
    bench,
    detectors,
    fetch,
    formats,
):
    app.command()(_command)
app.command("filter")(filter_)
app.add_typer(models_app, name="models")
app.add_typer(config_app, name="config")


# Click's class of usage errors; newer typer brings a click of its own.
_CLICK = next(one for one in typer.BadParameter.__mro__ if one.__name__ == "ClickException")


def main(args: list[str] | None = None) -> None:
    """Run the command line and end the process with its exit code."""
    _end_on_sigterm()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that the terminal's encoding lacks must not end a run
            stream.reconfigure(errors="backslashreplace")
    words = list(sys.argv[1:] if args is None else args)
    debug = "--debug" in words
    if debug:
        sys.excepthook = say_traceback
    with tamed_libraries(), guarded_torch():
        code = _run([word for word in words if word != "--debug"], debug=debug)
    sys.exit(code)


def _run(words: list[str], *, debug: bool) -> int:
    """The exit code of one command; its errors become one line on stderr."""
    try:
        code = app(words, prog_name="samlabel", standalone_mode=False)
        if code == INTERRUPTED:  # what newer typer makes of Ctrl-C
            raise KeyboardInterrupt
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        _say("interrupted; run the same command again")
        return INTERRUPTED
    except SystemExit as end:
        if end.code == TERMINATED:
            _say("stopped by SIGTERM; run the same command again")
        raise
    except BrokenPipeError:  # `samlabel formats | head`
        sys.stderr.close()
        return 1
    except SamlabelError as error:
        if debug:
            raise
        _say(str(error))
        return error.exit_code
    except Exception as error:
        if isinstance(error, _CLICK):
            return _usage(error)
        if debug:
            raise
        if isinstance(error, OSError):
            _say(f"{error.filename}: {reason(error)}" if error.filename is not None else reason(error))
        elif isinstance(error, (MemoryError, RecursionError)):
            _say(cause(error))
        else:
            _say(f"{type(error).__name__}: {brief(error)}; --debug shows where, please report it")
        return 1


def _usage(error: Exception) -> int:
    context = vars(error).get("ctx")
    if type(error).__name__ == "NoArgsIsHelpError" and context is not None:
        typer.echo(context.get_help(), err=True)
    else:
        path = context.command_path if context is not None else "samlabel"
        _say(f"{error.format_message().rstrip('.')} (see {path} --help)")  # type: ignore[attr-defined]
    return int(error.exit_code)  # type: ignore[attr-defined]


def _say(message: str) -> None:
    say("samlabel: error: " + " ".join(message.split()), err=True)


def _end_on_sigterm() -> None:
    """SIGTERM unwinds like an interrupt, so that files are closed and the lock is freed; exit code 143."""
    import signal

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(TERMINATED)

    with suppress(ValueError):  # not the main thread
        signal.signal(signal.SIGTERM, end)
