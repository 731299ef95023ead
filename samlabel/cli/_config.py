"""Settings of a command from a TOML file and the environment, below the flags that were typed.

A flag wins over SAMLABEL_<FLAG> in the environment, that over the table `[annotate]` of the file, that over the
default. https://toml.io/en/v1.0.0
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import typer

from ..errors import UsageError

PREFIX = "SAMLABEL_"
_OTHERS = frozenset(f"{PREFIX}{word}" for word in ("CONFIG", "CACHE", "MIRROR", "DATA"))  # no settings; of tests: DATA
POSITIONAL = "pictures"  # how the arguments without a flag are called in a file
_LEFT_OUT = frozenset(("config", "help"))
_YES, _NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


@dataclass(frozen=True, slots=True)
class Given:
    """One setting: its value and which layer it came from."""

    value: Any
    origin: str


def apply(context: typer.Context, path: Path | None) -> Path | None:
    """Make file and environment the defaults of a command that is about to read its flags."""
    if context.resilient_parsing:  # shell completion
        return path
    named = os.environ.get(f"{PREFIX}CONFIG")
    path = path or (Path(named) if named else None)
    context.default_map = {name: one.value for name, one in layers(context.command, path).items()}
    return path


def layers(command: Any, path: Path | None, environment: Mapping[str, str] | None = None) -> dict[str, Given]:
    """Settings of file and environment by the name of the command's parameter; UsageError on what is not known."""
    keys = keys_of(command)
    found = {}
    for key, value in (read_table(path, command.name) if path is not None else {}).items():
        word = key.replace("_", "-")
        if word not in keys:
            close = get_close_matches(word, keys, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(keys)}"
            raise UsageError(f"{path}: [{command.name}] has no setting {key!r}; {hint}")
        found[keys[word].name] = Given(_checked(keys[word].name, value, f"{path}: {key}"), str(path))
    variables = {f"{PREFIX}{word.replace('-', '_').upper()}": word for word in keys}
    for name, text in sorted((os.environ if environment is None else environment).items()):
        if name in variables:
            parameter = keys[variables[name]]
            found[parameter.name] = Given(_checked(parameter.name, _from_text(parameter.name, text), name), name)
        elif name.startswith(PREFIX) and name not in _OTHERS:
            close = get_close_matches(
                name.removeprefix(PREFIX), [one.removeprefix(PREFIX) for one in variables], n=1, cutoff=0.8
            )
            meant = f"; did you mean {PREFIX}{close[0]}?" if close else "; unset it, or see samlabel config show"
            raise UsageError(f"{name} in the environment is no setting{meant}")
    return found


def keys_of(command: Any) -> dict[str, Any]:
    """The command's parameters by the word that a file uses for them: a flag without its dashes."""
    found = {}
    for parameter in command.params:
        long = [one[2:] for one in parameter.opts if one.startswith("--")]
        word = long[0] if long else POSITIONAL
        if word not in _LEFT_OUT:
            found[word] = parameter
    return found


def read_table(path: Path, name: str) -> dict[str, Any]:
    """The table `[name]` of a TOML file; UsageError where it cannot be read or holds something else."""
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
        if key != name or not isinstance(value, dict):
            raise UsageError(f"{path}: {key!r} is not known here; settings stand in a table [{name}]")
    table: dict[str, Any] = content.get(name, {})
    return table


def _kinds() -> dict[str, set[type]]:
    """The types that each parameter of annotate takes; read from its signature, which every typer keeps as it is."""
    from .annotate import annotate

    found = {}
    for name, hint in get_type_hints(annotate).items():
        found[name] = {get_origin(one) or one for one in (get_args(hint) if get_origin(hint) is UnionType else (hint,))}
    return found


def _checked(name: str, value: Any, where: str) -> Any:
    """`value` in the shape that the flag has; a number where a switch stands would else be taken for one."""
    kinds = _kinds()[name]
    if list in kinds:
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(one, (str, int)) and not isinstance(one, bool) for one in values):
            raise UsageError(f"{where} is {value!r}; wanted text or a list of it")
        return [str(one) for one in values]
    for kind, wanted in ((bool, "true or false"), (int, "a whole number"), (float, "a number")):
        if kind in kinds:
            fits = isinstance(value, kind) or (kind is float and isinstance(value, int))
            if not fits or (kind is not bool and isinstance(value, bool)):
                raise UsageError(f"{where} is {value!r}; wanted {wanted}")
            return value
    if not isinstance(value, (str, int)) or isinstance(value, bool):
        raise UsageError(f"{where} is {value!r}; wanted text")
    return str(value)


def _from_text(name: str, text: str) -> Any:
    """Text of the environment as a value of a file; text that is none stays, and is refused like one."""
    kinds = _kinds()[name]
    if list in kinds:
        return [part.strip() for part in text.split(",") if part.strip()]
    if bool in kinds:
        return {**dict.fromkeys(_YES, True), **dict.fromkeys(_NO, False)}.get(text.lower(), text)
    for kind in (int, float):
        if kind in kinds:
            try:
                return kind(text)
            except ValueError:
                return text
    return text
