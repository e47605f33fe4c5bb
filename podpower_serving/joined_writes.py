"""Head and body of an answer in one write: each write is a system call, which costs as much as a tenth of a request."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

_LARGE: Final = 64 << 10  # bytes; joining them costs more than a write


class JoinedWrites(asyncio.Transport):
    """A transport that holds what is written first, until the next write or the next turn of the event loop."""

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        *,
        closing: Callable[[], None] = lambda: None,
    ) -> None:
        """`closing` is called when the connection is closed in order, which waits for what is left to write."""
        self._transport, self._loop, self._closing = transport, loop, closing
        self._held = b""

    def write(self, data: Any) -> None:
        """Write at once what follows a held piece; hold any other piece. A closed transport takes nothing."""
        if self._transport.is_closing():
            return
        if self._held:
            if len(data) > _LARGE:
                self._flush()
                self._transport.write(data)
                return
            held, self._held = self._held, b""
            self._transport.write(held + data)
        elif data:
            self._held = bytes(data)
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self._held:
            held, self._held = self._held, b""
            if not self._transport.is_closing():
                self._transport.write(held)

    def close(self) -> None:
        """Write what is held, and close in order."""
        self._flush()
        self._transport.close()
        self._closing()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def is_closing(self) -> bool:
        """Return True for a transport that is closed or about to be."""
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what is known of the connection."""
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """Read no more for now."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        self._transport.resume_reading()
