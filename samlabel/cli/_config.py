"""Settings of a command from a TOML file and the environment, below the flags that were typed.

A flag wins over SAMLABEL_<FLAG> in the environment, that over the table `[annotate]` of the file, that over the
default. https://toml.io/en/v1.0.0
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import UsageError
from ..option_info import OptionInfo

PREFIX = "SAMLABEL_"
TABLE = "annotate"  # the command that takes settings, and its table in a file
_OTHERS = frozenset(f"{PREFIX}{word}" for word in ("CONFIG", "CACHE", "MIRROR", "DATA"))  # no settings; of tests: DATA


@dataclass(frozen=True, slots=True)
class Given:
    """One setting: its value and which layer it came from."""

    value: Any
    origin: str


def reader(options: Iterable[OptionInfo]) -> Callable[[typer.Context, Path | None], Path | None]:
    """The callback of --config, which makes file and environment the defaults of a command that has `options`."""
    known = list(options)

    def apply(context: typer.Context, path: Path | None) -> Path | None:
        if not context.resilient_parsing:  # which is shell completion
            context.default_map = {name: one.value for name, one in layers(known, file_of(path)).items()}
        return path

    return apply


def config_option(options: Iterable[OptionInfo], *, panel: str) -> Any:
    """The annotation of the parameter --config of a command that has `options`."""
    return Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            is_eager=True,
            callback=reader(options),
            rich_help_panel=panel,
            help="TOML file with these settings below the head annotate; flags win, then SAMLABEL_FLAG, then the file.",
        ),
    ]


def file_of(path: Path | None) -> Path | None:
    """The file that was named, by a flag or else in the environment."""
    named = os.environ.get(f"{PREFIX}CONFIG")
    return path or (Path(named) if named else None)


def layers(
    options: Iterable[OptionInfo], path: Path | None, environment: Mapping[str, str] | None = None
) -> dict[str, Given]:
    """Settings of file and environment by the names of `options`; UsageError on what is not known."""
    known = {one.word: one for one in options}
    found = {}
    for key, value in (read_table(path) if path is not None else {}).items():
        word = key.replace("_", "-")
        if word not in known:
            close = get_close_matches(word, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
            raise UsageError(f"{path}: [{TABLE}] has no setting {key!r}; {hint}")
        found[known[word].name] = Given(known[word].accepted(value, f"{path}: {key}"), str(path))
    variables = {f"{PREFIX}{word.replace('-', '_').upper()}": one for word, one in known.items()}
    for name, text in sorted((os.environ if environment is None else environment).items()):
        if name in variables:
            found[variables[name].name] = Given(variables[name].parsed(text, name), name)
        elif name.startswith(PREFIX) and name not in _OTHERS:
            close = get_close_matches(
                name.removeprefix(PREFIX), [one.removeprefix(PREFIX) for one in variables], n=1, cutoff=0.8
            )
            meant = f"; did you mean {PREFIX}{close[0]}?" if close else "; unset it, or see samlabel config show"
            raise UsageError(f"{name} in the environment is no setting{meant}")
    return found


def read_table(path: Path) -> dict[str, Any]:
    """The table of a TOML file; UsageError where it cannot be read or holds something else."""
    try:
        import tomllib
    except ModuleNotFoundError:  # Python 3.10
        import tomli as tomllib  # type: ignore[import-not-found, no-redef]
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, ValueError) as error:
        raise UsageError(f"{path}: not TOML: {error}") from error
    for key, value in content.items():
        if key != TABLE or not isinstance(value, dict):
            raise UsageError(f"{path}: {key!r} is not known here; settings stand in a table [{TABLE}]")
    table: dict[str, Any] = content.get(TABLE, {})
    return table
