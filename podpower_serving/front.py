"""The front that every request passes: its id, who sent it, its metrics and its line in the log."""

import logging
from http import HTTPStatus
from time import perf_counter
from typing import Any, Final

from litestar.enums import HttpMethod, ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from litestar.utils import normalize_path

from podpower_serving import access as of_access
from podpower_serving import request_ids
from podpower_serving.access import Access
from podpower_serving.cross_origin import CrossOrigin
from podpower_serving.errors import PROBLEM_JSON, problem
from podpower_serving.held_bodies import HeldBodies
from podpower_serving.logs import AccessLog
from podpower_serving.metrics import OTHER, Metrics

_GONE: Final = 499  # nobody waited for the answer
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_CHALLENGE: Final = b'Bearer realm="podpower"'

Headers = list[tuple[bytes, bytes]]

_log = logging.getLogger("podpower.serving")


class Front:
    """An ASGI application in front of another one."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: Metrics,
        access: Access,
        bodies: HeldBodies,
        cross_origin: CrossOrigin | None,
        log: AccessLog | None,
        routes: frozenset[str],
    ) -> None:
        """`routes` are the paths without parameters; of other paths, the framework names the template."""
        self._app, self._metrics, self._access, self._log = app, metrics, access, log
        self._bodies, self._cross_origin, self._routes = bodies, cross_origin, routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. HEAD is a GET whose body the server drops."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        began = perf_counter()
        headers = dict(scope["headers"])
        given = headers.get(request_ids.HEADER)
        request_id = request_ids.new() if given is None or not request_ids.is_usable(given) else given.decode()
        request_ids.current.set(request_id)
        added = [(request_ids.HEADER, request_id.encode())]
        if self._cross_origin is not None:
            added += self._cross_origin.headers(headers)
        method, path = str(scope["method"]), scope["path"]
        inner: Any = scope if method != "HEAD" else {**scope, "method": HttpMethod.GET}
        inner[request_ids.SCOPE] = request_id
        body = self._bodies.counted(headers, receive)
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *added]
            await send(message)

        caller: str | None = ""
        try:
            if not self._access.is_open or self._cross_origin is not None:
                caller = await self._admitted(inner, headers, answer)
            if caller is not None:
                await self._app(inner, receive if body is None else body.receive, answer)
        except Exception:  # a defect: the client gets a 500 where nothing was sent yet
            _log.exception("%s %s failed", method, self._route(inner, path))
            if status:
                raise
            detail = "this is a bug in podpower, not in your request; the log of the service has the traceback"
            await _refuse(inner, answer, HTTPStatus.INTERNAL_SERVER_ERROR, detail)
        finally:
            if body is not None:
                body.release()
            seconds = perf_counter() - began
            route = self._route(inner, path)
            self._metrics.answered(route, method, status or _GONE, seconds)
            if self._log is not None:
                client = scope["client"]
                self._log.answered(
                    request_id=request_id,
                    method=method,
                    route=route,
                    path=path,
                    status=status or _GONE,
                    seconds=seconds,
                    client=client[0] if client else None,
                    caller=caller or "",
                )

    def _route(self, scope: Any, path: str) -> str:
        template: str | None = scope.get("path_template")
        return template or (path if path in self._routes else OTHER)

    async def _admitted(self, scope: Any, headers: dict[bytes, bytes], answer: Send) -> str | None:
        """Return the name of who sent a request; None if it is answered already."""
        if self._cross_origin is not None:
            allowed = self._cross_origin.preflight(scope["method"], headers)
            if allowed is not None:
                await answer({"type": "http.response.start", "status": 204, "headers": allowed})
                await answer({"type": "http.response.body", "body": b"", "more_body": False})
                return None
        if self._access.is_open:
            return ""
        path = normalize_path(scope["path"])  # as the framework routes it: /admission/ is /admission
        caller = self._access.caller(path, headers, scope.get(of_access.CERTIFICATE))
        if caller is None:
            await self._challenge(scope, path, headers, answer)
            return None
        if scope["method"] not in _SAFE and of_access.by_cookie(headers) and not of_access.is_same_origin(headers):
            await _refuse(scope, answer, HTTPStatus.FORBIDDEN, "a page of another origin sent the key of this browser")
            return None
        return caller

    async def _challenge(self, scope: Any, path: str, headers: dict[bytes, bytes], answer: Send) -> None:
        if self._access.keys is None or path == of_access.ADMISSION:
            detail = "this path needs a client certificate"
            await _refuse(scope, answer, HTTPStatus.UNAUTHORIZED, detail, [(b"www-authenticate", b"Certificate")])
            return
        if scope["method"] == "GET" and b"text/html" in headers.get(b"accept", b""):
            where = b"/login?next=" + scope["raw_path"]
            await answer({"type": "http.response.start", "status": 303, "headers": [(b"location", where)]})
            await answer({"type": "http.response.body", "body": b"", "more_body": False})
            return
        has_key = of_access.key_of(headers) is not None
        detail = "the API key is not accepted" if has_key else "send an API key: `Authorization: Bearer KEY`"
        await _refuse(scope, answer, HTTPStatus.UNAUTHORIZED, detail, [(b"www-authenticate", _CHALLENGE)])


async def _refuse(scope: Any, answer: Send, status: HTTPStatus, detail: str, headers: Headers | None = None) -> None:
    body = problem(status, detail, path=scope["path"], request_id=scope[request_ids.SCOPE])
    given = [(b"content-type", PROBLEM_JSON.encode()), (b"content-length", b"%d" % len(body)), *(headers or [])]
    await answer({"type": "http.response.start", "status": status.value, "headers": given})
    await answer({"type": "http.response.body", "body": body, "more_body": False})
