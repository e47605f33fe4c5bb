"""The server process: its bounds, and its orderly end."""

import asyncio
import contextlib
import logging
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any, Final

import uvicorn
from litestar import Litestar
from uvicorn.config import STARTUP_FAILURE

from podpower_serving import hang_ups
from podpower_serving.accepting import Accepting
from podpower_serving.bounds import Bounds
from podpower_serving.metrics import Metrics
from podpower_serving.protocol import protocol_of
from podpower_serving.tls import Certificates

_GRACE_SECONDS: Final = 10  # for requests in flight when the service stops
_QUIET_SECONDS: Final = 1.0  # without a connection end the drain period early
_TICK_SECONDS: Final = 0.05
_BEAT_SECONDS: Final = 0.5

_log = logging.getLogger("podpower.serving")


class Server(uvicorn.Server):
    """Serves until SIGINT, SIGTERM or SIGHUP. After the last two it answers for the drain period and ends each
    connection with its answer, so that balancers turn to other replicas without a failed request; then it returns,
    which is exit code 0.
    """

    def __init__(
        self,
        app: Litestar,
        bounds: Bounds,
        *,
        drain_seconds: float,
        certificates: Certificates | None = None,
        metrics: Metrics | None = None,
        parent: int | None = None,
    ) -> None:
        """`app` shows in its readiness that `bounds` are draining. `parent` is a file that ends when the process does
        that started this one, which then stops as after SIGTERM.
        """
        self._metrics = metrics or Metrics()
        config = uvicorn.Config(
            app,
            http=protocol_of(bounds, self._metrics),
            ws="none",  # an upgraded connection would be beyond the bounds
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,  # nothing depends on the client's address
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
        super().__init__(config)
        self._bounds, self._drain_seconds = bounds, drain_seconds
        self._certificates, self._parent = certificates, parent

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application and accept connections; a TLS handshake has as much time as headers have."""
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            sys.exit(STARTUP_FAILURE)
        loop = asyncio.get_running_loop()
        tls: dict[str, Any] = {}
        if self._certificates is not None:
            tls = {"ssl": self._certificates.context, "ssl_handshake_timeout": self._bounds.header_timeout_seconds}
        self.servers = [await self._accepting(listener, tls) for listener in sockets or []]
        if self._parent is not None:
            loop.add_reader(self._parent, self._orphaned)
            self._beat()
        self.started = True

    async def _accepting(self, listener: socket.socket, tls: dict[str, Any]) -> Any:
        head, others = self._metrics.head, self._metrics.other_heads
        if others:
            return Accepting(listener, self._protocol, head=head, others=others, tls=tls)
        loop = asyncio.get_running_loop()
        return await loop.create_server(self._protocol, sock=listener, backlog=self.config.backlog, **tls)

    def _protocol(self) -> asyncio.Protocol:
        protocol: Any = self.config.http_protocol_class
        made: asyncio.Protocol = protocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made

    def _beat(self) -> None:
        """Show the parent, now and repeatedly, that the event loop runs."""
        self._metrics.beat()
        asyncio.get_running_loop().call_later(_BEAT_SECONDS, self._beat)

    def _orphaned(self) -> None:
        if self._parent is not None:
            asyncio.get_running_loop().remove_reader(self._parent)
            self._parent = None
            self.handle_exit(signal.SIGTERM, None)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals in the block; those of uvicorn, and SIGHUP."""
        is_main = threading.current_thread() is threading.main_thread()
        with super().capture_signals(), hang_ups.handled(self.handle_exit) if is_main else contextlib.nullcontext():
            yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  # the signature of a handler
        """Stop after the drain period; at once on SIGINT and on a second signal. SIGHUP can come twice, from the
        terminal and from its shell.
        """
        if self.should_exit and sig == signal.SIGHUP:
            return
        if self.should_exit or sig == signal.SIGINT:
            self._drain_seconds = 0.0
            self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, then stop in order."""
        self._bounds.draining = True
        began = last_busy = time.monotonic()
        if self._drain_seconds:
            _log.info("stopping: not ready any more; connections end with their answers")
        while (now := time.monotonic()) < began + self._drain_seconds:
            if self.server_state.connections:
                last_busy = now
            if now - last_busy > _QUIET_SECONDS:
                break
            await asyncio.sleep(_TICK_SECONDS)
        await super().shutdown(sockets)
