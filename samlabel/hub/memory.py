"""Memory: used again instead of mapped anew, and what can be given back before the next try when it ran out."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# https://sourceware.org/glibc/manual/latest/html_node/Malloc-Tunable-Parameters.html and malloc.h: number, the value
# while models run, glibc's own. Blocks come from one heap that keeps what is freed and grows by 64 MiB.
_MALLOC = {
    "M_MMAP_MAX": (-4, 0, 65536),
    "M_TRIM_THRESHOLD": (-1, 2**31 - 1, 128 * 1024),
    "M_TOP_PAD": (-2, 2**26, 128 * 1024),
    "M_ARENA_MAX": (-8, 1, 0),  # other heaps are of 64 MiB at most and could not hold a large tensor
}


@contextmanager
def kept_pages() -> Iterator[None]:
    """Inside, freed memory stays with the process; afterwards it goes back to the system.

    glibc maps each large tensor anew and unmaps it when it is freed, and the kernel clears every page of it again: a
    third of an image encoder's time on a CPU. Elsewhere, and where the environment tunes malloc, nothing is changed.
    """
    glibc = _glibc()
    if glibc is None or any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        yield
        return
    for number, ours, _ in _MALLOC.values():
        glibc.mallopt(number, ours)
    try:
        yield
    finally:
        for number, _, usual in _MALLOC.values():
            glibc.mallopt(number, usual)
        glibc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """The C library of this process where it is glibc."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is not None:
        try:
            _ = library.mallopt, library.malloc_trim, library.gnu_get_libc_version
        except AttributeError:
            return None
    return library


def is_out_of_memory(error: BaseException) -> bool:
    """torch has a class of its own for a GPU; on a CPU it is a RuntimeError that says so."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text


def release() -> None:
    """Give back what nothing uses any more, so that a smaller piece may fit."""
    import gc

    gc.collect()
    torch = sys.modules.get("torch")  # not imported for this
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
