"""Accepting connections from a socket that several workers share, so that each gets about as many.

An event loop that is busy looks at the socket more often than one that has to wake up first, and would take nearly all
connections of a burst. So a worker with more connections than another one leaves the socket alone for a moment, then
takes a connection in any case: none waits long for a worker that does not run. While some wait, it takes one more after
each moment: connections that come and go by the thousand are not held back.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Sequence
from typing import Any, Final

from podpower_serving.shared_counts import Head

_WAIT_SECONDS: Final = 0.002  # for a worker that has less to do
_VAIN_WAITS: Final = 50  # in a row, before a worker is taken for one that does not run
_TOLERATED: Final = 16  # a part of the connections: thousands in a burst are accepted quickly
_PAUSE_SECONDS: Final = 1.0  # where no file can be opened: as asyncio has it

_log = logging.getLogger("podpower.serving")


class Accepting:
    """Accepts connections until it is closed. It is closed as a server of asyncio is, and leaves the socket open."""

    def __init__(
        self,
        listener: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        *,
        head: Head,
        others: Sequence[Head],
        tls: dict[str, Any],
    ) -> None:
        """`head` is of this worker, `others` are of the others, `tls` has arguments as of `loop.create_server`."""
        self._listener, self._protocol, self._tls = listener, protocol, tls
        self._head, self._others = head, [_Other(other) for other in others]
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[None]] = set()
        self._later: asyncio.TimerHandle | None = None
        self._waits = 0  # for others, since no connection waited
        listener.setblocking(False)
        self._loop.add_reader(listener, self._share)

    def close(self) -> None:
        """Accept no more connections."""
        if self._later is not None:
            self._later.cancel()
        self._loop.remove_reader(self._listener)

    async def wait_closed(self) -> None:
        """Wait for the handshakes that have begun."""
        await asyncio.gather(*self._opening, return_exceptions=True)

    def _share(self) -> None:
        """Accept connections up to the share of this worker; leave more to others, for a moment."""
        while not (others := self._less_busy()):
            if not self._accept():
                self._waits = 0
                return
        self._waits += 1
        self._pause(_WAIT_SECONDS, self._take, others)

    def _less_busy(self) -> list["_Other"]:
        return [other for other in self._others if other.is_less_busy_than(self._head)]

    def _take(self, others: list["_Other"]) -> None:
        """Accept connections that others could have taken."""
        self._resume()
        for _ in range(self._waits):
            if not self._accept():
                self._waits = 0
                return
            for other in others:
                other.waited_in_vain()

    def _accept(self) -> bool:
        """Accept one connection; return False if none waits, or none can be accepted."""
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):  # another worker was quicker
            return False
        except OSError as error:
            _log.error("no connection can be accepted for %g s: %s", _PAUSE_SECONDS, error)
            self._pause(_PAUSE_SECONDS, self._resume)
            return False
        connection.setblocking(False)
        opening = self._loop.create_task(self._open(connection))
        self._opening.add(opening)
        opening.add_done_callback(self._opened)
        self._head.opening = len(self._opening)
        self._head.beat()
        return True

    async def _open(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the client went away, or its TLS is none
            await self._loop.connect_accepted_socket(self._protocol, connection, **self._tls)

    def _opened(self, opening: asyncio.Task[None]) -> None:
        self._opening.discard(opening)
        self._head.opening = len(self._opening)

    def _pause(self, seconds: float, then: Callable[..., None], *arguments: Any) -> None:
        self._loop.remove_reader(self._listener)
        self._later = self._loop.call_later(seconds, then, *arguments)

    def _resume(self) -> None:
        self._later = None
        self._loop.add_reader(self._listener, self._share)


class _Other:
    """Another worker, as far as this one sees whether it takes connections."""

    def __init__(self, head: Head) -> None:
        self._head, self._beats, self._vain_waits = head, -1, 0

    def is_less_busy_than(self, own: Head) -> bool:
        """Return True if this worker runs, as far as known, and has fewer connections than one's own."""
        if self._head.beats != self._beats:
            self._beats, self._vain_waits = self._head.beats, 0
        busy = self._head.load
        return self._vain_waits < _VAIN_WAITS and own.load > busy + busy // _TOLERATED

    def waited_in_vain(self) -> None:
        """Note that this worker did not take a connection that was left to it."""
        self._vain_waits += 1
