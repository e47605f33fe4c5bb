"""HTTP with bounds: on time and size of headers, on the time of a body, on the patience with clients that do not read
their answers, and on connections.

A subclass of uvicorn's protocol, where a bound costs nothing for a request that arrives in one piece. What is beyond a
bound gets `application/problem+json`, and its connection is closed.
"""

from asyncio import TimerHandle, Transport
from http import HTTPStatus
from typing import Any, Final, Literal

import httptools
from litestar.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from podpower.specs.quoting import quoted
from podpower_serving.access import CERTIFICATE
from podpower_serving.bounds import Bounds
from podpower_serving.errors import PROBLEM_JSON, RETRY_AFTER_SECONDS, problem
from podpower_serving.joined_writes import JoinedWrites
from podpower_serving.metrics import REFUSED_REQUESTS, Metrics
from podpower_serving.slow_readers import SlowReader

HEADER_BYTES: Final = 32 << 10
_BETWEEN_BYTES: Final = 256 << 10  # trailers, or what else is no body: as much as one piece can have
_SLICE_BYTES: Final = 4 << 10  # parsed at a time: some requests, or more of a body
_TRANSFER_ENCODING: Final = b"transfer-encoding"
_HARD: Final = 2  # times the limit of connections: beyond, they are closed unread


def protocol_of(given: Bounds, counted: Metrics) -> type[HttpToolsProtocol]:
    """Return the protocol class of a server with these bounds, which counts connections and refusals."""

    class Protocol(BoundedProtocol):
        bounds, metrics = given, counted

    return Protocol


class _Refused(Exception):
    """A request that the service does not read; callbacks raise it through the parser, which then stops."""

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    bounds: Bounds
    metrics: Metrics

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Begin to wait for headers; answer 503 on a connection beyond the limit."""
        self._slow_reader = SlowReader(transport, self.loop, seconds=self.bounds.body_timeout_seconds)
        super().connection_made(JoinedWrites(transport, self.loop, closing=self._slow_reader.watch))
        self.metrics.connections(len(self.connections))
        self._phase: Literal["headers", "body", "answer"] = "headers"
        self._read_bytes = 0  # of headers, before the slice that is being read
        self._began = False  # a request, within that slice
        self._between_bytes = 0  # within a body, since the last piece of it: sizes of chunks, and trailers
        self._unparsed = b""  # for later, while requests before it wait for their answers
        self._refusal = b""  # of a request, while those before it wait for their answers
        self._ended = False  # the client sends nothing more
        self._deadline: TimerHandle | None = None
        self._certificate = _subject(transport)
        over = len(self.connections) - self.bounds.connections
        if over > 0:
            self.metrics.add(REFUSED_REQUESTS, "503")
        if over > self.bounds.connections * (_HARD - 1):
            transport.close()
            return
        if over > 0:
            self.app = _too_many_connections
        self._within(self.bounds.header_timeout_seconds, "the headers did not arrive")

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadlines."""
        self._in_time()
        self._slow_reader.stop()
        super().connection_lost(exc)
        self.metrics.connections(len(self.connections))

    def data_received(self, data: bytes) -> None:
        """Read a piece, as far as its requests can be begun soon, and wait for the rest of what it begins."""
        self._unset_keepalive_if_required()
        if self._refusal:
            self.flow.pause_reading()
        elif self._unparsed:
            self._unparsed += data
            self.flow.pause_reading()
        else:
            self._read(data)

    def eof_received(self) -> bool:  # type: ignore[override]  # as asyncio has it
        """Stay to answer what a client sent before it closed its half of the connection. TLS has no halves."""
        self._ended = self.scheme == "http" and self._is_answering()
        if self._ended and not self._unparsed and not self._refusal:
            self.cycle.keep_alive = False
        return self._ended

    def on_response_complete(self) -> None:
        """Go on with the requests that had to wait for this answer."""
        was_last = not self.pipeline
        super().on_response_complete()
        if self.transport.is_closing():
            return
        if self._refusal:
            if was_last:
                self._end(self._refusal)
            return
        if self._unparsed:
            self._unset_keepalive_if_required()
            data, self._unparsed = self._unparsed, b""
            self._read(data)
        elif self._phase != "answer":
            self._unset_keepalive_if_required()
            self._await_rest()
        if self._ended and not self._is_answering():
            self.transport.close()

    def _is_answering(self) -> bool:
        """Return True while a request that arrived completely has no answer."""
        if self._unparsed or self._refusal:
            return True
        return self._phase == "answer" and self.cycle is not None and not self.cycle.response_complete

    def _read(self, data: bytes) -> None:
        """Read slices of a piece while no request has to wait for an answer before it: each that waits takes memory,
        and a piece can hold thousands.
        """
        at = 0
        while at < len(data) and not self.pipeline and not self.transport.is_closing() and not self._refusal:
            self._read_slice(data[at : at + _SLICE_BYTES])
            at += _SLICE_BYTES
        if self.pipeline and not self._refusal:  # reading is paused: the client has no part in this
            self._in_time()
            self._unparsed = data[at:]

    def _read_slice(self, data: bytes) -> None:
        self._between_bytes += len(data)
        self._began = False
        self._parse(data)
        if self._phase == "headers":
            self._read_bytes += 0 if self._began else len(data)  # a slice can have whole requests before it
            if self._read_bytes > HEADER_BYTES:
                self._refuse(_large_headers())
        elif self._phase == "body" and self._between_bytes > _BETWEEN_BYTES:
            self._refuse(_large_headers())
        self._await_rest()

    def _await_rest(self) -> None:
        """Set a deadline for what is missing of a request that began, if there is none."""
        if self._phase == "answer" or self._deadline is not None or self._refusal or self.transport.is_closing():
            return
        if self._phase == "headers":
            self._within(self.bounds.header_timeout_seconds, "the headers did not arrive")
        else:
            self._within(self.bounds.body_timeout_seconds, "the body did not arrive")

    def _parse(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._parsed_bytes(rest) :]
        except httptools.HttpParserError as error:
            reason = error.__context__
            self._refuse(reason if isinstance(reason, _Refused) else _not_http())

    def _parsed_bytes(self, data: memoryview) -> int:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._stay()
            parsed: int = upgrade.args[0]
            return parsed
        return len(data)

    def _stay(self) -> None:
        """Go on with HTTP/1.1 where a client proposes another protocol, as HTTP/2 clients do.

        The parser ends after the headers of such a request: a new one reads them again, without the proposal.
        """
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        if method == b"CONNECT":
            raise httptools.HttpParserError(method)
        kept = [header for header in self.headers if header[0] != b"upgrade"]
        lines = [b"%b %b HTTP/%b" % (method, self.url, version), *(b"%b: %b" % header for header in kept), b"", b""]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(b"\r\n".join(lines))

    def on_message_begin(self) -> None:
        """Begin with a request."""
        super().on_message_begin()
        if self._certificate is not None:
            self.scope[CERTIFICATE] = self._certificate  # type: ignore[typeddict-unknown-key]
        self._phase, self._read_bytes, self._began = "headers", 0, True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header. Trailers are dropped: nothing reads them, and they must not replace headers."""
        if self._phase == "headers":
            if len(name) == len(_TRANSFER_ENCODING) and name.lower() == _TRANSFER_ENCODING:
                _check_coding(value)
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin with the body."""
        if self.parser.should_upgrade():
            return
        self._in_time()
        if self._read_bytes + 2 * _SLICE_BYTES > HEADER_BYTES:  # with the slices of its first and of its last byte
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > HEADER_BYTES:
                raise _large_headers()
        if self.expect_100_continue and self.parser.get_http_version() == "1.0":
            self.expect_100_continue = False  # such a client would take it for the answer (RFC 9110, 10.1.1)
        super().on_headers_complete()
        self._phase, self._between_bytes = "body", 0
        if self.bounds.draining or self.app is _too_many_connections:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Pass a piece of the body on."""
        self._between_bytes = 0
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Wait no longer: the answer takes the time that it takes."""
        if self.parser.should_upgrade():
            return
        self._in_time()
        self._phase = "answer"
        if not self.transport.is_closing():
            super().on_message_complete()

    def pause_writing(self) -> None:
        """Make the application wait for the client, for a time."""
        super().pause_writing()
        self._slow_reader.watch()

    def resume_writing(self) -> None:
        """Let the application write again."""
        super().resume_writing()
        self._slow_reader.stop()
        if self.transport.is_closing():
            self._slow_reader.watch()

    def _within(self, seconds: float, detail: str) -> None:
        self._deadline = self.loop.call_later(seconds, self._late, f"{detail} within {seconds:g} s")

    def _in_time(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self, detail: str) -> None:
        self._deadline = None
        self._refuse(_Refused(HTTPStatus.REQUEST_TIMEOUT, detail))

    def _refuse(self, refused: _Refused) -> None:
        """Answer in place of the application, if it has not begun to, and close the connection: after the answers to
        the requests before.
        """
        if self.transport.is_closing() or self._refusal:
            return
        self._in_time()
        self._unparsed = b""
        if self._phase == "body" and not (self.pipeline and self.pipeline[0][0] is self.cycle):
            self._interrupt(refused)
            return
        if self._phase == "body":
            self.pipeline.popleft()  # the request itself, which the application never sees
            waits = True
        else:
            waits = self.cycle is not None and not self.cycle.response_complete
        self.metrics.add(REFUSED_REQUESTS, str(refused.status.value))
        if waits:
            self._refusal = _answer(refused)
            self.flow.pause_reading()
        else:
            self._end(_answer(refused))

    def _interrupt(self, refused: _Refused) -> None:
        """Refuse the rest of a request that the application has; what it has begun to answer is its only answer."""
        if self.cycle.response_complete:
            self.transport.close()
            return
        self.cycle.disconnected = True
        self.metrics.add(REFUSED_REQUESTS, str(refused.status.value))
        self._end(b"" if self.cycle.response_started else _answer(refused))

    def _end(self, answer: bytes) -> None:
        if answer:
            self.transport.write(answer)
        self.transport.close()


def _answer(refused: _Refused) -> bytes:
    body = problem(refused.status, refused.detail)
    head = f"HTTP/1.1 {refused.status.value} {refused.status.phrase}\r\ncontent-type: {PROBLEM_JSON}\r\n"
    return f"{head}content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body


def _large_headers() -> _Refused:
    detail = f"the headers are larger than {HEADER_BYTES} bytes"
    return _Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, detail)


def _not_http() -> _Refused:
    return _Refused(HTTPStatus.BAD_REQUEST, "Invalid HTTP request received.")


def _check_coding(value: bytes) -> None:
    """Refuse transfer codings that nothing here undoes (RFC 9112, 6.1)."""
    if value.strip().lower() != b"chunked":
        detail = f'Transfer-Encoding "{quoted(value.decode("latin-1"))}": only chunked is known'
        raise _Refused(HTTPStatus.NOT_IMPLEMENTED, detail)


async def _too_many_connections(_scope: Scope, _receive: Receive, send: Send) -> None:
    body = problem(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections: try again later")
    headers: list[Any] = [
        (b"content-type", PROBLEM_JSON.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"retry-after", RETRY_AFTER_SECONDS.encode()),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _subject(transport: Transport) -> str | None:
    """Return the name in a verified certificate of the client; None without one."""
    connection = transport.get_extra_info("ssl_object")
    certificate = connection.getpeercert() if connection is not None else None
    if not certificate:
        return None
    names = dict(pair for part in certificate.get("subject", ()) for pair in part)
    alternatives = [name for _, name in certificate.get("subjectAltName", ())]
    return quoted(names.get("commonName") or next(iter(alternatives), "a client certificate"))
