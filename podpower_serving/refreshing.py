"""Repeated looks at files that others change, off the event loop."""

import asyncio
import logging
from collections.abc import Callable, Sequence

Refreshed = Callable[[], None]

_log = logging.getLogger("podpower.serving")


async def refreshing(refreshed: Sequence[Refreshed], *, every_seconds: float) -> None:
    """Call each of `refreshed` repeatedly. An exception is logged, and ends nothing."""
    while True:
        await asyncio.sleep(every_seconds)
        for refresh in refreshed:
            try:
                await asyncio.to_thread(refresh)
            except Exception:  # the service must survive every error of a file
                _log.exception("a file could not be read again; what was read before stays")
