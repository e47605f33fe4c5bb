"""SIGHUP, which the terminal of a process sends when it closes: the service stops as after SIGTERM.

One that is ignored stays ignored, as nohup demands.
"""

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Call `handler` at SIGHUP within the block, unless it is ignored. For main threads."""
    before = signal.getsignal(signal.SIGHUP)
    if before == signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGHUP, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)
