"""`Client` and `AsyncClient`: typed calls of the prediction API with retries, timeouts and an API key."""

import asyncio
import contextlib
import math
import ssl
import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any, Final, Self, TypedDict, TypeVar, Unpack

import httpx

from podpower import settings
from podpower.client import calls, deadlines
from podpower.client.answers import Batch, DifferenceAnswer, Line
from podpower.client.calls import Body, Call, ClientClosed, LinesOf
from podpower.client.workloads import BatchOptions, ManifestOptions, Manifests, Workload
from podpower.errors import InvalidInput, Unavailable
from podpower.io.http import failures, tls_context
from podpower.io.retries import Again, FewNotes, Retries
from podpower.model.predictor import Explanation, Prediction
from podpower.registry.description import ModelInfo
from podpower.setting_values import web_address
from podpower.specs.requests import InferenceRequest

T = TypeVar("T")

TIMEOUT_SECONDS: Final = 10.0
CONNECT_SECONDS: Final = 3.0
ATTEMPTS: Final = 4
MOST_WAIT_SECONDS: Final = 10.0
_FIRST_WAIT_SECONDS: Final = 0.2
CONNECTIONS: Final = 20


class ConnectionOptions(TypedDict, total=False):
    """Options of a client. `api_key` is PODPOWER_API_KEY by default, `ca_file`, the certificates to trust,
    PODPOWER_API_CA_FILE; `cert_file` and `key_file` are a client certificate.

    Each attempt has `timeout_seconds` (10) from its beginning to the end of the answer; of an answer by lines, to its
    beginning and then for each line. An attempt begins when one of the client's 20 connections is free, which is
    waited for as long. What can pass (no connection, 408, 425, 429, 500, 502, 503, 504) is tried up to
    `attempts` times (4). A wait that the service requests (Retry-After) is kept up to `most_wait_seconds` (10); a
    longer one is an error at once.
    """

    api_key: str | None
    ca_file: str | None
    cert_file: str | None
    key_file: str | None
    timeout_seconds: float
    attempts: int
    most_wait_seconds: float


class _Connection:
    """Settings of a client, by argument or else by the environment."""

    _http: httpx.Client | httpx.AsyncClient

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        ca_file: str | None = None,
        cert_file: str | None = None,
        key_file: str | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        attempts: int = ATTEMPTS,
        most_wait_seconds: float = MOST_WAIT_SECONDS,
    ) -> None:
        if not 0 < timeout_seconds < math.inf:
            raise InvalidInput(f"timeout_seconds: must be a number of seconds above 0; got {timeout_seconds}")
        if not 0 <= most_wait_seconds < math.inf:
            raise InvalidInput(f"most_wait_seconds: must be a number of seconds from 0; got {most_wait_seconds}")
        if attempts < 1:
            raise InvalidInput(f"attempts: must be at least 1; got {attempts}")
        environment = settings.read()
        given = environment.client
        self.url = web_address(url or environment.service.api_url)
        self._retries = Retries(
            attempts=attempts,
            first_s=_FIRST_WAIT_SECONDS,
            last_s=most_wait_seconds,
            most_retry_after_s=most_wait_seconds,
        )
        key = (api_key or given.api_key or "").strip()  # a file's or a Secret's ends in a newline
        if key and not (key.isascii() and key.isprintable() and " " not in key):
            raise InvalidInput("the API key has characters that no key has: take it as `podpower keys new` printed it")
        self._note = FewNotes()
        self._timeout_seconds = timeout_seconds
        self._busy = f"no connection was free in time: each of {CONNECTIONS} has a call in flight"
        self._options: dict[str, Any] = {
            "base_url": self.url,
            "verify": self._tls(ca_file or given.ca_file, cert_file, key_file),
            "follow_redirects": False,  # a key is for this host only
            "timeout": httpx.Timeout(timeout_seconds, connect=min(CONNECT_SECONDS, timeout_seconds)),
            "limits": httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS),
            "headers": {
                "User-Agent": "podpower",
                "Accept-Encoding": "identity",
                **({"Authorization": f"Bearer {key}"} if key else {}),
            },
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def _tls(self, ca_file: str | None, cert_file: str | None, key_file: str | None) -> ssl.SSLContext | bool:
        if not self.url.startswith("https:"):
            return False  # making a context takes 20 ms
        return tls_context(ca_file=ca_file, cert_file=cert_file, key_file=key_file, what=self.url)

    @contextlib.contextmanager
    def _attempt(self) -> Iterator[None]:
        """Turn what httpx and asyncio raise inside into Again; ClientClosed when the client is closed."""
        try:
            with failures(untrusted=self._untrusted()):
                yield
        except (Again, RuntimeError, TimeoutError) as error:
            if self._http.is_closed:
                raise ClientClosed(f"the client of {self.url} is closed: make another one") from None
            if isinstance(error, TimeoutError):
                raise Again("no answer in time") from None
            raise

    @contextlib.contextmanager
    def _unbroken(self) -> Iterator[None]:
        """Turn a connection that breaks in the middle of an answer into Unavailable."""
        try:
            with self._attempt():
                yield
        except Again as error:
            raise Unavailable(f"{self.url}, in the middle of an answer: {error}") from None

    def _request(self, call: Call[Any]) -> httpx.Request:
        return self._http.build_request(
            call.method, call.path, content=call.content, headers=call.headers, params=call.query
        )

    def _untrusted(self) -> str:
        return f"the certificate of {self.url} is not trusted: give its CA as ca_file or PODPOWER_API_CA_FILE"


class Client(_Connection):
    """Asks a podpower service. Threads may share it; close it, or use it in `with`.

    Every method raises InvalidInput when the service refuses what it is given (RequestRefused, with `status`),
    Unavailable when it does not answer after all attempts, UnknownAnswer when its answer is none of podpower's, and
    ClientClosed after `close`.
    """

    def __init__(self, url: str | None = None, **options: Unpack[ConnectionOptions]) -> None:
        """`url` is the address of the service, PODPOWER_API_URL by default. InvalidInput when an option or variable
        cannot be used.
        """
        super().__init__(url, **options)
        self._http: httpx.Client = httpx.Client(**self._options)
        self._connections = threading.Semaphore(CONNECTIONS)
        deadlines.keep_deadlines(self._http)

    def predict(self, workload: Workload) -> Prediction:
        """Predict one workload: an InferenceRequest, its JSON, or an object of Kubernetes."""
        return self._send(calls.predict(workload))

    def predict_batch(self, workloads: Iterable[Workload] | Manifests, **options: Unpack[BatchOptions]) -> Batch:
        """Predict many workloads, or those of manifests. A bad row is in `errors` and fails no other."""
        return self._send(calls.predict_batch(workloads, options))

    def predict_lines(self, workloads: Iterable[Workload], **options: Unpack[ManifestOptions]) -> Iterator[Line]:
        """Yield a line for each of up to 100,000 InferenceRequests as it is predicted, and a last one with the total.

        Unavailable when the answer breaks off; what was yielded before is right.
        """
        call = calls.predict_lines(workloads, options)
        with contextlib.ExitStack() as held:
            answer = self._retries.call(lambda: self._opened(call, held), what=self.url, note=self._note)
            lines, pieces = LinesOf(call, answer.headers, line_seconds=self._timeout_seconds), answer.iter_raw()
            while True:
                with self._unbroken(), lines.waiting() as seconds, deadlines.within(seconds):
                    piece = next(pieces, None)
                if piece is None:
                    break
                yield from lines.read(piece)
            lines.check_whole()

    def diff(
        self,
        old: Iterable[Workload] | Manifests,
        new: Iterable[Workload] | Manifests,
        **options: Unpack[BatchOptions],
    ) -> DifferenceAnswer:
        """Predict what a change from `old` to `new` draws more or less: manifests, or lists of workloads."""
        return self._send(calls.diff(old, new, options))

    def from_yaml(self, manifest: Manifests, **options: Unpack[ManifestOptions]) -> Prediction:
        """Predict the only workload of a manifest."""
        return self._send(calls.from_yaml(manifest, options))

    def infer(self, manifests: Manifests, **options: Unpack[ManifestOptions]) -> list[InferenceRequest]:
        """Convert manifests to InferenceRequests."""
        return self._send(calls.infer(manifests, options))

    def explain(self, workload: Workload) -> Explanation:
        """Predict one workload and list the measured workloads that the prediction rests on."""
        return self._send(calls.explain(workload))

    def model(self) -> ModelInfo:
        """Describe the served model."""
        return self._send(calls.model())

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _connection(self) -> Iterator[None]:
        """Hold a connection. A call that waited for one in its own time would give up in the middle of the answer,
        and the more often the longer calls wait.
        """
        if not self._connections.acquire(timeout=self._timeout_seconds):
            raise Again(self._busy)
        try:
            yield
        finally:
            self._connections.release()

    def _opened(self, call: Call[Line], held: contextlib.ExitStack) -> httpx.Response:
        """Return an answer whose body is not read yet; `held` closes it."""
        with contextlib.ExitStack() as attempt:
            attempt.enter_context(self._connection())
            with self._attempt(), deadlines.within(self._timeout_seconds):
                answer = self._http.send(self._request(call), stream=True)
                if answer.is_success:
                    attempt.callback(answer.close)
                    held.push(attempt.pop_all())
                    return answer
                body = self._body(call, answer)
        calls.checked(call, status=answer.status_code, headers=answer.headers, body=body)
        raise AssertionError("unreachable: that status is an error")

    def _send(self, call: Call[T]) -> T:
        def once() -> T:
            with self._connection(), self._attempt(), deadlines.within(self._timeout_seconds):
                answer = self._http.send(self._request(call), stream=True)
                body = self._body(call, answer)
            return calls.checked(call, status=answer.status_code, headers=answer.headers, body=body)

        return self._retries.call(once, what=self.url, note=self._note)

    def _body(self, call: Call[Any], answer: httpx.Response) -> bytes:
        with contextlib.closing(answer):
            body = Body(call, answer.headers)
            for piece in answer.iter_raw():
                body.add(piece)
        return body.whole()


class AsyncClient(_Connection):
    """`Client` for asyncio, with the same methods to await."""

    def __init__(self, url: str | None = None, **options: Unpack[ConnectionOptions]) -> None:
        """Arguments as of `Client`."""
        super().__init__(url, **options)
        self._http: httpx.AsyncClient = httpx.AsyncClient(**self._options)
        self._connections = asyncio.Semaphore(CONNECTIONS)

    async def predict(self, workload: Workload) -> Prediction:
        """Predict one workload, as `Client.predict`."""
        return await self._send(calls.predict(workload))

    async def predict_batch(self, workloads: Iterable[Workload] | Manifests, **options: Unpack[BatchOptions]) -> Batch:
        """Predict many workloads, as `Client.predict_batch`."""
        return await self._send(calls.predict_batch(workloads, options))

    async def predict_lines(
        self, workloads: Iterable[Workload], **options: Unpack[ManifestOptions]
    ) -> AsyncIterator[Line]:
        """Yield a line for each InferenceRequest and one with the total, as `Client.predict_lines`."""
        call = calls.predict_lines(workloads, options)
        async with contextlib.AsyncExitStack() as held:
            answer = await self._retries.call_async(lambda: self._opened(call, held), what=self.url, note=self._note)
            lines, pieces = LinesOf(call, answer.headers, line_seconds=self._timeout_seconds), answer.aiter_raw()
            while True:
                with self._unbroken(), lines.waiting() as seconds:
                    async with asyncio.timeout(seconds):
                        piece = await anext(pieces, None)
                if piece is None:
                    break
                for line in lines.read(piece):
                    yield line
            lines.check_whole()

    async def diff(
        self,
        old: Iterable[Workload] | Manifests,
        new: Iterable[Workload] | Manifests,
        **options: Unpack[BatchOptions],
    ) -> DifferenceAnswer:
        """Predict what a change draws more or less, as `Client.diff`."""
        return await self._send(calls.diff(old, new, options))

    async def from_yaml(self, manifest: Manifests, **options: Unpack[ManifestOptions]) -> Prediction:
        """Predict the only workload of a manifest, as `Client.from_yaml`."""
        return await self._send(calls.from_yaml(manifest, options))

    async def infer(self, manifests: Manifests, **options: Unpack[ManifestOptions]) -> list[InferenceRequest]:
        """Convert manifests to InferenceRequests, as `Client.infer`."""
        return await self._send(calls.infer(manifests, options))

    async def explain(self, workload: Workload) -> Explanation:
        """Predict and explain one workload, as `Client.explain`."""
        return await self._send(calls.explain(workload))

    async def model(self) -> ModelInfo:
        """Describe the served model."""
        return await self._send(calls.model())

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._connections.acquire()
        except TimeoutError:
            raise Again(self._busy) from None
        try:
            yield
        finally:
            self._connections.release()

    async def _opened(self, call: Call[Line], held: contextlib.AsyncExitStack) -> httpx.Response:
        async with contextlib.AsyncExitStack() as attempt:
            await attempt.enter_async_context(self._connection())
            with self._attempt():
                async with asyncio.timeout(self._timeout_seconds):
                    answer = await self._http.send(self._request(call), stream=True)
                    if answer.is_success:
                        attempt.push_async_callback(answer.aclose)
                        held.push_async_exit(attempt.pop_all())
                        return answer
                    body = await self._body(call, answer)
        calls.checked(call, status=answer.status_code, headers=answer.headers, body=body)
        raise AssertionError("unreachable: that status is an error")

    async def _send(self, call: Call[T]) -> T:
        async def once() -> T:
            async with self._connection():
                with self._attempt():
                    async with asyncio.timeout(self._timeout_seconds):
                        answer = await self._http.send(self._request(call), stream=True)
                        body = await self._body(call, answer)
            return calls.checked(call, status=answer.status_code, headers=answer.headers, body=body)

        return await self._retries.call_async(once, what=self.url, note=self._note)

    async def _body(self, call: Call[Any], answer: httpx.Response) -> bytes:
        async with contextlib.aclosing(answer):
            body = Body(call, answer.headers)
            async for piece in answer.aiter_raw():
                body.add(piece)
        return body.whole()
