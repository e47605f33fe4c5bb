"""A server that answers a script, for what a real service does only when it is in trouble."""

import contextlib
import threading
from socketserver import StreamRequestHandler, ThreadingTCPServer

from tests.http_servers import Response, serving


@contextlib.contextmanager
def scripted(*answers):
    """Serve answers in turn, the last one again and again: (status, headers, body), or None to hang up.

    Gives the address and the list of what was received: (method, path, headers, body).
    """
    received, left = [], list(answers)

    def respond(request):
        received.append((request.method, request.target, dict(request.headers), request.body))
        answer = left.pop(0) if len(left) > 1 else left[0]
        if answer is None:
            return None
        status, headers, content = answer
        return Response(content, status, headers)

    with serving(respond, keep_alive=True) as address:
        yield address, received


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
