"""A bound on the bytes of large bodies that are held at a time.

A body is held from its first piece to its answer, also while it waits for its rest or for a thread. Small bodies are
always read: requests of schedulers are answered while others hold all there is.
"""

from collections.abc import Mapping
from typing import Final

from litestar.types import Receive, ReceiveMessage

from podpower.errors import Unavailable

_AT_ONCE: Final = 16  # bodies of the largest size
_SMALL_BYTES: Final = 64 << 10
_SMALL_DIGITS: Final = 5  # of a Content-Length that needs no count


class NoRoom(Unavailable):
    """Others hold all there is; `piece` is what was read last."""

    def __init__(self, piece: bytes) -> None:
        super().__init__("large bodies of other requests take all memory that they can: try again later")
        self.piece = piece


class HeldBodies:
    """The large bodies of a process. For one event loop."""

    def __init__(self, *, max_body_bytes: int) -> None:
        """Hold as many bytes as some bodies of the largest size have."""
        self.most_bytes_each, self.most_bytes = max_body_bytes, _AT_ONCE * max_body_bytes
        self.bytes = 0

    def counted(self, headers: Mapping[bytes, bytes], receive: Receive) -> "HeldBody | None":
        """Return the body of a request, whose pieces count from now on; None for one that is small."""
        if len(headers.get(b"content-length", b"")) <= _SMALL_DIGITS and b"transfer-encoding" not in headers:
            return None
        return HeldBody(self, receive)


class HeldBody:
    """One body, until it is released."""

    def __init__(self, bodies: HeldBodies, receive: Receive) -> None:
        self._bodies, self._receive, self._bytes = bodies, receive, 0

    async def receive(self) -> ReceiveMessage:
        """Return the next piece of the body. NoRoom when others hold all there is."""
        message = await self._receive()
        if message["type"] == "http.request":
            size = min(len(message["body"]), self._bodies.most_bytes_each - self._bytes)  # what is beyond is not kept
            self._bytes += size
            self._bodies.bytes += size
            if self._bodies.bytes > self._bodies.most_bytes and self._bytes > _SMALL_BYTES:
                self.release()
                raise NoRoom(message["body"])
        return message

    def release(self) -> None:
        """Count this body no longer."""
        self._bodies.bytes -= self._bytes
        self._bytes = 0
