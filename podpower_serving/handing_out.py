"""`GET /store/...`: the promoted models of this service's store, for services on other machines.

They read it as `PODPOWER_MODEL_STORE=http://HOST:8000/store`, and verify every digest again.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from litestar import Controller, MediaType, Request, Response, get
from litestar.datastructures import State
from litestar.params import FromPath

from podpower.errors import Refused
from podpower.fleet.summary import FLEET_FILE
from podpower.registry.handing_out import HandedOut, PromotedFiles
from podpower_serving import openapi
from podpower_serving.entity_tags import is_known
from podpower_serving.errors import NotFound
from podpower_serving.settings import Settings

_AT_ONCE: Final = 4  # files that are in memory at a time
_STATE, _TURNS = "handed_out", "handed_out_turns"
_PROBLEMS: Final = openapi.NOT_FOUND | openapi.NOT_READY

AnyRequest = Request[Any, Any, Any]


class Store(Controller):
    """Hand out the model store."""

    path = "/store"
    tags = ("operations",)

    @get("/{name:str}", operation_id="getStoreFile", media_type=MediaType.JSON, responses=_PROBLEMS)
    async def file(self, request: AnyRequest, name: FromPath[str], state: State) -> Response[bytes]:
        """Return the pointer to the served version (`latest.json`), or the fleet summary (`fleet.json`)."""
        files = _files(state)
        return await _answer(request, f"/{name}", lambda: files.file(name))

    @get("/promotions", operation_id="getStorePromotions", sync_to_thread=True, responses=openapi.NOT_READY)
    def promotions(self, state: State) -> list[str]:
        """Return the names of the changes of what is served, oldest first."""
        return _files(state).promotions()

    @get("/promotions/{name:str}", operation_id="getStorePromotion", media_type=MediaType.JSON, responses=_PROBLEMS)
    async def promotion(self, request: AnyRequest, name: FromPath[str], state: State) -> Response[bytes]:
        """Return one change of what is served."""
        files = _files(state)
        return await _answer(request, f"/promotions/{name}", lambda: files.promotion(name))

    @get("/versions", operation_id="getStoreVersions", sync_to_thread=True, responses=openapi.NOT_READY)
    def versions(self, state: State) -> list[str]:
        """Return the versions that were promoted."""
        return _files(state).versions()

    @get(
        "/versions/{version:str}/{name:str}",
        operation_id="getStoreVersionFile",
        media_type="application/octet-stream",
        responses=_PROBLEMS,
    )
    async def of_version(
        self, request: AnyRequest, version: FromPath[str], name: FromPath[str], state: State
    ) -> Response[bytes]:
        """Return a file of a promoted version: its manifest, encoder, model or report."""
        files = _files(state)

        def read() -> HandedOut | None:
            tag = files.tag_of(version, name)
            if tag is not None and is_known(request, f'"{tag}"'):  # its bytes need not be read
                return HandedOut(b"", tag)
            return files.of_version(version, name)

        return await _answer(request, f"/versions/{version}/{name}", read)


def state_of(settings: Settings) -> dict[str, Any]:
    """Return what the controller needs in the state of the application."""
    files = PromotedFiles(settings.model_store, beside=frozenset({FLEET_FILE}))
    return {_STATE: files, _TURNS: asyncio.Semaphore(_AT_ONCE)}


def _files(state: State) -> PromotedFiles:
    files: PromotedFiles = state[_STATE]
    return files


async def _answer(request: AnyRequest, path: str, read: Callable[[], HandedOut | None]) -> Response[bytes]:
    """Return a file, or 304 where the client has it. NotFound with the reason, also for a damaged one: clients then
    look for the version before, which they would not where the whole store seems to be away.
    """
    async with request.app.state[_TURNS]:
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
