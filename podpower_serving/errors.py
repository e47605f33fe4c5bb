"""Convert errors to `application/problem+json` (RFC 9457): the one place that assigns HTTP statuses."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException

from podpower.errors import InvalidInput, PodpowerError, Refused, Unavailable
from podpower.specs.quoting import quoted
from podpower_serving.request_ids import SCOPE
from podpower_serving.schemas import Problem

PROBLEM_JSON: Final = "application/problem+json"
RETRY_AFTER_SECONDS: Final = "2"

_log = logging.getLogger("podpower.serving")


class Unreadable(InvalidInput):
    """The body is not text of the announced format."""


class WrongMediaType(InvalidInput):
    """The body is announced in a format that is not read here."""


class NotFound(Refused):
    """The path names something that does not exist, or is damaged."""


_STATUS: Final = {
    NotFound: HTTPStatus.NOT_FOUND,
    Unreadable: HTTPStatus.BAD_REQUEST,
    WrongMediaType: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    InvalidInput: HTTPStatus.UNPROCESSABLE_ENTITY,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    Refused: HTTPStatus.SERVICE_UNAVAILABLE,
}


def status_of(error: PodpowerError) -> HTTPStatus | None:
    """Return the status of an error of podpower; None for a bug."""
    return next((status for kind, status in _STATUS.items() if isinstance(error, kind)), None)


def from_podpower(request: Request[Any, Any, Any], error: PodpowerError) -> Response[bytes]:
    """Convert an error of podpower."""
    status = status_of(error)
    if status is None:
        return from_bug(request, error)
    headers = {"Retry-After": RETRY_AFTER_SECONDS} if status is HTTPStatus.SERVICE_UNAVAILABLE else {}
    return _answer(request, status, request.app.state.settings.without_places(str(error)), headers)


def from_http(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """Convert an error of the framework: no such path, another verb, a body too large."""
    status = HTTPStatus(error.status_code)
    headers = dict(error.headers or {})
    if status is HTTPStatus.NOT_FOUND:
        hint = "; see /docs for those there are" if request.app.state.settings.docs else ""
        detail = f"no such path: {quoted(request.url.path)}{hint}"
    elif status is HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = next((value for name, value in headers.items() if name.lower() == "allow"), "another verb")
        detail = f"{request.method} is not allowed for {quoted(request.url.path)}: use {allowed}"
    elif status is HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        limit = request.app.state.settings.max_body_bytes
        detail = f"the body is larger than {limit} bytes: send fewer workloads at a time"
    else:
        detail = error.detail
    return _answer(request, status, detail, headers)


def from_bug(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Convert an unexpected error: the log has the traceback, the answer has none."""
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    detail = "this is a bug in podpower, not in your request; the log of the service has the traceback"
    return _answer(request, HTTPStatus.INTERNAL_SERVER_ERROR, detail, {})


def _answer(
    request: Request[Any, Any, Any], status: HTTPStatus, detail: str, headers: dict[str, str]
) -> Response[bytes]:
    scope: Mapping[str, Any] = request.scope  # with a key of ours
    content = problem(status, " ".join(detail.split()), path=request.url.path, request_id=scope.get(SCOPE))
    return Response(content=content, status_code=status.value, media_type=PROBLEM_JSON, headers=headers)


def problem(status: HTTPStatus, detail: str, *, path: str | None = None, request_id: str | None = None) -> bytes:
    """Return the body of a problem."""
    instance = None if path is None else quoted(path)
    return msgspec.json.encode(
        Problem(status=status.value, title=status.phrase, detail=detail, instance=instance, request_id=request_id)
    )
