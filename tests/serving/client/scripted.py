"""A server that answers a script, for what a real service does only when it is in trouble."""

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import StreamRequestHandler, ThreadingTCPServer


@contextlib.contextmanager
def scripted(*answers):
    """Serve answers in turn, the last one again and again: (status, headers, body), or None to hang up.

    Gives the address and the list of what was received: (method, path, headers, body).
    """
    received, left = [], list(answers)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self):
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            received.append((self.command, self.path, dict(self.headers), body))
            answer = left.pop(0) if len(left) > 1 else left[0]
            if answer is None:
                self.close_connection = True
                return
            status, headers, content = answer
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _answer

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", received
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def streaming(pieces, *, pause_seconds=0.0):
    """Serve the bytes of `pieces()` to each connection as they are, with pauses between, until the client leaves.

    Gives the address.
    """
    ended = threading.Event()

    class Handler(StreamRequestHandler):
        def handle(self):
            self.connection.recv(1 << 16)
            with contextlib.suppress(ConnectionError):
                for piece in pieces():
                    self.connection.sendall(piece)
                    if ended.wait(pause_seconds):
                        return

    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            ended.set()
            server.shutdown()
            thread.join()
