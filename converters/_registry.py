"""Which formats there are: modules of this package, and entry points of the group `samlabel.formats`."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from samlabel.errors import FormatError, MissingDependency, SamlabelError, UnknownName, UsageError

GROUP = "samlabel.formats"
_FEW = 100  # folders below one that are looked into
_SHOWN = 10  # of them that a message names
COMMON = ("overwrite", "images")  # what the `write` of every format takes


@dataclass(frozen=True)
class FormatInfo:
    """One format of the listing; `problem` says why it cannot be used, None when it can."""

    name: str
    origin: str
    summary: str
    keeps: tuple[str, ...]
    problem: str | None = None
    options: tuple[OptionInfo, ...] = ()


@dataclass(frozen=True)
class OptionInfo:
    """A keyword of a format's `write` that other formats lack; `kind` is the type that its signature names."""

    name: str
    kind: str
    default: Any
    help: str

    @property
    def choices(self) -> tuple[str, ...]:
        """The words that it may be, where its help begins with them; else none."""
        words = self.help.partition(":")[0]
        return tuple(words.split("|")) if "|" in words and " " not in words else ()


@lru_cache(maxsize=1)
def _modules() -> dict[str, str]:
    """Format name -> module to import, ours and those that other distributions bring."""
    package = __name__.rpartition(".")[0]
    paths = importlib.import_module(package).__path__
    found = {m.name: f"{package}.{m.name}" for m in pkgutil.iter_modules(paths) if not m.name.startswith("_")}
    for point in entry_points(group=GROUP):
        if point.name in found:
            raise SamlabelError(
                f"two formats are called {point.name!r}: {found[point.name]} and {point.value}; uninstall one of them"
            )
        found[point.name] = point.value.partition(":")[0]
    return dict(sorted(found.items()))


def names() -> list[str]:
    """Every format's name, sorted, without importing any."""
    return list(_modules())


def get(name: str) -> ModuleType:
    """The module of the format `name`: KEEPS, recognise(), read(), write()."""
    known = _modules()
    if name not in known:
        raise UnknownName("format", name, list(known))
    try:
        module = importlib.import_module(known[name])
    except ModuleNotFoundError as error:
        package = error.name
        raise MissingDependency(f"format {name!r} needs the package {package!r}: pip install {package}") from error
    except Exception as error:  # whatever a third party's module does, the others must stay usable
        raise SamlabelError(f"format {name!r} ({known[name]}) cannot be imported: {error}") from error
    missing = [word for word in ("KEEPS", "read", "write") if not hasattr(module, word)]
    if missing:
        raise SamlabelError(f"format {name!r} ({known[name]}) lacks {', '.join(missing)}")
    return module


def existing(name: str, path: Path) -> Path | None:
    """What a write of the format `name` at `path` would replace, or find beside its own labels; None for nothing.

    Of a format that does not say so, whatever is there counts.
    """
    module = get(name)
    if hasattr(module, "existing"):
        found: Path | None = module.existing(path)
        return found
    return path if path.is_file() or (path.is_dir() and any(path.iterdir())) else None


def formats() -> list[FormatInfo]:
    """Every format with what it keeps; one that cannot be imported stays, with its reason."""
    listing = []
    for name, origin in _modules().items():
        try:
            module = get(name)
        except SamlabelError as error:
            listing.append(FormatInfo(name, origin, "", (), " ".join(str(error).split())))
        else:
            summary = (module.__doc__ or "").strip().partition("\n")[0]
            listing.append(FormatInfo(name, origin, summary, tuple(sorted(module.KEEPS)), None, options_of(name)))
    return listing


def detect_format(path: Path | str) -> tuple[str, str]:
    """The format of the labels at `path`, and what in the files says so; FormatError when none or several fit.

    Where folders below hold labels of other formats, the reason names them, since they are not read. When such a
    folder is also all that speaks for the format found, the choice is the caller's: FormatError.
    """
    path = Path(path)
    check_place(path)
    found = recognised(path)
    if len(found) > 1:
        reasons = "; ".join(f"{name} ({why})" for name, why in found.items())
        raise FormatError(f"{path}: may be {reasons}; say which (--from)")
    below = list(_recognised_below(path))
    if not found:
        hint = f"; below are {_listing(below)}: name one, or join them with samlabel merge" if below else ""
        raise FormatError(f"{path}: no format recognised{hint or '; name one of ' + ', '.join(names())}")
    ((name, why),) = found.items()
    others = [(folder, other) for folder, other in below if other != name]
    if not others:
        return name, why
    if len(others) < len(below):
        held = f"holds labels of several formats, {_listing(below)}"
        raise FormatError(f"{path}: {held}; name one folder, or one format (--from)")
    return name, f"{why}; not read: {_listing(others)} below, name such a folder to read it"


def recognised(path: Path) -> dict[str, str]:
    """Formats that the labels at `path` may be of, and what in the files says so."""
    found: dict[str, str] = {}
    for info in formats():
        recognise = None if info.problem else getattr(get(info.name), "recognise", None)
        why = recognise(path) if recognise else None
        if why:
            found[info.name] = why
    return found


def check_place(path: Path) -> None:
    """UsageError for what is not there; FormatError for a pipe, a socket or a device, which nothing is read from."""
    if not path.exists():
        raise UsageError(f"{path}: no such file or folder")
    if not (path.is_file() or path.is_dir()):
        raise FormatError(f"{path}: expected a file or a folder of labels, not a pipe, socket or device")


def _listing(below: list[tuple[str, str]]) -> str:
    named = [f"{folder} ({name})" for folder, name in below[:_SHOWN]]
    return ", ".join(named) + (f" and {len(below) - _SHOWN} more" if len(below) > _SHOWN else "")


def _recognised_below(path: Path) -> Iterator[tuple[str, str]]:
    """Folders right below a folder, a few of them, that hold labels of one format."""
    folders = sorted(f for f in path.iterdir() if f.is_dir() and f.name[0] != ".") if path.is_dir() else []
    for folder in folders[:_FEW]:
        for info in formats():
            try:
                if (
                    info.problem is None
                    and (recognise := getattr(get(info.name), "recognise", None))
                    and recognise(folder)
                ):
                    yield folder.name, info.name
            except SamlabelError:  # several files of it
                continue


def options_of(name: str) -> tuple[OptionInfo, ...]:
    """The options of the format `name`; what they mean is in its OPTIONS."""
    module = get(name)
    told = getattr(module, "OPTIONS", {})
    parameters = inspect.signature(module.write).parameters.values()
    own = [p for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in COMMON]
    return tuple(OptionInfo(p.name, str(p.annotation), p.default, told.get(p.name, "")) for p in own)


def parsed_options(name: str, texts: Iterable[str]) -> dict[str, Any]:
    """`option=value` texts as keywords for the `write` of the format `name`; UsageError for those that it lacks."""
    known = {option.name: option for option in options_of(name)}
    found: dict[str, Any] = {}
    for text in texts:
        key, sign, value = text.partition("=")
        key = key.strip().replace("-", "_")
        if not sign:
            raise UsageError(f"{text!r} is not an option; wanted NAME=VALUE, as samlabel formats lists them")
        if key not in known:
            raise UnknownName(f"option of {name}", key, list(known))
        found[key] = _parsed(known[key], value)
    return found


def _parsed(option: OptionInfo, text: str) -> Any:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    try:
        if "bool" in option.kind:
            return words[text.strip().lower()]
        if "int" in option.kind:
            return int(text)
        if "float" in option.kind:
            return float(text)
    except (KeyError, ValueError):
        wanted = "true or false" if "bool" in option.kind else "a whole number" if "int" in option.kind else "a number"
        raise UsageError(f"option {option.name} is {text!r}; wanted {wanted}") from None
    if option.choices and text not in option.choices:
        raise UnknownName(f"value of {option.name}", text, list(option.choices))
    return text


def checked_options(function: Any, name: str, options: dict[str, Any]) -> dict[str, Any]:
    """`options` if `function` of the format `name` takes each of them, else a UsageError naming those it takes."""
    takes = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for option in options:
        if option not in takes:
            raise UsageError(f"format {name!r} has no option {option!r}; it takes {', '.join(takes) or 'none'}")
    return options
