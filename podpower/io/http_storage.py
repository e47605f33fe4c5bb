"""Small files that a prediction service hands out below `/store`, read over HTTP: `http://` and `https://`.

Nothing is written through it. Readers verify digests as of a folder, so a changed bit on the way is refused.
"""

import ssl
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

import httpx
import msgspec
from upath import UPath

from podpower.errors import InvalidInput, Refused, Unavailable
from podpower.io.http import check_status, failures, open_client, token_in
from podpower.io.object_storage import ObjectStorage
from podpower.io.retries import Again, Backoff
from podpower.io.sealed_json import MAX_BYTES

_READ_SECONDS, _CONNECTIONS = 30.0, 4
_FIRST_WAIT_S, _LAST_WAIT_S = 1.0, 30.0
_KEPT_FILES, _KEPT_BYTES = 64, 1 << 20  # of each file, where the server is asked only whether it changed
_MOST_CHILDREN = 10_000
_MOST_BYTES = 4 << 30  # of a file whose size is looked at
_NO_STORE = "answers {}: is this the /store of a podpower service, as http://HOST:8000/store?"


class HttpStorage(ObjectStorage):
    """Files below `root`, an address that a prediction service hands its model store out at.

    `key_file` contains an API key, and is read for each request. After a failure no request is sent for a wait that
    doubles up to half a minute; calls raise Unavailable with the reason meanwhile.
    """

    def __init__(self, root: str, *, key_file: str | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """InvalidInput for an address with credentials, a query, or no host."""
        self._address = _checked(root)
        self.root = UPath(self._address)
        self._key_file = Path(key_file) if key_file else None
        self._clock = clock
        self._client = open_client(
            verify=ssl.create_default_context(), read_seconds=_READ_SECONDS, connections=_CONNECTIONS
        )
        self._lock = threading.Lock()  # a service reads models and the fleet summary in several threads
        self._kept: OrderedDict[str, tuple[str, bytes]] = OrderedDict()  # ETag and content by address
        self._backoff = Backoff(first_s=_FIRST_WAIT_S, last_s=_LAST_WAIT_S)
        self._failure, self._again_at = "", float("-inf")
        self._is_store = False

    def read(self, path: UPath, *, limit_bytes: int = MAX_BYTES) -> bytes | None:
        """Return the bytes of a file; None where there is none. Refused when it is too large, Unavailable when the
        service does not answer.
        """
        return self._get(str(path), limit_bytes=limit_bytes)

    def read_all(self, paths: Sequence[UPath]) -> list[bytes | None]:
        """Return the bytes of several files as `read` does."""
        return [self.read(path) for path in paths]

    def size_bytes(self, path: UPath) -> int | None:
        """Return the size of a file; None where there is none."""
        found = self.read(path, limit_bytes=_MOST_BYTES)
        return None if found is None else len(found)

    def children(self, name: str) -> list[UPath]:
        """Return the paths in a folder; none where the folder does not exist."""
        where = f"{self._address}/{name}/"
        data = self._get(where, limit_bytes=MAX_BYTES)
        try:
            names = msgspec.json.decode(data or b"[]", type=list[str])
        except ValueError:
            raise Refused(f"{where} is no list of names: is this the store of a podpower service?") from None
        return [self.root / name / child for child in names[:_MOST_CHILDREN] if "/" not in child and child[:1] != "."]

    def create(self, path: UPath, data: bytes) -> bool:  # noqa: ARG002
        """Refuse: InvalidInput."""
        self._refuse_change()

    def write(self, path: UPath, data: bytes) -> None:  # noqa: ARG002
        """Refuse: InvalidInput."""
        self._refuse_change()

    def unlink(self, path: UPath) -> None:  # noqa: ARG002
        """Refuse: InvalidInput."""
        self._refuse_change()

    def remove(self, folder: UPath) -> None:  # noqa: ARG002
        """Refuse: InvalidInput."""
        self._refuse_change()

    def idle_s(self, folder: UPath) -> float:  # noqa: ARG002
        """Refuse: InvalidInput."""
        self._refuse_change()

    def _refuse_change(self) -> NoReturn:
        raise InvalidInput(f"{self._address} can only be read: change the store where the service reads it")

    def _get(self, where: str, *, limit_bytes: int) -> bytes | None:
        if self._clock() < self._again_at:
            raise Unavailable(self._failure)
        try:
            with failures(untrusted=f"{self._address}: its certificate is not trusted: set SSL_CERT_FILE"):
                found = self._fetched(where, limit_bytes)
        except Again as error:
            self._failure = f"the model store {self._address} {error}"
            self._again_at = self._clock() + self._backoff.next_s(at_least_s=error.wait_s)
            raise Unavailable(self._failure) from None
        self._backoff.reset()
        return found

    def _fetched(self, where: str, limit_bytes: int) -> bytes | None:
        """Return the content at an address; None where there is none. Again for what can pass."""
        kept = self._kept.get(where)
        headers = self._credentials() | ({"If-None-Match": kept[0]} if kept else {})
        with self._client.stream("GET", where, headers=headers) as response:
            if response.status_code == httpx.codes.NOT_MODIFIED and kept:
                return kept[1]
            # A proxy, or another server at this address, answers 404 in another form.
            if response.status_code == httpx.codes.NOT_FOUND and _is_problem(response):
                self._check_is_store()
                return None
            check_status(response, "")
            if response.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
                raise Again(f"answers {response.status_code}: give an API key of the service")
            if response.status_code != httpx.codes.OK:
                raise Again(_NO_STORE.format(response.status_code))
            data = _bounded(response, where, limit_bytes)
        self._keep(where, response.headers.get("etag"), data)
        return data

    def _check_is_store(self) -> None:
        """Again where the list of promotions, which every store has, is missing: at a wrong path of a service each
        file is missing, as in a store without a model.
        """
        if self._is_store:
            return
        with self._client.stream("GET", f"{self._address}/promotions/", headers=self._credentials()) as response:
            if response.status_code == httpx.codes.NOT_FOUND:
                raise Again(_NO_STORE.format(response.status_code))
            self._is_store = response.status_code == httpx.codes.OK

    def _keep(self, where: str, tag: str | None, data: bytes) -> None:
        if tag and len(data) <= _KEPT_BYTES:
            with self._lock:
                self._kept[where] = tag, data
                self._kept.move_to_end(where)
                while len(self._kept) > _KEPT_FILES:
                    self._kept.popitem(last=False)

    def _credentials(self) -> dict[str, str]:
        if self._key_file is None:
            return {}
        try:
            key = self._key_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise Unavailable(f"cannot read the API key at {self._key_file}: {reason}") from None
        return {"Authorization": f"Bearer {token_in(key, what=f'the API key at {self._key_file}')}"}


def _is_problem(response: httpx.Response) -> bool:
    return str(response.headers.get("content-type", "")).startswith("application/problem+json")


def _bounded(response: httpx.Response, where: str, limit_bytes: int) -> bytes:
    chunks, size_bytes = [], 0
    for chunk in response.iter_bytes():
        size_bytes += len(chunk)
        if size_bytes > limit_bytes:
            raise Refused(f"{where} is larger than {limit_bytes >> 20} MiB")
        chunks.append(chunk)
    return b"".join(chunks)


def _checked(root: str) -> str:
    try:
        parts = urlsplit(root)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidInput(f"the model store {root!r} is no address: {error}") from None
    if "@" in parts.netloc:
        raise InvalidInput("the address of the model store contains credentials: give the API key in a file")
    if not host or parts.query or parts.fragment:
        raise InvalidInput(f"the model store {root!r} must look like http://HOST:8000/store")
    return root.rstrip("/")
