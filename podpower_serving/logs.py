"""The log of the service on standard error: text, or one JSON object a line. Lines that nobody reads are dropped.

No line has a body, a credential or a query. With JSON each answered request has a line; these are written a few at a
time, since a system call for each would cost more than the prediction of some.
"""

import asyncio
import contextlib
import logging
import os
import select
import sys
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import msgspec

from podpower.specs.quoting import quoted
from podpower_serving import request_ids

TEXT: Final = "text"
JSON: Final = "json"
_ATOMIC_BYTES: Final = 4096  # a pipe does not mix such writes of several workers
_WAIT_SECONDS: Final = 0.1
_MOST_BYTES: Final = 64 << 10
_STDERR: Final = 2
_DROPPED: Final = "%d lines of the log were dropped: its reader did not keep up"
_ENCODER: Final = msgspec.json.Encoder()

_log = logging.getLogger("podpower.serving")


def _takes_more(file: int) -> bool:
    """Return False for a file whose next write would wait for its reader, and all requests with it."""
    poll = select.poll()
    poll.register(file, select.POLLOUT)
    return bool(poll.poll(0))


class Answered(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The line of an answered request. `path` is given where it differs from the route, `caller` is the name of an API
    key or certificate.
    """

    time: datetime
    level: str
    logger: str
    message: str
    request_id: str
    method: str
    route: str
    path: str | None = None
    status: int
    duration_ms: float
    client: str | None = None
    caller: str | None = None
    worker: int


class AccessLog:
    """Collects lines of answered requests and writes them soon. Used on the event loop only."""

    def __init__(self, *, worker: int = 0, file: int = _STDERR) -> None:
        self._worker, self._file = worker, file
        self._lines: list[bytes] = []
        self._bytes = 0
        self._dropped = 0
        self._timer: asyncio.TimerHandle | None = None

    def answered(
        self,
        *,
        request_id: str,
        method: str,
        route: str,
        path: str,
        status: int,
        seconds: float,
        client: str | None,
        caller: str,
    ) -> None:
        """Add the line of a request."""
        shown = None if path == route else quoted(path)
        line = _ENCODER.encode(
            Answered(
                time=datetime.now(UTC),
                level="info",
                logger="podpower.access",
                message=f"{method} {shown or route} {status}",
                request_id=request_id,
                method=method,
                route=route,
                path=shown,
                status=status,
                duration_ms=round(seconds * 1000, 3),
                client=client,
                caller=caller or None,
                worker=self._worker,
            )
        )
        self._lines.append(line)
        self._bytes += len(line)
        if self._bytes > _MOST_BYTES:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_WAIT_SECONDS, self.flush)

    def flush(self) -> None:
        """Write what was collected."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines, self._lines, self._bytes = self._lines, [], 0
        piece: list[bytes] = []
        size = 0
        for line in lines:
            if size + len(line) >= _ATOMIC_BYTES:
                self._write(piece)
                piece, size = [], 0
            piece.append(line)
            size += len(line) + 1
        self._write(piece)

    def _write(self, lines: list[bytes]) -> None:
        if not lines:
            return
        if not _takes_more(self._file):
            self._dropped += len(lines)
            return
        if self._dropped:
            number, self._dropped = self._dropped, 0
            _log.warning(_DROPPED, number)
        rest = b"\n".join([*lines, b""])
        with contextlib.suppress(OSError):  # nobody reads the log any more: requests are answered all the same
            while rest:
                rest = rest[os.write(self._file, rest) :]


class StandardError(logging.StreamHandler[TextIO]):
    """Writes records to standard error."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, after the number of those that were dropped before it."""
        if not _takes_more(_STDERR):
            self._dropped += 1
            return
        if self._dropped:
            number, self._dropped = self._dropped, 0
            super().emit(_log.makeRecord(_log.name, logging.WARNING, __file__, 0, _DROPPED, (number,), None))
        super().emit(record)


class JsonLines(logging.Formatter):
    """Formats records as JSON objects of one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record, with its traceback as one text."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (request_id := request_ids.current.get()) is not None:
            line["request_id"] = request_id
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


class TextLines(logging.Formatter):
    """Formats records as text, with the id of the request that they belong to."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # overridden
        """Return the line of a record."""
        line = super().formatMessage(record)
        request_id = request_ids.current.get()
        return line if request_id is None else f"{line} (request {request_id})"


def configure(log_format: str) -> None:
    """Send the log of this process to standard error, as "text" or "json"."""
    handler = StandardError()
    handler.setFormatter(JsonLines() if log_format == JSON else TextLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it has a line for each look into a model store over HTTP
