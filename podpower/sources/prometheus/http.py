"""Requests to a Prometheus: tried again where that helps, never sent to another host, told of in one sentence."""

import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx

from podpower.errors import InvalidInput, Unavailable
from podpower.io.retries import UNTRUSTED, Backoff, retry_after_s
from podpower.sources.prometheus.decoding import decode_answer
from podpower.sources.prometheus.endpoint import Endpoint

T = TypeVar("T")

_TRIES = 4
_RETRIED = frozenset({408, 429, 502, 503, 504})
_TOO_MUCH = ("too many samples", "max number of", "exceed", "limit", "too many", "maximum")
_MAX_ERROR_BYTES = 1 << 16


class TooMuch(InvalidInput):
    """The server will not give so much at once: ask for less."""


class NotHere(InvalidInput):
    """There is nothing at this path, or nobody may ask there."""


class Http:
    """A bounded number of connections to one endpoint. No redirect is followed: credentials stay where they belong."""

    def __init__(self, endpoint: Endpoint, *, connections: int) -> None:
        self._endpoint = endpoint
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        timeout = httpx.Timeout(endpoint.timeout_s, connect=10.0)
        self._client = httpx.Client(
            verify=endpoint.ssl_context(), limits=limits, timeout=timeout, follow_redirects=False,
            headers={"User-Agent": "podpower", "Accept": "application/json", "Accept-Encoding": "identity"},
        )  # fmt: skip
        self._posts = True

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def ask(self, path: str, parameters: Mapping[str, str], take: Callable[[httpx.Response], T]) -> T:
        """What `take` makes of a good answer; it may be called again after an answer broke off.

        Unavailable when the server does not answer in several tries; TooMuch and InvalidInput as they say.
        """
        backoff = Backoff()
        for number in range(1, _TRIES + 1):
            try:
                return self._once(path, parameters, take)
            except _Again as again:
                if number == _TRIES:
                    raise Unavailable(f"{self._endpoint.url}: {again}") from None
                time.sleep(backoff.next_s(at_least_s=again.wait_s))
        raise AssertionError

    def _once(self, path: str, parameters: Mapping[str, str], take: Callable[[httpx.Response], T]) -> T:
        url = f"{self._endpoint.url}{path}"
        posts = self._posts and not path.endswith("/values")  # Prometheus takes label names and queries by POST only
        given: dict[str, Any] = {"data": dict(parameters)} if posts else {"params": dict(parameters)}
        method = "POST" if posts else "GET"
        try:
            with self._client.stream(method, url, headers=self._endpoint.authorization(), **given) as response:
                if response.status_code == 405 and posts:  # a proxy that lets only GET through
                    self._posts = False
                    raise _Again("POST is not allowed here")
                if not response.is_success:
                    self._refuse(response)
                return take(response)
        except httpx.TimeoutException:
            raise _Again(f"no answer within {self._endpoint.timeout_s:g} s") from None
        except (httpx.TransportError, httpx.DecodingError, ssl.SSLError) as error:
            if UNTRUSTED in str(error):
                raise InvalidInput(
                    f"{self._endpoint.url}: its certificate is not trusted: set PODPOWER_PROMETHEUS_CA_FILE, or check "
                    f"the host's name ({error})"
                ) from None
            raise _Again(f"cannot be reached: {error or type(error).__name__}") from None
        except Unavailable as error:
            raise _Again(str(error)) from None
        except TooMuch:
            raise
        except NotHere as error:
            raise NotHere(f"{self._endpoint.url}: {error}") from None
        except InvalidInput as error:
            raise InvalidInput(f"{self._endpoint.url}: {error}") from None

    def _refuse(self, response: httpx.Response) -> None:
        status = response.status_code
        if response.is_redirect:
            where = urlsplit(response.headers.get("location", ""))
            raise InvalidInput(
                f"redirects to {where.scheme or 'http'}://{where.hostname or 'the same host'}{where.path}: give the "
                "address of Prometheus itself, and credentials if that is a login page"
            )
        said = _said(response)
        if status in _RETRIED:
            raise _Again(f"answers {status}{said}", wait_s=retry_after_s(response.headers))
        if status == 422 and any(word in said for word in _TOO_MUCH):
            raise TooMuch(f"{self._endpoint.url} answers 422{said}")
        if status in {401, 403}:
            raise (NotHere if status == 403 else InvalidInput)(
                f"answers {status}{said}: set PODPOWER_PROMETHEUS_TOKEN_FILE, or PODPOWER_PROMETHEUS_USERNAME and "
                "PODPOWER_PROMETHEUS_PASSWORD_FILE, to credentials that may query"
            )
        if status == 404:
            raise NotHere("answers 404: there is no Prometheus API; of Mimir the URL ends in /prometheus")
        if status >= 500:
            raise Unavailable(f"answers {status}{said}")
        raise InvalidInput(f"answers {status}{said}")


class _Again(Exception):
    """It may work when it is tried again."""

    def __init__(self, message: str, *, wait_s: float = 0.0) -> None:
        super().__init__(message)
        self.wait_s = wait_s


def _said(response: httpx.Response) -> str:
    """The server's own words, as far as they are a sentence."""
    body = b""
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > _MAX_ERROR_BYTES:
            break
    try:
        decode_answer(body)
    except (InvalidInput, Unavailable) as error:
        message = str(error)
        if message.startswith("Prometheus says"):
            return f": {message.removeprefix('Prometheus says ')}"
    text = " ".join(body[:200].decode(errors="replace").split())
    return f": {text}" if text and not text.startswith("<") else ""
