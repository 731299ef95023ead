"""What this machine can do at most: its rate of matrix multiplication, and the operations that a call asks for."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from math import prod
from typing import Any


def rate(dtype: str, *, side: int = 1536, rounds: int = 7) -> float:
    """Operations a second (2 a multiply-add) in products of square matrices, median, with torch's thread count."""
    import torch

    a, b = (torch.randn(side, side).to(getattr(torch, dtype)) for _ in range(2))
    out = torch.empty_like(a)
    seconds = []
    for _ in range(rounds + 2):
        start = time.perf_counter()
        torch.matmul(a, b, out=out)
        seconds.append(time.perf_counter() - start)
    return 2 * side**3 / statistics.median(seconds[2:])


def operations(call: Callable[[], Any]) -> int:
    """Operations (2 a multiply-add) of the matrix products and convolutions in `call`, which runs once."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    fused = torch.ops.mkldnn
    counts = {fused._linear_pointwise: _linear, fused._convolution_pointwise: _convolution}
    counter = FlopCounterMode(display=False, custom_mapping=counts)
    with sdpa_kernel(SDPBackend.MATH), counter:  # fused attention on a CPU is not counted
        call()
    return counter.get_total_flops()


def _linear(x: Sequence[int], *_: Any, out_shape: Sequence[int], **__: Any) -> int:
    """Of a product with bias and activation in one pass, which torch's counter does not know."""
    return 2 * prod(out_shape) * x[-1]


def _convolution(_: Any, weight: Sequence[int], *__: Any, out_shape: Sequence[int], **___: Any) -> int:
    return 2 * prod(out_shape) * prod(weight[1:])


def hottest(call: Callable[[], Any], *, most: int = 8) -> list[tuple[str, float]]:
    """Where the time of `call` goes: torch's operators and their share of all of them, the largest first.

    Those of all threads: a folder's boxes and masks are made in different ones.
    """
    from torch._C._profiler import _ExperimentalConfig  # torch's only way to ask for all threads
    from torch.profiler import ProfilerActivity, profile

    every = _ExperimentalConfig(profile_all_threads=True)
    with profile(activities=[ProfilerActivity.CPU], experimental_config=every) as found:
        call()
    rows = [(row.key.removeprefix("aten::"), row.self_cpu_time_total) for row in found.key_averages()]
    total = sum(time for _, time in rows) or 1
    return [(name, time / total) for name, time in sorted(rows, key=lambda row: -row[1])[:most]]


def hottest_lines(call: Callable[[], Any], *, most: int = 8) -> list[tuple[str, float]]:
    """The same for code that is not torch's: functions and their share of the time."""
    import cProfile
    import pstats

    profiler = cProfile.Profile()
    profiler.runcall(call)
    rows = [(name, own) for (_, _, name), (_, _, own, _, _) in pstats.Stats(profiler).stats.items()]  # type: ignore[attr-defined]
    total = sum(own for _, own in rows) or 1
    return [(name, own / total) for name, own in sorted(rows, key=lambda row: -row[1])[:most]]


def memory(field: str) -> float:
    """MB of this process: `VmRSS` now, `VmHWM` at its highest; 0 where the system does not tell."""
    try:
        with open("/proc/self/status", encoding="ascii") as lines:
            return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field + ":"))
    except (OSError, StopIteration):
        return 0.0
