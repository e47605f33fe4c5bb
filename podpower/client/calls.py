"""Calls of the HTTP API: the request of each, and the type of its answer. Shared by both clients."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

import msgspec

from podpower.client.answers import Batch, DifferenceAnswer, Line
from podpower.client.workloads import Manifests, Workload, is_manifests, is_object, json_of, one_form, query_of, text_of
from podpower.errors import InvalidInput, PodpowerError, Unavailable
from podpower.io.retries import RETRIED_STATUSES, Again, retry_after_s
from podpower.model.predictor import Explanation, Prediction
from podpower.registry.description import ModelInfo
from podpower.specs.quoting import both_ends, printable
from podpower.specs.requests import InferenceRequest

T = TypeVar("T")

ANSWER_BYTES: Final = 128 << 20  # more than a difference of the largest batches has
LINE_BYTES: Final = 1 << 20
_JSON, _YAML, _NDJSON = "application/json", "application/yaml", "application/x-ndjson"


class RequestRefused(InvalidInput):
    """The service refuses a request. `status` is that of HTTP; the message is the detail of the problem."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class UnknownAnswer(PodpowerError):
    """The service answers in a form that this version of the client does not know, or beyond the size of any answer."""


class ClientClosed(PodpowerError):
    """The client was closed before the call, or during it."""


@dataclass(frozen=True, kw_only=True)
class Call(Generic[T]):
    """One request, and how its answer is decoded."""

    method: str
    path: str
    decode: Callable[[bytes], T]
    content: bytes | None = None
    media_type: str = _JSON
    query: Mapping[str, str] = field(default_factory=dict)

    @property
    def headers(self) -> dict[str, str]:
        """Headers beside those of the client."""
        given = {} if self.content is None else {"Content-Type": self.media_type}
        return given | ({"Accept": _NDJSON} if self.media_type == _NDJSON else {})


def predict(workload: Workload) -> Call[Prediction]:
    """`POST /predict`; of an object of Kubernetes `POST /predict/from-yaml`."""
    path = "/predict/from-yaml" if is_object(workload) else "/predict"
    return Call(method="POST", path=path, content=json_of(workload), decode=_decoder(Prediction))


def explain(workload: Workload) -> Call[Explanation]:
    """`POST /explain`."""
    if is_object(workload):
        raise InvalidInput("explain takes an InferenceRequest: convert an object by infer()")
    return Call(method="POST", path="/explain", content=json_of(workload), decode=_decoder(Explanation))


def from_yaml(manifest: Manifests, options: Mapping[str, Any]) -> Call[Prediction]:
    """`POST /predict/from-yaml`."""
    return _of_manifests("/predict/from-yaml", manifest, options, _decoder(Prediction))


def infer(manifests: Manifests, options: Mapping[str, Any]) -> Call[list[InferenceRequest]]:
    """`POST /infer/from-yaml`."""
    return _of_manifests("/infer/from-yaml", manifests, options, _decoder(list[InferenceRequest]))


def predict_batch(workloads: Iterable[Workload] | Manifests, options: Mapping[str, Any]) -> Call[Batch]:
    """`POST /predict/batch`."""
    if is_manifests(workloads):
        return _of_manifests("/predict/batch", workloads, options, _decoder(Batch))
    rows, are_objects = one_form(workloads)  # type: ignore[arg-type]  # a TypeGuard narrows one way
    whole: Any = {"apiVersion": "v1", "kind": "List", "items": rows} if are_objects else rows
    return Call(
        method="POST", path="/predict/batch", content=json_of(whole), query=query_of(options), decode=_decoder(Batch)
    )


def predict_lines(workloads: Iterable[Workload], options: Mapping[str, Any]) -> Call[Line]:
    """`POST /predict/batch` as NDJSON, whose answer is decoded line by line."""
    rows, are_objects = one_form(workloads)
    if are_objects:
        raise InvalidInput("predict_lines takes InferenceRequests: convert objects by infer()")
    return Call(
        method="POST",
        path="/predict/batch",
        content=b"\n".join(map(json_of, rows)),
        media_type=_NDJSON,
        query=query_of(options),
        decode=_decoder(Line),
    )


def diff(
    old: Iterable[Workload] | Manifests, new: Iterable[Workload] | Manifests, options: Mapping[str, Any]
) -> Call[DifferenceAnswer]:
    """`POST /diff`."""
    sides: Any = {"old": _side(old), "new": _side(new)}
    query = query_of(options)
    return Call(method="POST", path="/diff", content=json_of(sides), query=query, decode=_decoder(DifferenceAnswer))


def _side(workloads: Iterable[Workload] | Manifests) -> Any:
    if is_manifests(workloads):
        return text_of(workloads).decode("utf-8", "replace")
    rows, are_objects = one_form(workloads)  # type: ignore[arg-type]  # a TypeGuard narrows one way
    whole: Any = {"apiVersion": "v1", "kind": "List", "items": rows}
    return json_of(whole).decode() if are_objects else rows


class Body:
    """The body of an answer as it arrives, up to ANSWER_BYTES."""

    def __init__(self, call: Call[Any], headers: Mapping[str, str]) -> None:
        """UnknownAnswer when it is encoded, which no request of a client allows."""
        check_plain(call, headers)
        self._path, self._pieces, self._size = call.path, list[bytes](), 0

    def add(self, piece: bytes) -> None:
        """Keep a piece. UnknownAnswer beyond the bound."""
        self._size += len(piece)
        if self._size > ANSWER_BYTES:
            raise UnknownAnswer(f"{self._path} answers more than {ANSWER_BYTES >> 20} MiB: is that a podpower service?")
        self._pieces.append(piece)

    def whole(self) -> bytes:
        """Return what arrived."""
        return b"".join(self._pieces)


class LinesOf:
    """Cuts a streamed answer to a call into its lines, and limits their size, their number and the time of each."""

    def __init__(self, call: Call[Line], headers: Mapping[str, str], *, line_seconds: float) -> None:
        """UnknownAnswer when the answer is encoded."""
        check_plain(call, headers)
        self._call, self._rest, self._is_whole = call, b"", False
        self._lines_left = (call.content or b"").count(b"\n") + 2  # one for each row, and the total
        self._line_seconds = self._left_s = line_seconds

    @contextlib.contextmanager
    def waiting(self) -> Iterator[float]:
        """Give the seconds in which the next line must end; count what the block takes of them."""
        began_s = time.monotonic()
        yield self._left_s
        self._left_s -= time.monotonic() - began_s

    def read(self, data: bytes) -> Iterator[Line]:
        """Yield the lines that end in `data`. UnknownAnswer for a line in another form, or beyond a bound."""
        *ended, self._rest = (self._rest + data).split(b"\n")
        if max(map(len, (*ended, self._rest))) > LINE_BYTES:
            raise UnknownAnswer(f"{self._call.path} answers a line of more than {LINE_BYTES >> 20} MiB")
        for text in ended:
            self._left_s, self._lines_left = self._line_seconds, self._lines_left - 1
            if self._lines_left < 0:
                raise UnknownAnswer(f"{self._call.path} answers more lines than it was sent")
            line = checked(self._call, status=200, headers={}, body=text)
            self._is_whole = line.total is not None
            yield line

    def check_whole(self) -> None:
        """Raise Unavailable when the last line, which has the total, is missing."""
        if self._rest or not self._is_whole:
            raise Unavailable(f"the answer of {self._call.path} ends before its total: send the rows again")


def model() -> Call[ModelInfo]:
    """`GET /model`."""
    return Call(method="GET", path="/model", decode=_decoder(ModelInfo))


def check_plain(call: Call[Any], headers: Mapping[str, str]) -> None:
    """Raise UnknownAnswer for an encoded answer: a few bytes can be decoded to any number of them."""
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        shown = both_ends(printable(encoding))
        raise UnknownAnswer(f"{call.path} answers in the encoding {shown}, and the client accepts none")


def checked(call: Call[T], *, status: int, headers: Mapping[str, str], body: bytes) -> T:
    """Return the answer to a call. Again where another attempt can help, RequestRefused where it cannot."""
    if status in RETRIED_STATUSES:
        raise Again(f"answers {status}{_after(_detail(body))}", wait_s=retry_after_s(headers))
    if status >= 300:
        raise RequestRefused(_detail(body) or f"{call.path} answers {status}", status=status)
    try:
        return call.decode(body)
    except (ValueError, RecursionError) as error:
        shown = both_ends(printable(str(error)))
        raise UnknownAnswer(
            f"{call.path} answers what this client does not know ({shown}): use the same version"
        ) from None


def _of_manifests(path: str, manifests: Manifests, options: Mapping[str, Any], decode: Callable[[bytes], T]) -> Call[T]:
    content = text_of(manifests)
    return Call(method="POST", path=path, content=content, media_type=_YAML, query=query_of(options), decode=decode)


def _decoder(kind: type[T]) -> Callable[[bytes], T]:
    return msgspec.json.Decoder(kind).decode


def _detail(body: bytes) -> str:
    """Return the detail of a problem (RFC 9457); "" where the body is none."""
    try:
        found = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return ""
    detail = found.get("detail") if isinstance(found, dict) else None
    return both_ends(printable(detail)) if isinstance(detail, str) else ""


def _after(detail: str) -> str:
    return f": {detail}" if detail else ""
