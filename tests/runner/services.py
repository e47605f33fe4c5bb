"""Services: an address of this machine that hands connections to ready pods, as kube-proxy does."""

import asyncio
import contextlib
import itertools
import ssl
from collections.abc import Callable

Endpoint = tuple[str, int]
_CHUNK = 65536


class Proxy:
    """Accepts connections at an address and a port; each goes to one of the endpoints of that moment."""

    def __init__(
        self, endpoints: Callable[[], list[Endpoint]], *, tls: ssl.SSLContext | None = None
    ) -> None:  # fmt: skip
        self._endpoints, self._tls = endpoints, tls
        self._turn = itertools.count()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def start(self, address: str, port: int) -> None:
        self._server = await asyncio.start_server(self._accepted, address, port, ssl=self._tls, backlog=512)

    async def close(self) -> None:
        if self._server:
            self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await self._joined(reader, writer)
        finally:
            self._open.discard(task)
            writer.transport.abort()

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        endpoints = self._endpoints()
        if not endpoints:
            return  # refused, as far as a connection that was accepted can be
        back, forth = await asyncio.open_connection(*endpoints[next(self._turn) % len(endpoints)])
        try:
            await asyncio.gather(_copied(reader, forth), _copied(back, writer))
        finally:
            forth.transport.abort()


async def _copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hand on everything, and then the end."""
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
    else:
        writer.close()
