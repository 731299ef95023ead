"""Where the stages run: several images at once, results in order, and how many threads each of them gets.

On a CPU one image a core is faster than one image on all cores: nothing waits for the slowest part of each
small operation, and what one thread alone can do (Python, run lengths, JSON) runs beside the others' arithmetic.
"""

from __future__ import annotations

import ctypes
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

from ..hub.threads import torch_threads, use_threads

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Stop(BaseException):
    """Ends a worker whose results nobody waits for any more."""


def in_order(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    threads: int = 1,
    ahead: int = 1,
    begin: Callable[[], object] = lambda: None,
) -> Generator[Result, None, None]:
    """`work(item)` for each item, in order, made by `threads` threads that each call `begin()` first.

    At most `threads + ahead` items are between the source and the reader, which may be slow on either side. What
    `work` or the source raises is raised here, after the results before it. Closing ends the threads: each stops
    between two of its steps, as the main thread does on an interrupt.
    """
    todo: queue.SimpleQueue[tuple[Future[Result], Item] | None] = queue.SimpleQueue()
    stop = threading.Event()

    def run() -> None:
        try:
            begin()
            while not stop.is_set() and (job := todo.get()) is not None:
                _do(work, *job)
                del job  # a image must not live on while its thread waits for the next
        except _Stop:  # it came between two jobs
            pass

    made = [threading.Thread(target=run, name=f"samlabel-{n}", daemon=True) for n in range(threads)]
    for thread in made:
        thread.start()
    waiting: deque[Future[Result]] = deque()
    source, fault = iter(items), None
    try:
        while True:
            try:
                item = next(source)
            except StopIteration:
                break
            except Exception as error:
                fault = error
                break
            waiting.append(Future())
            todo.put((waiting[-1], item))
            del item
            while len(waiting) >= threads + ahead or (waiting and waiting[0].done()):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
        if fault is not None:
            raise fault
    finally:
        stop.set()
        for thread in made:
            todo.put(None)
            if waiting:  # in the middle of something
                _interrupt(thread)
        for thread in made:
            thread.join(timeout=60)


def _do(work: Callable[[Item], Result], future: Future[Result], item: Item) -> None:
    try:
        future.set_result(work(item))
    except BaseException as error:  # whatever it is must surface in the thread that waits for the result
        future.set_exception(error)


def _interrupt(thread: threading.Thread) -> None:
    """Raise _Stop in a running thread, where it executes its next line of Python.

    A daemon thread that is inside torch when Python ends takes the process down, and waiting for a whole image
    can be a minute of a large model.
    """
    if thread.ident is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(_Stop))


@runtime_checkable
class Executor(Protocol):
    """Runs the stages that need no neighbors, an image at a time."""

    def map(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterable[Result]:
        """`work(item)` for each item, in order; neither items nor results pile up."""
        ...


@dataclass(frozen=True, slots=True)
class Inline:
    """In the caller's thread, one after another."""

    def map(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterable[Result]:
        return map(work, items)


@dataclass(frozen=True, slots=True)
class Threads:
    """`at_once` images side by side, each operation of an image on `each` threads of torch (None: as many as it has).

    The last digit of a sum depends on how it was divided, so `each` must not depend on how many images there are.
    """

    at_once: int
    each: int | None = None

    def map(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterable[Result]:
        every = torch_threads()
        each = self.each or every
        try:
            use_threads(each)
            yield from in_order(work, items, threads=self.at_once, begin=lambda: use_threads(each))
        finally:
            use_threads(every)


INLINE = Inline()
