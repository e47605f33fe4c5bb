"""Access to the service: for holders of an API key, or of a certificate of the client CA.

A key comes in `Authorization: Bearer KEY`, or in the cookie that the page /login sets for browsers.
"""

import hashlib
import hmac
import logging
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from podpower.io.api_keys import MAX_KEY_CHARACTERS, read_keys
from podpower_serving.metrics import KEY_FAILURES, Metrics
from podpower_serving.watched_files import WatchedFiles

COOKIE: Final = "podpower_key"
HEALTH: Final = frozenset({"/healthz", "/readyz"})
ADMISSION: Final = "/admission"  # the API server sends no key; a client CA and a NetworkPolicy guard it
LOGIN: Final = frozenset({"/login", "/logout"})
CERTIFICATE: Final = "tls_client"  # key in the ASGI scope: the subject of a verified client certificate
_BEARER: Final = b"bearer "
_COOKIE: Final = COOKIE.encode() + b"="

_log = logging.getLogger("podpower.serving")


class Keys(WatchedFiles[Mapping[bytes, str]]):
    """The accepted keys. A changed file replaces them; a broken one changes nothing and is reported."""

    def __init__(self, path: str | os.PathLike[str], *, metrics: Metrics | None = None) -> None:
        """Read the file. PodpowerError when it cannot be used: the service does not start then. `metrics` count later
        failures.
        """
        super().__init__(Path(path))
        self._path, self._metrics = path, metrics
        self._secret = secrets.token_bytes(32)
        self._by_mark = self._marked(self._read())

    def __len__(self) -> int:
        return len(self._by_mark)

    def name_of(self, key: bytes) -> str | None:
        """Return the name of a key; None if it is not accepted. The time does not depend on the accepted keys."""
        if len(key) > MAX_KEY_CHARACTERS:
            return None
        digest = hashlib.sha256(key).digest()
        accepted, name = self._by_mark.get(self._mark(digest), (b"", None))
        return name if hmac.compare_digest(digest, accepted) else None

    def _read(self) -> Mapping[bytes, str]:
        return read_keys(self._path)

    def _use(self, content: Mapping[bytes, str]) -> None:
        self._by_mark = self._marked(content)
        _log.info("%d API keys are accepted", len(content))

    def _report(self, detail: str) -> None:
        if self._metrics is not None:
            self._metrics.add(KEY_FAILURES)
        _log.error("the API keys are not replaced, those of before are accepted: %s", detail)

    def _marked(self, keys: Mapping[bytes, str]) -> dict[bytes, tuple[bytes, str]]:
        return {self._mark(digest): (digest, name) for digest, name in keys.items()}

    def _mark(self, digest: bytes) -> bytes:
        """Return a digest that nobody outside can compute, so that the time of a look-up shows nothing."""
        return hashlib.blake2b(digest, key=self._secret, digest_size=16).digest()


class Access:
    """Decides about each request."""

    def __init__(self, keys: Keys | None = None, *, client_ca: bool = False) -> None:
        """Without `keys` and `client_ca` everything is allowed. With `client_ca`, /admission needs a certificate of it,
        which is as good as a key elsewhere.
        """
        self.keys = keys
        self._client_ca = client_ca
        self.is_open = keys is None and not client_ca

    def caller(self, path: str, headers: Mapping[bytes, bytes], certificate: str | None) -> str | None:
        """Return the name of the key or certificate, "" where none is needed; None if the request is refused."""
        if path in HEALTH or path in LOGIN:
            return ""
        if certificate:
            return certificate
        if path == ADMISSION:
            return None if self._client_ca else ""
        if self.keys is None:
            return None
        key = key_of(headers)
        return None if key is None else self.keys.name_of(key)


def key_of(headers: Mapping[bytes, bytes]) -> bytes | None:
    """Return the key in the headers of a request."""
    given = headers.get(b"authorization")
    if given is not None:
        return given[len(_BEARER) :].strip() if given[: len(_BEARER)].lower() == _BEARER else None
    return _cookie(headers)


def by_cookie(headers: Mapping[bytes, bytes]) -> bool:
    """Return True if a browser sent the key by itself, which other sites could make it do."""
    return b"authorization" not in headers and _cookie(headers) is not None


def _cookie(headers: Mapping[bytes, bytes]) -> bytes | None:
    for part in headers.get(b"cookie", b"").split(b";"):
        text = part.strip()
        if text.startswith(_COOKIE):
            return text[len(_COOKIE) :]
    return None


def is_same_origin(headers: Mapping[bytes, bytes]) -> bool:
    """Return True unless a browser sent the request for a page of another origin."""
    site = headers.get(b"sec-fetch-site")
    if site is not None:
        return site in {b"same-origin", b"none"}
    origin = headers.get(b"origin")
    return origin is None or origin.partition(b"://")[2] == headers.get(b"host")
