"""An end to connections whose client does not read its answer: each holds the answer and a place among all."""

import array
import asyncio
import contextlib
import fcntl
import termios


class SlowReader:
    """Watches what is left to write to one client. If none of it leaves for `seconds`, the connection is aborted."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, *, seconds: float) -> None:
        self._transport, self._loop, self._seconds = transport, loop, seconds
        self._timer: asyncio.TimerHandle | None = None
        self._left_bytes = 0

    def watch(self) -> None:
        """Begin to wait for the client, if anything is left to write."""
        if not self._transport.get_write_buffer_size():
            return
        self._left_bytes = self._left()
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._look)

    def stop(self) -> None:
        """Wait no longer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self._left() >= self._left_bytes:
            self._transport.abort()
        else:
            self.watch()

    def _left(self) -> int:
        """Return the bytes that the client has not received, with those that the kernel holds: it takes megabytes, and
        takes no more of them before a third of these is away.
        """
        held = array.array("i", [0])
        with contextlib.suppress(OSError):  # not every system knows
            fcntl.ioctl(self._transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, held)
        return self._transport.get_write_buffer_size() + held[0]
