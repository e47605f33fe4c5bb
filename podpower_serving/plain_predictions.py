"""`POST /predict` with a small JSON body, answered in front of the framework.

That is nearly every request of a scheduler, and routing, injection and encoding cost more than the prediction.
Whatever is not plain (another media type, a query, a long body, a wrong field, no model) is passed on with its body, so
every error and every exception has one place.
"""

from typing import Final

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, ReceiveMessage, Scope, Send

from podpower.errors import PodpowerError
from podpower.model.predictor import Predictor
from podpower.specs.ndjson import decode_to_predict
from podpower.specs.requests import InferenceRequest
from podpower_serving.metrics import Metrics
from podpower_serving.micro_batching import Batcher
from podpower_serving.models import Served

MAX_BYTES: Final = 16 << 10  # of a body that is decoded on the event loop: some milliseconds at worst
_MAX_DIGITS: Final = 5
_JSON: Final = b"application/json"
_ENCODER: Final = msgspec.json.Encoder()


class PlainPredictions:
    """An ASGI application in front of another one, which answers everything else."""

    def __init__(self, app: ASGIApp, served: Served, metrics: Metrics) -> None:
        self._app, self._served, self._batcher = app, served, Batcher(metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["path"] != "/predict" or not _is_plain(scope):
            await self._app(scope, receive, send)
            return
        messages: list[ReceiveMessage] = []
        body = b""
        while True:
            message = await receive()
            messages.append(message)
            if message["type"] != "http.request":
                return  # the client went away
            body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        found = self._found(body)
        if found is None:
            await self._app(scope, _again(messages, receive), send)
            return
        content = _ENCODER.encode(await self._batcher.predict(*found))
        headers = [(b"content-type", _JSON), (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content, "more_body": False})

    def _found(self, body: bytes) -> tuple[Predictor, InferenceRequest] | None:
        """Return what predicts and what is predicted; None where the body is for the framework."""
        try:
            predictor = self._served.predictor
            if not predictor.is_quick:
                return None
            body.decode()  # also in fields that are not read
            request = decode_to_predict(body)
        except (PodpowerError, UnicodeDecodeError):
            return None
        return None if request is None else (predictor, request)


def _is_plain(scope: Scope) -> bool:
    """Return True for a POST of at most MAX_BYTES of JSON without a query."""
    if scope["type"] != ScopeType.HTTP or scope["method"] != "POST" or scope["query_string"]:
        return False
    length = 0
    for name, value in scope["headers"]:
        if name == b"content-length":
            length = int(value) if value.isdigit() and len(value) <= _MAX_DIGITS else 0
        elif (name == b"content-type" and value != _JSON) or name in {b"content-encoding", b"transfer-encoding"}:
            return False
    return 0 < length <= MAX_BYTES


def _again(messages: list[ReceiveMessage], receive: Receive) -> Receive:
    """Return what gives the messages that were read before those that follow."""
    left = iter(messages)

    async def again() -> ReceiveMessage:
        message = next(left, None)
        return await receive() if message is None else message

    return again
