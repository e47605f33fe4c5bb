"""The server process: its bounds, and its orderly end."""

import asyncio
import logging
import signal
import socket
import time
from types import FrameType
from typing import Final

import uvicorn
from litestar import Litestar

from podpower_serving.protocol import Bounds, protocol_of

_GRACE_SECONDS: Final = 10  # for requests in flight when the service stops
_QUIET_SECONDS: Final = 1.0  # without a connection end the drain period early
_TICK_SECONDS: Final = 0.05

_log = logging.getLogger("podpower.serving")


class Server(uvicorn.Server):
    """Serves until SIGINT or SIGTERM. After SIGTERM it answers for the drain period and ends each connection with its
    answer, so that balancers turn to other replicas without a failed request; then it returns, which is exit code 0.
    """

    def __init__(self, app: Litestar, bounds: Bounds, *, drain_seconds: float) -> None:
        """`app` shows in its readiness that `bounds` are draining."""
        config = uvicorn.Config(
            app,
            http=protocol_of(bounds),
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,  # nothing depends on the client's address
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
        super().__init__(config)
        self._bounds, self._drain_seconds = bounds, drain_seconds

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  # the signature of a handler
        """Stop after the drain period; at once on SIGINT and on a second signal."""
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
