"""Requests to a Prometheus: repeated by the policy of `podpower.io.retries`, each failure explained in one sentence."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from podpower.errors import InvalidInput, Unavailable
from podpower.io.http import Response, check_status, failures, open_client, redirect_target
from podpower.io.retries import REFUSED_S, Again, Note, Refusals, Retries, log_note
from podpower.sources.prometheus.decoding import decode_answer
from podpower.sources.prometheus.endpoint import Endpoint
from podpower.sources.prometheus.limits import TooMuch

T = TypeVar("T")

_RETRIES = Retries(attempts=4)
_TOO_MUCH = ("too many samples", "max number of", "exceed", "limit", "too many", "maximum")
NEXT: Final = ": `podpower doctor --prom {url}` finds out why; a Prometheus in the cluster needs a kubectl port-forward"
_MAX_ERROR_BYTES = 1 << 16


class NotHere(InvalidInput):
    """The path does not exist or is forbidden."""


class Unauthorized(InvalidInput):
    """The credentials are refused."""


class Http:
    """A bounded number of connections to one endpoint. Waits before a retry are announced with `note`.

    Refused credentials of a file are read again for `refused_s`.
    """

    def __init__(
        self, endpoint: Endpoint, *, connections: int, note: Note = log_note, refused_s: float = REFUSED_S
    ) -> None:
        self._endpoint, self._note, self._refused_s = endpoint, note, refused_s
        self._client = open_client(
            verify=endpoint.ssl_context(), read_seconds=endpoint.timeout_s, connections=connections
        )
        self._posts = True

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def request(self, path: str, parameters: Mapping[str, str], take: Callable[[Response], T]) -> T:
        """Return what `take` makes of a good answer; it is called again after an answer broke off.

        Unavailable when no attempt succeeds, TooMuch and NotHere for what they describe, else InvalidInput.
        """
        refusals = Refusals(self._refused_s)

        def authorized() -> T:
            while True:
                try:
                    return self._once(path, parameters, take)
                except Unauthorized as error:
                    wait_s = refusals.next_s() if self._endpoint.rotates else None
                    if wait_s is None:
                        raise
                    self._note(f"{error}; reading the credentials again in {wait_s:.0f} s")
                    time.sleep(wait_s)

        try:
            return _RETRIES.call(authorized, what=self._endpoint.url, note=self._note)
        except Unavailable as error:
            raise Unavailable(f"{error}{NEXT.format(url=self._endpoint.url)}") from None

    def _once(self, path: str, parameters: Mapping[str, str], take: Callable[[Response], T]) -> T:
        url = f"{self._endpoint.url}{path}"
        posts = self._posts and not path.endswith("/values")  # Prometheus takes label names and queries by POST only
        given: dict[str, Any] = {"data": dict(parameters)} if posts else {"params": dict(parameters)}
        method = "POST" if posts else "GET"
        untrusted = "its certificate is not trusted: set PODPOWER_PROMETHEUS_CA_FILE, or check the host's name"
        try:
            with (
                failures(untrusted=untrusted),
                self._client.stream(method, url, headers=self._endpoint.authorization(), **given) as response,
            ):
                if response.status_code == 405 and posts:  # a proxy that lets only GET through
                    self._posts = False
                    raise Again("POST is not allowed here")
                if not response.is_success:
                    self._refuse(response)
                return take(response)
        except Unavailable as error:
            raise Again(str(error)) from None
        except (TooMuch, NotHere, Unauthorized) as error:
            raise type(error)(f"{self._endpoint.url}: {error}") from None
        except InvalidInput as error:
            raise InvalidInput(f"{self._endpoint.url}: {error}") from None

    def _refuse(self, response: Response) -> None:
        status = response.status_code
        if response.is_redirect:
            raise InvalidInput(
                f"redirects to {redirect_target(response)}: give the address of Prometheus itself, and credentials if "
                "that is a login page"
            )
        message = _message(response)
        check_status(response, message)
        if status == 422 and any(word in message for word in _TOO_MUCH):
            raise TooMuch(f"answers 422{message}: raise the server's limit on queries (--query.max-samples)")
        if status in {401, 403}:
            raise (NotHere if status == 403 else Unauthorized)(
                f"answers {status}{message}: set PODPOWER_PROMETHEUS_TOKEN_FILE, or PODPOWER_PROMETHEUS_USERNAME and "
                "PODPOWER_PROMETHEUS_PASSWORD_FILE, to credentials that may query; in a file of clusters, token_file, "
                "or username and password_file"
            )
        if status == 404:
            raise NotHere("answers 404: there is no Prometheus API; of Mimir the URL ends in /prometheus")
        if status >= 500:
            raise Unavailable(f"answers {status}{message}")
        raise InvalidInput(f"answers {status}{message}")


def _message(response: Response) -> str:
    """Return the server's own message as `: text`, empty when it is not a sentence."""
    body = b""
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > _MAX_ERROR_BYTES:
            break
    try:
        decode_answer(body)
    except (InvalidInput, Unavailable) as error:
        message = str(error)
        if message.startswith("Prometheus answers"):
            return f": {message.removeprefix('Prometheus answers ')}"
    text = " ".join(body[:200].decode(errors="replace").split())
    return f": {text}" if text and not text.startswith("<") else ""
