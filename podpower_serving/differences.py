"""`POST /diff`: what a change of workloads will draw more or less."""

import functools
from collections.abc import Sequence
from typing import Final

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
from podpower_serving.metrics import Metrics
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

_PART: Final = 256  # rows that are freed at a time


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
        metrics: NamedDependency[Metrics],
        threads: NamedDependency[WorkerThreads],
    ) -> Response[DifferenceAnswer]:
        """Predict two sets of workloads and what is different. Errors that are common to both sides cancel in the
        intervals.
        """
        body, _ = await body_of(request, bodies.JSON, query=(*bodies.OPTIONS, *parameters.NAMES))
        options = bodies.options_of(request.query_params, max_rows=settings.max_batch_rows)
        inputs = parameters.inputs_from(request.query_params)
        content = await threads.run(functools.partial(answer, served.predictor, metrics, options, inputs), body)
        return json_answer(content)


def answer(predictor: Predictor, metrics: Metrics, options: Options, inputs: Inputs, body: bytes) -> bytes:
    """Return the answer in JSON. Unreadable and InvalidInput name the side."""
    sides = bodies.json_fields(body)
    if sides is None or set(sides) != {"old", "new"}:
        raise InvalidInput('expected {"old": ..., "new": ...}: manifests as text, or lists of InferenceRequests')
    old, new = (_workloads(name, sides[name], options) for name in ("old", "new"))
    before, after = assess(predictor, old, inputs), assess(predictor, new, inputs)
    for side in (before, after):
        metrics.predicted(side.predictions)
    found = difference(predictor, before, after)
    whole = difference_answer(found, old=old.errors, new=new.errors, inputs=inputs)
    del found
    content = encoded_difference(whole)
    for rows in (whole.changes, before.predictions, after.predictions, before.requests, after.requests):
        _forget(rows)
    return content


def _forget(rows: Sequence[object]) -> None:
    """Empty a list in parts: the end of all its objects at once would hold Python's lock for tens of milliseconds."""
    while isinstance(rows, list) and rows:
        del rows[-_PART:]


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
