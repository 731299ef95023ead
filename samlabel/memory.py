"""Out of memory: how it is told from other errors, and what can be given back before the next try."""

from __future__ import annotations

import sys


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
