"""How many processor cores there are to use."""

from __future__ import annotations

import os


def cores() -> int:
    """The cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows do not say which
        return os.cpu_count() or 1
