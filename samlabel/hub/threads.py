"""How many threads torch computes with, set and restored."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ..cores import cores


def torch_threads() -> int:
    """The threads that torch was given (OMP_NUM_THREADS, torch.set_num_threads), else the cores that we may use."""
    torch = sys.modules.get("torch")
    if torch is not None:
        return int(torch.get_num_threads())
    return cores()


def use_threads(count: int) -> None:
    """Torch runs each operation of this thread on `count` threads, if torch is there at all."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != count:
        torch.set_num_threads(count)


@contextmanager
def same_threads() -> Iterator[None]:
    """What runs inside may change torch's thread count, as ultralytics does on a CPU; afterwards it is as before."""
    before = torch_threads()
    try:
        yield
    finally:
        use_threads(before)
