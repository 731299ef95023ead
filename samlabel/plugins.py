"""Find plug-ins by file name or entry point, import them when they are wanted.

A plug-in is a module in a package of ours (`samlabel/detectors/nano.py` is the detector `nano`) or
an entry point of an installed distribution (group `samlabel.detectors`). One that cannot be
imported stays in the listing, with its reason.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any

from .errors import MissingDependency, PlantedLibrary, SamlabelError, UnknownName


@dataclass(frozen=True)
class Plugin:
    """One plug-in: `load()` gives its module, `problem` says why that is not possible."""

    kind: str  # "detector", "segmenter", "format"
    name: str
    origin: str  # module name, or `distribution: module` for an entry point
    module: str

    def load(self) -> Any:
        """The imported module; a `MissingDependency` or `SamlabelError` says what is wrong with it."""
        try:
            found = importlib.import_module(self.module)
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
        missing = [package for package in requirements(found) if importlib.util.find_spec(package) is None]
        if missing:
            raise MissingDependency(
                f"the {self.kind} {self.name!r} needs {', '.join(missing)}: pip install {' '.join(missing)}"
            )
        return found

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

    @property
    def summary(self) -> str:
        """The first line of the module's docstring, without its full stop; empty when it has none or is broken."""
        if self.problem:
            return ""
        doc = (self.load().__doc__ or "").strip()
        return doc.splitlines()[0].rstrip(".") if doc else ""


def requirements(module: ModuleType) -> tuple[str, ...]:
    """Import names that a plug-in's `REQUIRES` declares, so that a missing one is known without a try."""
    return tuple(getattr(module, "REQUIRES", ()))


def find(kind: str, package: str, *, group: str | None = None) -> dict[str, Plugin]:
    """Plug-ins of one kind by name, sorted: modules of `package` and entry points of `group`.

    Names starting with an underscore are not plug-ins. Nothing but `package` itself is imported.
    Two of one name are an error, because silently preferring one would change a user's labels.
    """
    found: dict[str, Plugin] = {}
    for info in pkgutil.iter_modules(importlib.import_module(package).__path__):
        if not info.name.startswith("_"):
            module = f"{package}.{info.name}"
            found[info.name] = Plugin(kind, info.name, module, module)
    for plugin in _entry_points(kind, group or f"samlabel.{kind}s"):
        if plugin.name in found:
            raise SamlabelError(
                f"two {kind}s are called {plugin.name!r}: {found[plugin.name].origin} and {plugin.origin}; "
                f"uninstall one of them"
            )
        found[plugin.name] = plugin
    return dict(sorted(found.items()))


def get(kind: str, name: str, package: str, *, group: str | None = None) -> Any:
    """The imported plug-in called `name`; `UnknownName` lists the known ones."""
    known = find(kind, package, group=group)
    if name not in known:
        raise UnknownName(kind, name, list(known))
    return known[name].load()


def _entry_points(kind: str, group: str) -> list[Plugin]:
    from importlib.metadata import entry_points

    found = []
    for point in entry_points(group=group):
        owner = point.dist.name if point.dist is not None else "unknown distribution"
        found.append(Plugin(kind, point.name, f"{owner}: {point.value}", point.value.partition(":")[0]))
    return found
