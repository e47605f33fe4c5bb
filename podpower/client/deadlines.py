"""A time limit for everything that a thread reads and writes, which httpx has for each read and each write only."""

import contextlib
import time
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import Any, Final

import httpcore
import httpx

_WRITTEN_BYTES: Final = 64 << 10  # at a time: the limit is looked at between

_ends_s: ContextVar[float | None] = ContextVar("podpower_deadline", default=None)


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Limit what connections of a client with `keep_deadlines` do in this block; httpx.TimeoutException beyond."""
    given = _ends_s.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _ends_s.reset(given)


def keep_deadlines(client: httpx.Client) -> None:
    """Make the connections of a client, those by proxies too, end with the block of `within`."""
    transports: list[Any] = [client._transport, *client._mounts.values()]
    for transport in transports:
        if transport is not None:  # None: no proxy for these hosts
            transport._pool._network_backend = _Backend()  # httpx has no argument for it


class _Backend(httpcore.SyncBackend):
    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect within the limit."""
        left_s = _left_s(timeout, httpcore.ConnectTimeout)
        return _Stream(super().connect_tcp(host, port, left_s, local_address, socket_options))


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read within the limit."""
        return self._stream.read(max_bytes, _left_s(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write within the limit."""
        for at in range(0, len(buffer), _WRITTEN_BYTES):
            self._stream.write(buffer[at : at + _WRITTEN_BYTES], _left_s(timeout, httpcore.WriteTimeout))

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """Begin TLS within the limit."""
        left_s = _left_s(timeout, httpcore.ConnectTimeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, left_s))

    def close(self) -> None:
        """Close."""
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        """Describe the connection."""
        return self._stream.get_extra_info(info)


def _left_s(timeout_s: float | None, late: type[httpcore.TimeoutException]) -> float | None:
    """Return the seconds that one operation has. `late` when none are left."""
    ends_s = _ends_s.get()
    if ends_s is None:
        return timeout_s
    left_s = ends_s - time.monotonic()
    if left_s <= 0:
        raise late("the time of the attempt is over")
    return left_s if timeout_s is None else min(timeout_s, left_s)
