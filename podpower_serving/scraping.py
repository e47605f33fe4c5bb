"""Endpoints for Prometheus: /metrics of the service, /metrics/fleet of the workloads."""

import asyncio
import time
from collections.abc import Iterable, Iterator
from datetime import datetime

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from prometheus_client.core import Metric

from podpower_serving.access import Access
from podpower_serving.fleet import Fleet
from podpower_serving.fleet_metrics import fleet_metrics
from podpower_serving.incoming import AnyRequest
from podpower_serving.metrics import API_KEYS, MODEL_AGE, MODEL_INFO, NEWER_REFUSED, Metrics, exposition, metric
from podpower_serving.models import Served
from podpower_serving.settings import Settings


class Scraping(Controller):
    """Metrics in the text format of Prometheus, or in OpenMetrics."""

    tags = ("operations",)

    @get("/metrics", operation_id="getMetrics", sync_to_thread=False, media_type="text/plain")
    def metrics(
        self,
        request: AnyRequest,
        metrics: NamedDependency[Metrics],
        served: NamedDependency[Served],
        access: NamedDependency[Access],
    ) -> Response[bytes]:
        """Return the metrics of the service, summed over its workers."""
        return _answer(request, [*metrics.families(), *_at_scrape(served, access)])

    @get("/metrics/fleet", operation_id="getFleetMetrics", media_type="text/plain")
    async def fleet(
        self, request: AnyRequest, fleet: NamedDependency[Fleet], settings: NamedDependency[Settings]
    ) -> Response[bytes]:
        """Return predicted and measured watts of workloads and namespaces, from the fleet summary."""

        def made() -> Response[bytes]:
            return _answer(request, fleet_metrics(fleet.summary(), most=settings.fleet_series, now_s=time.time()))

        return await asyncio.to_thread(made)


def _answer(request: AnyRequest, metrics: Iterable[Metric]) -> Response[bytes]:
    content, media_type = exposition(metrics, request.headers.get("accept", ""))
    return Response(content=content, headers={"Content-Type": media_type})


def _at_scrape(served: Served, access: Access) -> Iterator[Metric]:
    versions: dict[tuple[str, ...], list[float]] = {}
    ages: dict[tuple[str, ...], list[float]] = {}
    keys: dict[tuple[str, ...], list[float]] = {}
    if (predictor := served.found) is not None:
        versions[predictor.version,] = [1.0]
        ages[()] = [max(0.0, time.time() - datetime.fromisoformat(predictor.model.trained_at).timestamp())]
    if access.keys is not None:
        keys[()] = [len(access.keys)]
    refused: dict[tuple[str, ...], list[float]] = {(): [0.0 if served.refused is None else 1.0]}
    yield from (
        metric(MODEL_INFO, versions),
        metric(MODEL_AGE, ages),
        metric(NEWER_REFUSED, refused),
        metric(API_KEYS, keys),
    )
