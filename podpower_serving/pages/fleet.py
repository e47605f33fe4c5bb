"""`/fleet`: what clusters, namespaces and workloads draw over time, from the fleet summary; and the same as CSV."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from podpower.fleet.summary import FleetSummary
from podpower_serving.errors import NotFound
from podpower_serving.fleet import Fleet
from podpower_serving.incoming import AnyRequest, check_query
from podpower_serving.pages import fleet_csv, rendering
from podpower_serving.pages.files import URLS
from podpower_serving.pages.fleet_view import view_of
from podpower_serving.settings import Settings

_FILTERS: Final[Sequence[str]] = ("cluster", "namespace")


class FleetPage(Controller):
    """The page of the fleet."""

    path = "/fleet"
    include_in_schema = False

    @get("/")
    async def page(
        self, request: AnyRequest, fleet: NamedDependency[Fleet], settings: NamedDependency[Settings]
    ) -> Response[str]:
        """Return the page, of one cluster or namespace where the query names them."""
        check_query(request, known=_FILTERS)
        cluster, namespace = (request.query_params.get(name) or None for name in _FILTERS)
        return rendering.answer(await asyncio.to_thread(_page, fleet, settings, cluster, namespace))

    @get("/{name:str}")
    async def csv(self, name: FromPath[str], fleet: NamedDependency[Fleet]) -> Response[str]:
        """Return `workloads.csv`, `namespaces.csv`, or `hours.csv`: a row for each hour of each series."""
        content = await asyncio.to_thread(_csv, fleet, name)
        headers = {
            "Content-Disposition": f'attachment; filename="podpower-{name}"',
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
        }
        return Response(content=content, media_type="text/csv", headers=headers)


def _page(fleet: Fleet, settings: Settings, cluster: str | None, namespace: str | None) -> str:
    summary = fleet.summary()
    view = None if summary is None else view_of(summary, cluster=cluster, namespace=namespace, now_s=time.time())
    return rendering.rendered(
        "fleet.html",
        view=view,
        problem=fleet.problem,
        urls=URLS,
        docs=settings.docs,
        keys=settings.api_keys_file is not None,
    )


def _csv(fleet: Fleet, name: str) -> str:
    write = fleet_csv.TABLES.get(name)
    if write is None:
        raise NotFound(f"no such table; there are {', '.join(fleet_csv.TABLES)}")
    summary: FleetSummary | None = fleet.summary()
    if summary is None:
        raise NotFound("there is no fleet summary yet: materialize fleet_summary")
    return write(summary)
