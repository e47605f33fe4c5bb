"""Assemble the service: what each request passes, from the front to the framework."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from litestar import Litestar
from litestar.datastructures import State
from litestar.di import Provide
from litestar.exceptions import HTTPException

from podpower.errors import PodpowerError
from podpower.io import heap
from podpower_serving import errors, openapi
from podpower_serving.access import Access, Keys
from podpower_serving.admission.assembling import admission_of
from podpower_serving.admission.endpoint import admission
from podpower_serving.admission.following import Following
from podpower_serving.bounds import Bounds
from podpower_serving.controllers import Inferences, Operations, Predictions, Reports
from podpower_serving.cross_origin import CrossOrigin
from podpower_serving.differences import Differences
from podpower_serving.fleet import Fleet
from podpower_serving.freed_memory import keep_freed
from podpower_serving.front import Front
from podpower_serving.handing_out import Store, StoreFiles
from podpower_serving.held_bodies import HeldBodies
from podpower_serving.login import Login
from podpower_serving.logs import AccessLog
from podpower_serving.metrics import Metrics
from podpower_serving.models import Served, source_of
from podpower_serving.pages import rendering
from podpower_serving.pages.routing import PAGES
from podpower_serving.plain_predictions import PlainPredictions
from podpower_serving.refreshing import PatientLook, attempted, repeated
from podpower_serving.scraping import Scraping
from podpower_serving.settings import Settings
from podpower_serving.tls import Certificates
from podpower_serving.worker_threads import WorkerThreads, switch_soon

Lifespan = Callable[[Litestar], AbstractAsyncContextManager[None]]

_GC_THRESHOLDS = 50_000, 20, 100  # an answer allocates some hundred objects, hardly any of them in cycles


def create_app(
    settings: Settings,
    *,
    bounds: Bounds | None = None,
    metrics: Metrics | None = None,
    log: AccessLog | None = None,
    certificates: Certificates | None = None,
    own_process: bool = False,
) -> Litestar:
    """Return the application; it loads its model at the start and follows newer ones, API keys and certificates.

    It is not ready while `bounds` are draining. `own_process` lets it tune the garbage collections, threads and
    memory of the process. PodpowerError when the API keys cannot be used.
    """
    metrics = metrics or Metrics()
    served = Served(source_of(settings), after_load=spare_loaded if own_process else None, metrics=metrics)
    keys = Keys(settings.api_keys_file, metrics=metrics) if settings.api_keys_file else None
    access = Access(keys, client_ca=settings.tls_client_ca is not None)
    looks: list[PatientLook[Any]] = [PatientLook(keys, name="api-keys")] if keys else []
    if certificates is not None:
        looks.append(PatientLook(certificates, name="certificates"))
    threads = WorkerThreads()
    if own_process:
        switch_soon()
        keep_freed()
    provided = {
        "threads": threads,
        "served": served,
        "bounds": bounds or settings.bounds(),
        "settings": settings,
        "metrics": metrics,
        "access": access,
        "fleet": Fleet(settings.model_store),
        "store_files": StoreFiles(settings.model_store),
    }
    webhook, budgets = admission_of(settings, served, metrics)
    lifespan = _lifespan(settings, served, budgets, looks, log=log, threads=threads)
    app = _framework(settings, {**provided, "webhook": webhook}, lifespan)
    app.asgi_handler = Front(
        PlainPredictions(app.asgi_handler, served, metrics),
        metrics=metrics,
        access=access,
        bodies=HeldBodies(max_body_bytes=settings.max_body_bytes),
        cross_origin=CrossOrigin(settings.cors_origins) if settings.cors_origins else None,
        log=log,
        routes=frozenset(route.path for route in app.routes if "{" not in route.path),
    )
    return app


def spare_loaded() -> None:
    """Take what is loaded out of garbage collections, which would look at all of it while requests wait.

    Only at the first model: a cycle that is garbage in the moment of a freeze is kept for ever, and later models have
    a few thousand objects, which collections can look at. A replaced model is freed by its reference counts: it has no
    cycles. Its memory, and what loading the new one took, is returned to the system.
    """
    if gc.get_freeze_count():
        heap.trim()
        return
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


def _constant(value: object) -> Provide:
    return Provide(lambda: value, sync_to_thread=False)


def _lifespan(
    settings: Settings,
    served: Served,
    budgets: Following,
    looks: list[PatientLook[Any]],
    *,
    log: AccessLog | None,
    threads: WorkerThreads,
) -> Lifespan:
    """Return what loads all that the service reads, and follows it while the service runs."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        if settings.docs:
            await asyncio.to_thread(openapi.make_document, app)
        await served.load()
        await attempted(budgets.refresh, name="budgets")
        every_seconds = settings.reload_seconds
        followed = [
            repeated(served.load, name="models", every_seconds=every_seconds),
            repeated(budgets.refresh, name="budgets", every_seconds=settings.budgets_seconds),
            *(repeated(look.refresh, name=look.name, every_seconds=every_seconds) for look in looks),
        ]
        tasks = [asyncio.create_task(one) for one in followed]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        threads.close()
        if log is not None:
            log.flush()

    return lifespan


def _framework(settings: Settings, provided: dict[str, object], lifespan: Lifespan) -> Litestar:
    return Litestar(
        route_handlers=[
            admission,
            Predictions,
            Differences,
            Inferences,
            Operations,
            Reports,
            Scraping,
            Login,
            Store,
            *PAGES,
            *(openapi.HANDLERS if settings.docs else ()),
        ],
        dependencies={name: _constant(value) for name, value in provided.items()},
        exception_handlers={
            PodpowerError: errors.from_podpower,
            HTTPException: errors.from_http,
            Exception: errors.from_bug,
        },
        lifespan=[lifespan],
        logging_config=None,  # configured by the program that runs the service
        openapi_config=openapi.config() if settings.docs else None,
        request_max_body_size=settings.max_body_bytes,
        template_config=rendering.config(),
        state=State({"settings": settings}),  # for the handlers of exceptions, which have no dependencies
    )
