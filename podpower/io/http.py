"""HTTP clients for other systems: Prometheus, the Kubernetes API, receivers of `--post`.

No client follows redirects, so the credentials of a host reach no other host. `failures` and `check_status` decide what
`podpower.io.retries` tries again.
"""

import contextlib
import ssl
import sys
from collections.abc import Iterator
from typing import TypeAlias
from urllib.parse import urlsplit

from podpower.errors import InvalidInput
from podpower.io.retries import RETRIED_STATUSES, Again, retry_after_s

# httpx loads its own command line with rich, pygments and click, a tenth of what commands load, and has no setting
# against it: only an ImportError is taken for "not installed". None makes that error, while httpx loads and no longer.
_COMMAND_LINE = "httpx._main"
sys.modules.setdefault(_COMMAND_LINE, None)  # type: ignore[arg-type]
import httpx  # noqa: E402

if sys.modules[_COMMAND_LINE] is None:
    del sys.modules[_COMMAND_LINE]

CONNECT_SECONDS = 10.0
_HEADERS = {"User-Agent": "podpower", "Accept": "application/json"}
Response: TypeAlias = httpx.Response
_UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"  # in OpenSSL's message; trying again does not help


def open_client(*, verify: ssl.SSLContext, read_seconds: float, connections: int) -> httpx.Client:
    """Return a client with a bounded number of connections."""
    return httpx.Client(
        verify=verify,
        follow_redirects=False,
        timeout=httpx.Timeout(read_seconds, connect=CONNECT_SECONDS),
        limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
        headers={**_HEADERS, "Accept-Encoding": "identity"},  # answers are decoded while they arrive
    )


def open_async_client(
    *, read_seconds: float, verify: ssl.SSLContext | bool = True, proxy: str | None = None, base_url: str = ""
) -> httpx.AsyncClient:
    """Return an asynchronous client; each watched stream has a connection."""
    return httpx.AsyncClient(
        base_url=base_url,
        verify=verify,
        proxy=proxy,
        follow_redirects=False,
        timeout=httpx.Timeout(read_seconds, connect=CONNECT_SECONDS),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
        headers=_HEADERS,
    )


def tls_context(
    *, ca_file: str | None, cert_file: str | None = None, key_file: str | None = None, verify: bool = True, what: str
) -> ssl.SSLContext:
    """Return how a server's certificate is checked and which client certificate is shown.

    InvalidInput names `what` and the file that cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInput(f"{what}: no certificates in the CA file {ca_file}: {error}") from None
    if cert_file:
        try:
            context.load_cert_chain(cert_file, key_file)
        except (OSError, ssl.SSLError) as error:
            raise InvalidInput(f"{what}: the client certificate {cert_file} cannot be used: {error}") from None
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def token_in(text: str, *, what: str) -> str:
    """Return a token as a header can have it. InvalidInput names `what` holds other characters, and shows none."""
    if not (text.isascii() and text.isprintable()):
        raise InvalidInput(f"{what} has characters that no token has: copy it again")
    return text


@contextlib.contextmanager
def failures(*, untrusted: str) -> Iterator[None]:
    """Turn what httpx raises inside into Again, and a certificate that is not trusted into InvalidInput.

    `untrusted` names the server and the setting to change.
    """
    try:
        yield
    except httpx.TimeoutException as error:
        raise Again(f"no answer in time ({type(error).__name__})") from None
    except (httpx.TransportError, httpx.DecodingError, ssl.SSLError) as error:
        if _UNTRUSTED in str(error):
            raise InvalidInput(f"{untrusted} ({error})") from None
        raise Again(f"cannot be reached: {error or type(error).__name__}") from None


def check_status(response: httpx.Response, message: str) -> None:
    """Raise Again for a status that is worth another attempt; `message` is the text of the body."""
    if response.status_code in RETRIED_STATUSES:
        raise Again(f"answers {response.status_code}{message}", wait_s=retry_after_s(response.headers))


def redirect_target(response: httpx.Response) -> str:
    """Return scheme, host and path of a redirect, without a query, which can hold a secret."""
    try:
        where = urlsplit(response.headers.get("location", ""))
    except ValueError:
        return "what is no address"
    return f"{where.scheme or 'http'}://{where.hostname or 'the same host'}{where.path}"
