"""Waiting of tests for what other threads, processes and clusters do: until it holds, and no longer than a deadline."""

import time
from collections.abc import Callable


def until(
    holds: Callable[[], object],
    *,
    seconds: float = 120.0,
    every_s: float = 0.02,
    why: Callable[[], str] = lambda: "it did not come to hold",
) -> None:
    """Return once `holds()` is true; AssertionError with `why()` where it is not within so many seconds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, why()
        time.sleep(every_s)
