"""HTTP servers of tests: a real socket whose every request is answered by a function."""

import contextlib
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class Request(NamedTuple):
    """What a client sent. `target` is the path with its query."""

    method: str
    target: str
    headers: Message
    body: bytes


@dataclass(frozen=True)
class Response:
    """What the server answers. `headers` override the `Content-Length` of the body."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    endless: Iterable[bytes] | None = None  # sent after the body, which then has no length, until the client leaves


@contextlib.contextmanager
def serving(
    respond: Callable[[Request], Response | None],
    *,
    keep_alive: bool = False,
    tls: ssl.SSLContext | None = None,
    port: int = 0,
) -> Iterator[str]:
    """Answer every request by `respond`, where None hangs up, and yield the address. Without `keep_alive` each answer
    ends its connection.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1" if keep_alive else "HTTP/1.0"

        def _respond(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            response = respond(Request(self.command, self.path, self.headers, body))
            if response is None:
                self.close_connection = True
                return
            length = {} if response.endless else {"Content-Length": str(len(response.body))}
            self.send_response(response.status)
            for name, value in {**length, **response.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(OSError):  # the client has left
                self.wfile.write(response.body)
                for piece in response.endless or ():
                    self.wfile.write(piece)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _respond

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            pass  # clients that hang up in a handshake are part of tests

    server = Server(("127.0.0.1", port), Handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
