"""Find plug-ins by file name or entry point, import them when they are wanted.

A plug-in is a module or folder in a package of ours (`samlabel/detectors/nano.py` is the detector `nano`) or an entry
point of an installed distribution (group `samlabel.detectors`). One that cannot be imported stays in the listing, with
its reason.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from types import ModuleType
from typing import Any, Generic, TypeVar

from .errors import MissingDependency, PlantedLibrary, SamlabelError, UnknownName

T = TypeVar("T")


@dataclass(frozen=True)
class Plugin(Generic[T]):
    """One plug-in: `load()` gives what it brings, `problem` says why that is not possible."""

    kind: str  # "detector", "segmenter", "format", "variant"
    name: str
    origin: str  # module name, or `distribution: module` for an entry point
    module: str
    attribute: str  # what in the module it is; empty for the module itself
    check: Callable[[str, Any], T]

    def load(self) -> T:
        """What the plug-in brings; a `MissingDependency` or `SamlabelError` says what is wrong with it."""
        try:
            found: Any = importlib.import_module(self.module)
            missing = [name for name in requirements(found) if importlib.util.find_spec(name) is None]
            for word in filter(None, self.attribute.split(".")):
                found = getattr(found, word)
        except SamlabelError:
            raise
        except ModuleNotFoundError as error:
            raise MissingDependency(
                f"the {self.kind} {self.name!r} needs the package {error.name!r}: pip install {error.name}"
            ) from error
        except Exception as error:  # any fault of a third party's module must leave the listing alive
            raise SamlabelError(
                f"the {self.kind} {self.name!r} ({self.origin}) cannot be imported: {type(error).__name__}: {error}"
            ) from error
        if missing:
            raise MissingDependency(
                f"the {self.kind} {self.name!r} needs {', '.join(missing)}: pip install {' '.join(missing)}"
            )
        try:
            return self.check(self.name, found)
        except (TypeError, ValueError) as error:
            raise SamlabelError(f"the {self.kind} {self.name!r} ({self.origin}) {error}") from error

    @cached_property
    def problem(self) -> str | None:
        """Why `load()` fails, in one line; None when it works."""
        try:
            self.load()
        except PlantedLibrary:  # no fault of the plug-in
            raise
        except SamlabelError as error:
            return " ".join(str(error).split())
        return None


def module_with(*functions: str) -> Callable[[str, Any], ModuleType]:
    """A `check` for a Registry whose plug-ins are modules that have these functions."""

    def check(_: str, found: Any) -> ModuleType:
        if not isinstance(found, ModuleType):
            raise TypeError(f"is {type(found).__name__} {found!r}; wanted a module")
        lacks = [word for word in functions if not callable(vars(found).get(word))]
        if lacks:
            raise ValueError(f"lacks {', '.join(lacks)}")
        return found

    return check


def requirements(module: ModuleType) -> tuple[str, ...]:
    """Import names that a plug-in's `REQUIRES` declares, so that a missing one is known without a try."""
    return tuple(vars(module).get("REQUIRES", ()))


class Registry(Generic[T]):
    """All plug-ins of one kind.

    Those of ours are the modules and folders of `package` whose names do not start with an underscore: of each,
    `attribute` (empty for the module itself). Those of others are the entry points of the group `samlabel.{kind}s`.
    `check(name, found)` gives what the product uses of it; a TypeError or ValueError says what is wrong with it.
    """

    def __init__(self, kind: str, package: str, check: Callable[[str, Any], T], attribute: str = "") -> None:
        self.kind, self.package, self.attribute = kind, package, attribute
        self._check = check

    def found(self) -> dict[str, Plugin[T]]:
        """Every plug-in by name, sorted; nothing but `package` itself is imported.

        Two of one name are an error, because silently preferring one would change a user's labels.
        """
        known: dict[str, Plugin[T]] = {}
        for info in pkgutil.iter_modules(importlib.import_module(self.package).__path__):
            if not info.name.startswith("_"):
                module = f"{self.package}.{info.name}"
                known[info.name] = Plugin(self.kind, info.name, module, module, self.attribute, self._check)
        for name, origin, module, attribute in _entry_points(f"samlabel.{self.kind}s", tuple(sys.path)):
            if name in known:
                raise SamlabelError(
                    f"two {self.kind}s are called {name!r}: {known[name].origin} and {origin}; uninstall one of them"
                )
            known[name] = Plugin(self.kind, name, origin, module, attribute, self._check)
        return dict(sorted(known.items()))

    def names(self) -> list[str]:
        """The name of every plug-in, sorted, without importing any."""
        return list(self.found())

    def get(self, name: str) -> T:
        """The plug-in called `name`; UnknownName lists the known ones."""
        known = self.found()
        if name not in known:
            raise UnknownName(self.kind, name, list(known))
        return known[name].load()

    def usable(self) -> dict[str, T]:
        """Every plug-in that can be loaded, by name."""
        return {name: plugin.load() for name, plugin in self.found().items() if plugin.problem is None}


@lru_cache(maxsize=16)
def _entry_points(group: str, path: tuple[str, ...]) -> tuple[tuple[str, str, str, str], ...]:
    """Name, origin, module and attribute of the entry points of `group` that are found on `path`."""
    from importlib.metadata import entry_points

    found = []
    for point in entry_points(group=group):
        owner = point.dist.name if point.dist is not None else "unknown distribution"
        found.append((point.name, f"{owner}: {point.value}", point.module, point.attr or ""))
    return tuple(found)
