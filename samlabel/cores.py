"""How many processor cores there are to use, and how many images are worked on at once."""

from __future__ import annotations

import os

MOST_AT_ONCE = 4  # images at once: memory is that many times one image's, however many cores there are


def cores() -> int:
    """The cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows do not say which
        return os.cpu_count() or 1
