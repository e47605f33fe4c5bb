"""`POST /diff`: what a change of workloads will draw more or less."""

import functools
from typing import Annotated, Final

import msgspec
from litestar import Controller, Response, post
from litestar.di import NamedDependency
from litestar.openapi.spec import OpenAPIType, Schema

from podpower.client.answers import DifferenceAnswer, difference_answer
from podpower.difference.changes import difference
from podpower.errors import InvalidInput
from podpower.impact import parameters
from podpower.impact.assessment import Inputs, assess
from podpower.model.predictor import Predictor
from podpower.specs.manifests import read_manifests
from podpower.specs.selection import Options, Workloads
from podpower_serving import bodies, openapi
from podpower_serving.encoding import encoded_difference, json_answer
from podpower_serving.incoming import AnyRequest, body_of
from podpower_serving.models import Served
from podpower_serving.settings import Settings
from podpower_serving.worker_threads import WorkerThreads

_EXAMPLE: Final = {
    "old": openapi.MANIFEST_EXAMPLE,
    "new": openapi.MANIFEST_EXAMPLE.replace("replicas: 2", "replicas: 5"),
}
_SIDE: Final = Schema(
    description="manifests as YAML or JSON text, or a list of InferenceRequests",
    one_of=[Schema(type=OpenAPIType.STRING), Schema(type=OpenAPIType.ARRAY, items=Schema(type=OpenAPIType.OBJECT))],
)
_BODY: Final = {
    bodies.JSON: (
        Schema(type=OpenAPIType.OBJECT, properties={"old": _SIDE, "new": _SIDE}, required=["old", "new"]),
        _EXAMPLE,
    )
}


class _Sides(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    old: Annotated[msgspec.Raw, msgspec.Meta(description="before")]
    new: Annotated[msgspec.Raw, msgspec.Meta(description="after")]


class Differences(Controller):
    """Differences between workloads."""

    tags = ("predictions",)

    @post(
        "/diff",
        operation_id="diff",
        operation_class=openapi.takes(_BODY, options=True, impact=True),
        status_code=200,
        responses=openapi.PROBLEMS,
    )
    async def diff(
        self,
        request: AnyRequest,
        served: NamedDependency[Served],
        settings: NamedDependency[Settings],
        threads: NamedDependency[WorkerThreads],
    ) -> Response[DifferenceAnswer]:
        """Predict two sets of workloads and what is different. Errors that are common to both sides cancel in the
        intervals.
        """
        body, _ = await body_of(request, bodies.JSON, query=(*bodies.OPTIONS, *parameters.NAMES))
        options = bodies.options_of(request.query_params, max_rows=settings.max_batch_rows)
        inputs = parameters.inputs_from(request.query_params)
        content = await threads.run(functools.partial(_difference, served.predictor, options, inputs), body)
        return json_answer(content)


def _difference(predictor: Predictor, options: Options, inputs: Inputs, body: bytes) -> bytes:
    """Return the answer in JSON. Unreadable and InvalidInput name the side."""
    sides = _sides(body)
    old, new = (_workloads(name, side, options) for name, side in (("old", sides.old), ("new", sides.new)))
    found = difference(predictor, assess(predictor, old, inputs), assess(predictor, new, inputs))
    answer = difference_answer(found, old=old.errors, new=new.errors, inputs=inputs)
    return encoded_difference(answer)


def _sides(body: bytes) -> _Sides:
    value = bodies.json_value(body)
    if not isinstance(value, dict) or set(value) != {"old", "new"}:
        raise InvalidInput('expected {"old": ..., "new": ...}: manifests as text, or lists of InferenceRequests')
    return msgspec.json.decode(body.removeprefix(b"\xef\xbb\xbf"), type=_Sides)


def _workloads(name: str, side: msgspec.Raw, options: Options) -> Workloads:
    value = bytes(side)
    if value.startswith(b"["):
        return bodies.rows(value, options)
    if not value.startswith(b'"'):
        raise InvalidInput(f"{name}: must be manifests as a text, or a list of InferenceRequests")
    text = msgspec.json.decode(value, type=str)
    try:
        return read_manifests(text.encode(), source=name, options=options)
    except UnicodeEncodeError:
        raise InvalidInput(f"{name}: not valid text") from None
