"""HTTP with bounds: on time and size of headers, on the time of a body, and on connections.

A subclass of uvicorn's protocol, where a bound costs nothing for a request that arrives in one piece. What is beyond a
bound gets `application/problem+json`, and its connection is closed.
"""

from asyncio import TimerHandle, Transport
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Literal

import msgspec
from litestar.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from podpower_serving.errors import PROBLEM_JSON, RETRY_AFTER_SECONDS
from podpower_serving.schemas import Problem

HEADER_BYTES: Final = 32 << 10
_HARD: Final = 2  # times the limit of connections: beyond, they are closed unread


@dataclass(kw_only=True)
class Bounds:
    """Bounds of all connections of a server; `draining` ends each connection with its next answer."""

    header_timeout_seconds: float
    body_timeout_seconds: float
    connections: int
    draining: bool = False


def protocol_of(given: Bounds) -> type[HttpToolsProtocol]:
    """Return the protocol class of a server with these bounds."""

    class Protocol(BoundedProtocol):
        bounds = given

    return Protocol


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    bounds: Bounds

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Begin to wait for headers; answer 503 on a connection beyond the limit."""
        super().connection_made(transport)
        self._phase: Literal["headers", "body", "answer"] = "headers"
        self._read_bytes = 0  # of headers, before the piece that is being read
        self._piece_bytes = 0
        self._deadline: TimerHandle | None = None
        over = len(self.connections) - self.bounds.connections
        if over > self.bounds.connections * (_HARD - 1):
            transport.close()
            return
        if over > 0:
            self.app = _too_many_connections
        self._within(self.bounds.header_timeout_seconds, "the headers did not arrive")

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline."""
        self._in_time()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read a piece, and wait for the rest of what it begins."""
        self._piece_bytes = len(data)
        super().data_received(data)
        if self._phase == "headers":
            self._read_bytes += len(data)
            if self._read_bytes > HEADER_BYTES:
                self._refuse_headers()
            elif self._deadline is None:
                self._within(self.bounds.header_timeout_seconds, "the headers did not arrive")
        elif self._phase == "body" and self._deadline is None:
            self._within(self.bounds.body_timeout_seconds, "the body did not arrive")

    def on_message_begin(self) -> None:
        """Begin with a request."""
        super().on_message_begin()
        self._phase, self._read_bytes = "headers", 0

    def on_headers_complete(self) -> None:
        """Begin with the body."""
        self._in_time()
        self._phase = "body"
        if self._read_bytes + self._piece_bytes > HEADER_BYTES:
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > HEADER_BYTES:
                self._refuse_headers()
                return
        super().on_headers_complete()
        if self.bounds.draining or self.app is _too_many_connections:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Pass a piece of the body on."""
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Wait no longer: the answer takes the time that it takes."""
        self._in_time()
        self._phase = "answer"
        if not self.transport.is_closing():
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer a request that is not HTTP."""
        self._refuse(HTTPStatus.BAD_REQUEST, msg)

    def _within(self, seconds: float, detail: str) -> None:
        self._deadline = self.loop.call_later(seconds, self._late, f"{detail} within {seconds:g} s")

    def _in_time(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self, detail: str) -> None:
        self._deadline = None
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, detail)

    def _refuse_headers(self) -> None:
        detail = f"the headers are larger than {HEADER_BYTES} bytes"
        self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, detail)

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Answer in place of the application, if it has not begun to, and close the connection."""
        if self.transport.is_closing():
            return
        self._in_time()
        answered = self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
        if not answered:
            body = _problem(status, detail)
            head = f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: {PROBLEM_JSON}\r\n"
            self.transport.write(f"{head}content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body)
        self.transport.close()


async def _too_many_connections(_scope: Scope, _receive: Receive, send: Send) -> None:
    body = _problem(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections: try again later")
    headers: list[Any] = [
        (b"content-type", PROBLEM_JSON.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"retry-after", RETRY_AFTER_SECONDS.encode()),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _problem(status: HTTPStatus, detail: str) -> bytes:
    return msgspec.json.encode(Problem(status=status.value, title=status.phrase, detail=detail))
