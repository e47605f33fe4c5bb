"""Threads for what takes longer than the event loop can wait: few, so that the loop soon has its turn again.

All threads of a process share Python's lock. Whoever waits for it gets it after the switch interval, once for each
thread that computes: with few threads and a short interval the event loop waits some milliseconds at most, as long as
no single call of a library takes longer.
"""

import asyncio
import contextlib
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, Final, TypeVar

T = TypeVar("T")

LARGE_BYTES: Final = 64 << 10  # of a body; what is larger waits for what is large, and delays nothing small
_SMALL_THREADS: Final = 2
_LARGE_THREADS: Final = 2
_SWITCH_SECONDS: Final = 0.001


class WorkerThreads:
    """Two threads for small bodies and two for large ones. One for each event loop."""

    def __init__(self) -> None:
        self._small = ThreadPoolExecutor(_SMALL_THREADS, thread_name_prefix="small-bodies")
        self._large = ThreadPoolExecutor(_LARGE_THREADS, thread_name_prefix="large-bodies")

    async def run(self, function: Callable[[bytes], T], body: bytes) -> T:
        """Return `function(body)`, computed in a thread for bodies of this size."""
        threads = self._large if len(body) > LARGE_BYTES else self._small
        return await asyncio.get_running_loop().run_in_executor(threads, function, body)

    async def part(self, function: Callable[[], T]) -> T:
        """Return `function()`, one part of the work on a large body, computed in a thread for these."""
        return await asyncio.get_running_loop().run_in_executor(self._large, function)

    def close(self) -> None:
        """Let running work end, and drop what waits."""
        for threads in (self._small, self._large):
            threads.shutdown(wait=False, cancel_futures=True)


class PatientThread:
    """One thread for what can hang, such as reading from a mount. The process ends without it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: SimpleQueue[Callable[[], None] | None] | None = None
        self._threads: list[threading.Thread] = []

    @property
    def hanging(self) -> int:
        """The number of threads that were given up and have not ended."""
        return sum(thread.is_alive() for thread in self._threads[: -1 if self._jobs else None])

    def run(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """Return the future result of `function()`, called in the thread after what it was given before."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def job() -> None:
            try:
                settle, result = _set_result, function()
            except BaseException as error:  # to whoever waits, whatever it is
                settle, result = _set_exception, error  # type: ignore[assignment]
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(settle, future, result)

        if self._jobs is None:
            self._jobs = SimpleQueue()
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            self._threads.append(threading.Thread(target=_work, args=(self._jobs,), name=self._name, daemon=True))
            self._threads[-1].start()
        self._jobs.put(job)
        return future

    def give_up(self) -> None:
        """Use another thread from now on; the present one ends when what it runs returns."""
        if self._jobs is not None:
            self._jobs.put(None)
            self._jobs = None


def _work(jobs: "SimpleQueue[Callable[[], None] | None]") -> None:
    while (job := jobs.get()) is not None:
        job()
        del job  # and with it the model that it replaced


def _set_result(future: asyncio.Future[Any], result: object) -> None:
    if not future.done():
        future.set_result(result)


def _set_exception(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


def switch_soon() -> None:
    """Let threads of this process take turns more often than Python's default of 5 ms."""
    sys.setswitchinterval(_SWITCH_SECONDS)
