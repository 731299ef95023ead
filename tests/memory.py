"""How much memory this process has taken at most."""

from __future__ import annotations

import sys


def peak() -> int:
    """Bytes of memory this process took at its highest since it started its program.

    `getrusage` would count the process that started it as well: Linux hands the size at the fork down.
    """
    if sys.platform == "linux":
        with open("/proc/self/status", encoding="ascii") as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
