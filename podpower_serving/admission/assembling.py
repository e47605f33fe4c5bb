"""The webhook of a service, and what keeps its budgets up to date."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

from litestar import Litestar

from podpower_serving.admission.budgets import Ledger
from podpower_serving.admission.counts import Counts
from podpower_serving.admission.following import Following
from podpower_serving.admission.webhook import Webhook
from podpower_serving.metrics import Metrics
from podpower_serving.models import Served
from podpower_serving.settings import Settings

_FRESH_SECONDS: Final = 24 * 3600.0  # an older summary denies nothing

Lifespan = Callable[[Litestar], AbstractAsyncContextManager[None]]


def admission_of(settings: Settings, served: Served, metrics: Metrics | None = None) -> tuple[Webhook, Lifespan]:
    """Return the webhook of these settings, and the lifespan within which its budgets are followed."""
    ledger = Ledger(cluster=settings.cluster, fresh_seconds=_FRESH_SECONDS)
    webhook = Webhook(
        served=served,
        ledger=ledger,
        counts=Counts(metrics),
        denying=frozenset(settings.admission_deny),
        cluster=settings.cluster,
    )
    following = Following(
        ledger, store=settings.model_store, budgets_file=settings.budgets_file, cluster=settings.cluster
    )

    @contextlib.asynccontextmanager
    async def lifespan(_app: Litestar) -> AsyncIterator[None]:
        await following.refresh()
        task = asyncio.create_task(following.follow(every_seconds=settings.budgets_seconds))
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    return webhook, lifespan
