"""`GET /store/...`: the promoted models of this service's store, for services on other machines.

They read it as `PODPOWER_MODEL_STORE=http://HOST:8000/store`, and verify every digest again.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from litestar import Controller, MediaType, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from podpower.errors import Refused
from podpower.fleet.summary import FLEET_FILE
from podpower.registry.handing_out import HandedOut, PromotedFiles
from podpower_serving import openapi
from podpower_serving.entity_tags import is_known
from podpower_serving.errors import NotFound
from podpower_serving.incoming import AnyRequest

_AT_ONCE: Final = 4  # files that are in memory at a time
_PROBLEMS: Final = openapi.NOT_FOUND | openapi.NOT_READY


class StoreFiles:
    """Files of the model store that are handed out. One for each event loop."""

    def __init__(self, store: str) -> None:
        self.promoted = PromotedFiles(store, beside=frozenset({FLEET_FILE}))
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def answer(self, request: AnyRequest, path: str, read: Callable[[], HandedOut | None]) -> Response[bytes]:
        """Return a file, or 304 where the client has it. NotFound with the reason, also for a damaged one: clients then
        look for the version before, which they would not where the whole store seems to be away.
        """
        async with self._turns:
            try:
                found = await asyncio.to_thread(read)
            except Refused as error:
                raise NotFound(str(error)) from None
        if found is None:
            raise NotFound(f"the store hands out no {path[1:200]}")
        headers = {"ETag": f'"{found.tag}"', "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
        if is_known(request, headers["ETag"]):
            return Response(content=b"", status_code=304, headers=headers)
        kind = "application/json" if path.endswith(".json") else "application/octet-stream"
        return Response(content=found.content, media_type=kind, headers=headers)


class Store(Controller):
    """Hand out the model store."""

    path = "/store"
    tags = ("operations",)

    @get("/{name:str}", operation_id="getStoreFile", media_type=MediaType.JSON, responses=_PROBLEMS)
    async def file(
        self, request: AnyRequest, name: FromPath[str], store_files: NamedDependency[StoreFiles]
    ) -> Response[bytes]:
        """Return the pointer to the served version (`latest.json`), or the fleet summary (`fleet.json`)."""
        return await store_files.answer(request, f"/{name}", lambda: store_files.promoted.file(name))

    @get("/promotions", operation_id="getStorePromotions", sync_to_thread=True, responses=openapi.NOT_READY)
    def promotions(self, store_files: NamedDependency[StoreFiles]) -> list[str]:
        """Return the names of the changes of what is served, oldest first."""
        return store_files.promoted.promotions()

    @get("/promotions/{name:str}", operation_id="getStorePromotion", media_type=MediaType.JSON, responses=_PROBLEMS)
    async def promotion(
        self, request: AnyRequest, name: FromPath[str], store_files: NamedDependency[StoreFiles]
    ) -> Response[bytes]:
        """Return one change of what is served."""
        return await store_files.answer(request, f"/promotions/{name}", lambda: store_files.promoted.promotion(name))

    @get("/versions", operation_id="getStoreVersions", sync_to_thread=True, responses=openapi.NOT_READY)
    def versions(self, store_files: NamedDependency[StoreFiles]) -> list[str]:
        """Return the versions that were promoted."""
        return store_files.promoted.versions()

    @get(
        "/versions/{version:str}/{name:str}",
        operation_id="getStoreVersionFile",
        media_type="application/octet-stream",
        responses=_PROBLEMS,
    )
    async def of_version(
        self,
        request: AnyRequest,
        version: FromPath[str],
        name: FromPath[str],
        store_files: NamedDependency[StoreFiles],
    ) -> Response[bytes]:
        """Return a file of a promoted version: its manifest, encoder, model or report."""
        promoted = store_files.promoted

        def read() -> HandedOut | None:
            tag = promoted.tag_of(version, name)
            if tag is not None and is_known(request, f'"{tag}"'):  # its bytes need not be read
                return HandedOut(b"", tag)
            return promoted.of_version(version, name)

        return await store_files.answer(request, f"/versions/{version}/{name}", read)
