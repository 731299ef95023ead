"""The refusal to import torch where the current folder holds shared libraries.

A library that CUDA builds of torch bring along (cuSPARSELt) has an empty part in its run path, which the loader takes
for the current folder: importing torch there loads a `libcuda.so.1` that lies among somebody's images.
"""

from __future__ import annotations

import os
import re
import sys
from fnmatch import fnmatch
from pathlib import Path

from .errors import PlantedLibrary

# In each folder of a run path glibc looks into these first, nested in each other up to four deep.
# https://man7.org/linux/man-pages/man8/ld.so.8.html (hardware capabilities; those without glibc-hwcaps until 2.36)
_BELOW = ("glibc-hwcaps", "tls", "x86_64", "aarch64", "haswell", "xeon_phi", "avx512_1", "atomics")
_DEPTH = 4
REFUSED = 4  # exit code


def refuse_planted() -> None:
    """Raise PlantedLibrary where importing torch could load a library from the current folder.

    As the command `python -m sam`, end with one line and exit code 4 instead.
    """
    found = None if "torch" in sys.modules else planted()
    if found is None:
        return
    message = (
        f"torch is not imported: the current folder {found}, and CUDA builds of torch load libraries from there, "
        f"which could be anybody's code; run from another folder"
    )
    if sys.argv[:1] == ["-m"]:  # Python imports the package before it has found `__main__`
        print(f"sam: error: {message}", file=sys.stderr)
        sys.exit(REFUSED)
    raise PlantedLibrary(message)


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
