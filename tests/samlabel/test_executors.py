from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from samlabel.hub.threads import same_threads, use_threads
from samlabel.pipeline.executors import in_order


def test_results_come_in_order_however_long_each_takes() -> None:
    def work(n: int) -> int:
        time.sleep(0.02 if n % 3 == 0 else 0.0)
        return n * n

    assert list(in_order(work, range(30), threads=4)) == [n * n for n in range(30)]


def test_several_are_worked_on_at_once() -> None:
    together = threading.Barrier(3, timeout=10)  # breaks unless three threads meet
    assert list(in_order(lambda n: together.wait() >= 0, range(6), threads=3)) == [True] * 6


@pytest.mark.parametrize("count", [20, 200])
def test_what_is_taken_and_not_handed_out_does_not_grow_with_the_number(count: int) -> None:
    taken = delivered = most = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for n in range(count):
            taken += 1
            yield n

    for _ in in_order(lambda n: n, items(), threads=2, ahead=1):
        most = max(most, taken - delivered)
        delivered += 1
    assert delivered == count and most <= 3


def test_a_fault_comes_after_the_results_before_it() -> None:
    def work(n: int) -> int:
        if n == 3:
            raise KeyError("the fourth")
        return n

    def items() -> Iterator[int]:
        yield from (0, 1)
        raise OSError("the source")

    for found, error in ((in_order(work, range(9), threads=2), KeyError), (in_order(work, items()), OSError)):
        seen = []
        with pytest.raises(error):
            for one in found:
                seen.append(one)
        assert seen == list(range(3 if error is KeyError else 2))


def test_closing_ends_the_threads_in_the_middle_of_their_work() -> None:
    begun = threading.Event()

    def work(n: int) -> int:
        if n:
            begun.set()
            while True:  # no end of its own
                time.sleep(0.01)
        return n

    before = threading.active_count()
    stream = in_order(work, range(5), threads=2)
    assert next(stream) == 0
    assert begun.wait(10)
    stream.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_each_thread_begins_once() -> None:
    begun: list[str] = []
    list(
        in_order(
            lambda n: time.sleep(0.01), range(6), threads=2, begin=lambda: begun.append(threading.current_thread().name)
        )
    )
    assert len(begun) == len(set(begun)) == 2


def test_a_thread_count_that_a_library_changes_is_put_back() -> None:
    import torch

    before = torch.get_num_threads()
    try:
        use_threads(2)
        with same_threads():
            torch.set_num_threads(1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
