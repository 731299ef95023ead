"""The refusal to import torch where the current folder holds shared libraries.

A library that CUDA builds of torch bring along (cuSPARSELt) has an empty part in its run path, which the loader takes
for the current folder: importing torch there loads a `libcuda.so.1` that lies among somebody's images. `sam` has the
same check for those who use it alone.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from ..errors import PlantedLibrary

# In each folder of a run path glibc looks into these first, nested in each other up to four deep.
# https://man7.org/linux/man-pages/man8/ld.so.8.html (hardware capabilities; those without glibc-hwcaps until 2.36)
_BELOW = ("glibc-hwcaps", "tls", "x86_64", "aarch64", "haswell", "xeon_phi", "avx512_1", "atomics")
_DEPTH = 4


def planted() -> str | None:
    """What makes the current folder unsafe to import torch in: "holds libcuda.so.1"; None where nothing does."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        names = sorted(os.listdir())
    except FileNotFoundError:  # the folder is gone, and so is what was in it
        return None
    except OSError as error:
        return f"cannot be listed ({error.strerror})" if os.access(".", os.X_OK) else None
    found = [name for name in names if fnmatch(name, "lib*.so*")]
    for place in (Path(name) for name in names if name in _BELOW):
        found += [str(file) for depth in range(_DEPTH) for file in place.glob("*/" * depth + "lib*.so*")]
    return f"holds {re.sub('[^A-Za-z0-9_./-]', '?', min(found))}" if found else None


def refuse_planted() -> None:
    """Raise PlantedLibrary where importing torch could load a library from the current folder."""
    found = None if "torch" in sys.modules else planted()
    if found is not None:
        raise PlantedLibrary(
            f"torch is not imported: the current folder {found}, and CUDA builds of torch load libraries from "
            f"there, which could be anybody's code; run the same command from another folder"
        )


class _BeforeTorch(MetaPathFinder):
    """Asked for every module that is imported; it knows none, and has a look around before torch."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in ("torch", "sam"):  # the latter checks too, with an error of its own
            refuse_planted()
        return None


@contextmanager
def guarded_torch() -> Iterator[None]:
    """Inside, torch is imported by nobody (plug-ins, libraries) where `refuse_planted` refuses."""
    guard = _BeforeTorch()
    sys.meta_path.insert(0, guard)
    try:
        yield
    finally:
        sys.meta_path.remove(guard)
