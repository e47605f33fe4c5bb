"""Assemble and run the service."""

import asyncio
import contextlib
import gc
import logging
import socket
from collections.abc import AsyncIterator

from litestar import Litestar
from litestar.datastructures import State
from litestar.di import Provide
from litestar.exceptions import HTTPException

from podpower.errors import PodpowerError, Unavailable
from podpower.settings import DEFAULT_API_PORT
from podpower_serving import errors, openapi
from podpower_serving.controllers import Inferences, Operations, Predictions, Reports
from podpower_serving.models import Served, source_of
from podpower_serving.plain_predictions import PlainPredictions
from podpower_serving.protocol import Bounds
from podpower_serving.server import Server
from podpower_serving.settings import Settings

_GC_THRESHOLDS = 50_000, 20, 100  # an answer allocates some hundred objects, hardly any of them in cycles


def create_app(settings: Settings, *, bounds: Bounds | None = None, own_process: bool = False) -> Litestar:
    """Return the application; it loads its model at the start and follows newer ones.

    It is not ready while `bounds` are draining. `own_process` lets it tune the garbage collector of the process.
    """
    served = Served(source_of(settings), after_load=_spare_model if own_process else None)
    app = _framework(settings, served, bounds or settings.bounds())
    app.asgi_handler = PlainPredictions(app.asgi_handler, served)
    return app


def _spare_model() -> None:
    """Take what is loaded out of garbage collections, which would look at all of it while requests wait.

    A replaced model is freed by its reference counts: it has no cycles.
    """
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


def _framework(settings: Settings, served: Served, bounds: Bounds) -> Litestar:

    @contextlib.asynccontextmanager
    async def following(_app: Litestar) -> AsyncIterator[None]:
        await asyncio.to_thread(served.refresh)
        task = asyncio.create_task(served.follow(every_seconds=settings.reload_seconds))
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    return Litestar(
        route_handlers=[Predictions, Inferences, Operations, Reports, openapi.openapi_json, openapi.swagger_asset],
        dependencies={
            "served": Provide(lambda: served, sync_to_thread=False),
            "bounds": Provide(lambda: bounds, sync_to_thread=False),
            "settings": Provide(lambda: settings, sync_to_thread=False),
        },
        exception_handlers={
            PodpowerError: errors.from_podpower,
            HTTPException: errors.from_http,
            Exception: errors.from_bug,
        },
        lifespan=[following],
        logging_config=None,  # configured by the program that runs the service
        openapi_config=openapi.config(),
        request_max_body_size=settings.max_body_bytes,
        state=State({"settings": settings}),
    )


def serve(settings: Settings, *, host: str = "127.0.0.1", port: int = DEFAULT_API_PORT) -> None:
    """Serve until SIGINT or SIGTERM, in order (`Server`). Port 0 takes a free one.

    Unavailable when the port is taken.
    """
    bounds = settings.bounds()
    app = create_app(settings, bounds=bounds, own_process=True)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    with _listening(host, port) as listener:
        address = listener.getsockname()
        logging.getLogger("podpower.serving").info("listening on http://%s:%d", *address[:2])
        Server(app, bounds, drain_seconds=settings.drain_seconds).run(sockets=[listener])


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = error.strerror or str(error)
        raise Unavailable(f"cannot listen on {host}:{port} ({reason}): give another --host or --port") from None
