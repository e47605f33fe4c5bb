"""Requests to the API server. Failures that can pass are retried; others name the missing rule or setting.

Sources: Kubernetes API Concepts (https://kubernetes.io/docs/reference/using-api/api-concepts/) for lists, watches and
410; RFC 9110 for Retry-After.
"""

import asyncio
import email.utils
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any

import httpx
import msgspec

from podpower.errors import InvalidInput
from podpower.io.http import CONNECT_SECONDS, check_status, failures, open_async_client, redirect_target
from podpower.io.retries import REFUSED_S, Again, Note, Refusals, Retries, log_note
from podpower.kubernetes.kinds import Kind
from podpower.sources.kubernetes.access import Access

PAGE = 500
_READ_S = 60.0
_MAX_LINE_BYTES = 16 << 20  # etcd holds objects of at most 1.5 MiB
Parameters = Mapping[str, str | int]


class Gone(Exception):
    """410: the server no longer has the version. List again."""


class Api:
    """Client of one API server. `tries` is how often a request is tried, None without end.

    Refused credentials are read again at once, and for `refused_s` where they rotate or were accepted before.
    """

    def __init__(
        self, access: Access, *, tries: int | None = 5, note: Note = log_note, refused_s: float = REFUSED_S
    ) -> None:
        self.access, self._refused_s = access, refused_s
        self._was_accepted = False
        self._retries, self.note = Retries(attempts=tries), note
        self.clock_ahead_s: float | None = None  # the server's clock minus ours, in the last response
        self._client = open_async_client(
            base_url=access.server, verify=access.ssl_context, proxy=access.proxy, read_seconds=_READ_S
        )

    async def __aenter__(self) -> "Api":
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def get(self, path: str, parameters: Parameters | None = None, *, kind: Kind | None = None) -> bytes:
        """Return the body of a successful response. Gone; Unavailable after `tries`; else InvalidInput."""
        return await self._retries.call_async(
            lambda: self._get(path, parameters or {}, kind), what=f"{self.access.server}{path}", note=self.note
        )

    async def post(self, path: str, body: Mapping[str, Any]) -> bytes:
        """Return the response to a review, or to a new object. Conflict where it exists; errors as `get`."""

        async def once() -> bytes:
            async with self._opened("POST", path, {}, None, content=msgspec.json.encode(body)) as response:
                return await response.aread()

        return await self._retries.call_async(once, what=f"{self.access.server}{path}", note=self.note)

    async def create(self, path: str, body: Mapping[str, Any]) -> bytes:
        """Create an object in a collection and return it. Conflict where there is one; errors as `get`."""
        return await self.post(path, body)

    async def replace(self, path: str, body: Mapping[str, Any]) -> bytes:
        """Replace an object that has the resourceVersion of `body`, and return it. Conflict where somebody changed it,
        Missing where it does not exist; errors as `get`.
        """

        async def once() -> bytes:
            async with self._opened("PUT", path, {}, None, content=msgspec.json.encode(body)) as response:
                return await response.aread()

        return await self._retries.call_async(once, what=f"{self.access.server}{path}", note=self.note)

    async def watch(self, path: str, parameters: Parameters, *, kind: Kind, idle_s: float) -> AsyncIterator[bytes]:
        """Yield the lines of a watch until the server ends it. Again when no line comes for `idle_s`, or the connection
        breaks.
        """
        timeout = httpx.Timeout(idle_s, connect=CONNECT_SECONDS)
        async with self._opened("GET", path, parameters, kind, timeout=timeout) as response:
            pending = b""
            async for chunk in response.aiter_bytes():
                *lines, pending = (pending + chunk).split(b"\n") if b"\n" in chunk else (pending + chunk,)
                for line in lines:
                    yield line
                if len(pending) > _MAX_LINE_BYTES:
                    raise Again("an event is longer than 16 MiB")

    async def _get(self, path: str, parameters: Parameters, kind: Kind | None) -> bytes:
        async with self._opened("GET", path, parameters, kind) as response:
            return await response.aread()

    @asynccontextmanager
    async def _opened(
        self, method: str, path: str, parameters: Parameters, kind: Kind | None, **more: Any
    ) -> AsyncIterator[httpx.Response]:
        """Send a request and give a successful response, its body unread."""
        untrusted = (
            f"{self.access.server}: its certificate is not trusted: give --ca-file or K8S_CA_FILE, or check the "
            "server's name"
        )
        with failures(untrusted=untrusted):
            response = await self._sent(method, path, parameters, **more)
            self.clock_ahead_s = _clock_ahead_s(response.headers.get("date"))
            try:
                if not response.is_success:
                    await self._refuse(response, kind, watches="watch" in parameters)
                self._was_accepted = True
                yield response
            finally:
                await response.aclose()

    async def _sent(self, method: str, path: str, parameters: Parameters, **more: Any) -> httpx.Response:
        """Return the response to a request. After 401 the credentials are read again, as long as patience lasts."""
        rotates = self.access.rotates or self._was_accepted
        refusals, refresh = Refusals(self._refused_s if rotates else 0.0), False
        extensions = {"sni_hostname": self.access.server_name} if self.access.server_name else {}
        while True:
            headers = await asyncio.to_thread(self.access.authorization, refresh=refresh)
            if "content" in more:
                headers["Content-Type"] = "application/json"
            request = self._client.build_request(
                method, path, params=dict(parameters), headers=headers, extensions=extensions, **_only(more)
            )
            response = await self._client.send(request, stream=True)
            wait_s = refusals.next_s() if response.status_code == 401 else None
            if wait_s is None:
                return response
            await response.aclose()
            if wait_s > 0:
                where = f"{self.access.server}{path}"
                self.note(f"{where}: refuses the credentials (401); reading them again in {wait_s:.0f} s")
            await asyncio.sleep(wait_s)
            refresh = True

    async def _refuse(self, response: httpx.Response, kind: Kind | None, *, watches: bool) -> None:
        status = response.status_code
        message = _message(await response.aread())
        server = self.access.server
        if status == 410:
            raise Gone
        check_status(response, message)
        if status == 401:
            raise InvalidInput(f"{server} refuses the credentials (401{message}): log in again, or check the context")
        if status == 403:
            needed = f"; the missing rule is {kind.rule('get', 'list', 'watch')}" if kind else ""
            raise Forbidden(f"{server} forbids this (403{message}){needed}")
        if status == 409:
            raise Conflict(f"{server} answers 409{message}")
        if status == 404 and not kind:
            raise Missing(f"{server} answers 404{message}")
        if status == 404 and kind:
            raise Missing(f"{server} has no {kind.plural} of {kind.api_version}: check the kind, or install its CRD")
        if response.is_redirect:
            raise InvalidInput(
                f"{server} redirects to {redirect_target(response)}: this is not an API server, or a proxy requires a "
                "login"
            )
        raise InvalidInput(f"{server} answers {status}{message}{' to a watch' if watches else ''}")


class Forbidden(InvalidInput):
    """403, with the rule that would allow the request."""


class Conflict(InvalidInput):
    """409: the object exists already, or was changed meanwhile."""


class Missing(InvalidInput):
    """404: no such kind or object."""


def _clock_ahead_s(date: str | None) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(date or "").timestamp() - time.time()
    except (ValueError, TypeError):
        return None


def _only(more: Mapping[str, Any]) -> dict[str, Any]:
    return {name: more[name] for name in ("content", "timeout") if name in more}


def _message(body: bytes) -> str:
    """Return the message of a Status object in one line."""
    try:
        status = msgspec.json.decode(body)
        message = status.get("message", "") if isinstance(status, dict) else ""
    except ValueError:
        message = ""
    return f": {' '.join(str(message).split())[:300]}" if message else ""
