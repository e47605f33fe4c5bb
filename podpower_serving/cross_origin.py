"""Cross-origin requests of browsers (the CORS protocol of the Fetch standard), for the origins that are allowed."""

from collections.abc import Mapping, Sequence
from typing import Final

Headers = list[tuple[bytes, bytes]]

_METHODS: Final = b"GET, HEAD, POST"
_ALLOWED: Final = b"authorization, content-type, if-none-match, x-request-id"
_EXPOSED: Final = b"etag, retry-after, x-request-id"
_SECONDS: Final = b"600"


class CrossOrigin:
    """Allows pages of `origins` to read answers. Cookies are not allowed: such pages send a key of their own."""

    def __init__(self, origins: Sequence[str]) -> None:
        """`origins` are such as `https://grafana.example.org`; `*` allows all."""
        self._any = "*" in origins
        self._origins = frozenset(origin.encode() for origin in origins)

    def headers(self, given: Mapping[bytes, bytes]) -> Headers:
        """Return the headers of an answer."""
        allowed = self._allowed(given.get(b"origin"))
        return [*allowed, (b"access-control-expose-headers", _EXPOSED)] if allowed else self._varies()

    def preflight(self, method: str, given: Mapping[bytes, bytes]) -> Headers | None:
        """Return more headers for the answer to a preflight request of an allowed origin; None for other requests."""
        if method != "OPTIONS" or b"access-control-request-method" not in given:
            return None
        if not self._allowed(given.get(b"origin")):
            return None
        return [
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-allow-headers", _ALLOWED),
            (b"access-control-max-age", _SECONDS),
        ]

    def _allowed(self, origin: bytes | None) -> Headers:
        if origin is None or not (self._any or origin in self._origins):
            return []
        return [(b"access-control-allow-origin", b"*" if self._any else origin), *self._varies()]

    def _varies(self) -> Headers:
        return [] if self._any else [(b"vary", b"Origin")]
