"""Requests as they come in: the media type and the body of each, once its query and headers are checked."""

from collections.abc import Sequence
from typing import Any

from litestar import Request

from podpower_serving import bodies

AnyRequest = Request[Any, Any, Any]


def media_type_of(request: AnyRequest, *accepted: str) -> str:
    """Return the media type of a body, one of `accepted`. WrongMediaType as `bodies.check_media_type`."""
    headers = request.headers
    return bodies.check_media_type(headers.get("content-type"), headers.get("content-encoding"), accepted=accepted)


def check_query(request: AnyRequest, *, known: Sequence[str]) -> None:
    """Raise InvalidInput as `bodies.check_query`."""
    bodies.check_query((name for name, _ in request.query_params.multi_items()), known=known)


async def body_of(request: AnyRequest, *accepted: str, query: Sequence[str] = ()) -> tuple[bytes, str]:
    """Return a body and its media type. InvalidInput for parameters other than those of `query`; WrongMediaType as
    `media_type_of`.
    """
    check_query(request, known=query)
    media_type = media_type_of(request, *accepted)
    return await request.body(), media_type
