"""Threads whose results come in order: what is made does not depend on how many there are."""

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from recon.errors import UsageError

Item = TypeVar("Item")
Result = TypeVar("Result")

_MOST_BYTES = 2**30
"""Of what is worked on at a time, but for one piece, which may be larger."""


def usable_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Workers:
    """At most ``jobs`` compiled loops at a time, whatever calls them: they run without Python's lock.

    Raises:
        UsageError: ``jobs`` is less than 1.
    """

    def __init__(self, jobs: int = 1) -> None:
        if jobs < 1:
            raise UsageError(f"The number of jobs is {jobs}; expected at least 1.")
        self.jobs = jobs
        self._free = threading.Semaphore(jobs)

    @contextlib.contextmanager
    def core(self) -> Iterator[None]:
        """Wait for a core, and hold it."""
        with self._free:
            yield

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item], size: Callable[[Item], int] = lambda _: 0
    ) -> Iterator[Result]:
        """Results in the order of the items, of ``size`` bytes; few are begun before the first result is taken."""
        if self.jobs == 1:
            yield from map(function, items)
            return
        begun: deque[tuple[Future[Result], int]] = deque()
        held = 0
        with ThreadPoolExecutor(self.jobs) as pool:
            try:
                for item in items:
                    while begun and (len(begun) > self.jobs or held + size(item) > _MOST_BYTES):
                        yield begun[0][0].result()
                        held -= begun.popleft()[1]
                    begun.append((pool.submit(function, item), size(item)))
                    held += size(item)
                while begun:
                    yield begun.popleft()[0].result()
            finally:
                pool.shutdown(cancel_futures=True)
