"""Address and credentials of a Prometheus. Credentials stay in this module: no repr, message or log shows them."""

import base64
import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from podpower.errors import InvalidInput
from podpower.io.http import tls_context, token_in
from podpower.settings import PrometheusSettings

_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_MATCHER = re.compile(r'[a-zA-Z_][a-zA-Z0-9_]*(=|!=|=~|!~)"(?:[^"\\]|\\.)*"')


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """The address without user and password, and settings of connections.

    Of `token`, `token_file` and `username` at most one; files are read anew for each request, because they rotate.
    `match` are label matchers that every query gets, such as `cluster="prod"`. `max_answer_bytes` and `max_series`
    bound each answer.
    """

    url: str
    token: str | None = field(default=None, repr=False)
    token_file: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    password_file: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    verify_tls: bool = True
    timeout_s: float = 120.0
    max_answer_bytes: int = PrometheusSettings.max_answer_mib << 20
    max_series: int = PrometheusSettings.max_series
    match: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        ways = [self.token is not None, self.token_file is not None, self.username is not None]
        if sum(ways) > 1:
            raise InvalidInput("Prometheus: give one of a token, a token file, or a user name")
        for name, value in self.headers.items():
            if not _HEADER.fullmatch(name) or "\n" in value or "\r" in value:
                raise InvalidInput(f"Prometheus: {name!r} is not a header: write NAME=VALUE, e.g. X-Scope-OrgID=team-a")
        for matcher in self.match:
            if not _MATCHER.fullmatch(matcher):
                raise InvalidInput(f'Prometheus: {matcher!r} is not a label matcher: write e.g. cluster="prod"')

    @property
    def rotates(self) -> bool:
        """True where a file holds the credentials, so that they can change."""
        return bool(self.token_file or self.password_file)

    def authorization(self) -> dict[str, str]:
        """Return the headers of a request. InvalidInput when a file with a secret cannot be read."""
        headers = dict(self.headers)
        token = _secret(self.token_file) if self.token_file else self.token
        if token:
            headers["Authorization"] = f"Bearer {token_in(token, what='the token of Prometheus')}"
        elif self.username is not None:
            password = _secret(self.password_file) if self.password_file else self.password or ""
            pair = base64.b64encode(f"{self.username}:{password}".encode()).decode()
            headers["Authorization"] = f"Basic {pair}"
        return headers

    def ssl_context(self) -> ssl.SSLContext:
        """Return how TLS is checked. InvalidInput names the file that cannot be used.

        Certificates of the system, which take time, are read for https only; without them nothing is trusted.
        """
        if urlsplit(self.url).scheme == "http" and not (self.ca_file or self.cert_file):
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        return tls_context(
            ca_file=self.ca_file, cert_file=self.cert_file, key_file=self.key_file, verify=self.verify_tls,
            what="Prometheus",
        )  # fmt: skip


def parse_url(url: str) -> tuple[str, str | None, str | None]:
    """Return the address without user and password, these two, and without a slash at its end. InvalidInput as
    `Endpoint`.
    """
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError as error:
        raise InvalidInput(f"not a URL of a Prometheus: {error}") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise InvalidInput(f"not a URL of a Prometheus: write http://HOST:9090 or https://..., not {parts.geturl()!r}")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    netloc = f"{host}:{port}" if port else host
    path = parts.path.rstrip("/").removesuffix("/api/v1")
    bare = urlunsplit((parts.scheme, netloc, path, "", ""))
    username = unquote(parts.username) if parts.username is not None else None
    password = unquote(parts.password) if parts.password is not None else None
    return bare, username, password


def endpoint_from(
    settings: PrometheusSettings, *, url: str | None = None, match: Sequence[str] | None = None
) -> Endpoint | None:
    """Return the endpoint of `settings`; `url` and `match` override theirs. None where neither names a URL."""
    given = url or settings.url
    if not given:
        return None
    bare, username, password = parse_url(given)
    return Endpoint(
        url=bare,
        token=settings.token,
        token_file=settings.token_file,
        username=username or settings.username,
        password=password or settings.password,
        password_file=settings.password_file,
        headers=settings.headers,
        ca_file=settings.ca_file,
        cert_file=settings.cert_file,
        key_file=settings.key_file,
        verify_tls=settings.verify_tls,
        match=tuple(match or settings.match),
        max_answer_bytes=settings.max_answer_mib << 20,
        max_series=settings.max_series,
    )


def _secret(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise InvalidInput(f"Prometheus: {path} cannot be read: {reason}") from None
