"""Endpoints. Each reads a body, calls one function and returns its result."""

import functools
from collections.abc import Callable
from typing import Final

import msgspec
from litestar import Controller, MediaType, Response, get, post
from litestar.di import NamedDependency
from litestar.openapi.spec import Reference, Schema
from litestar.params import FromPath
from litestar.response import Stream

from podpower.client.answers import Batch
from podpower.errors import InvalidInput, Refused, Unavailable
from podpower.evaluation.pages import page_of_day, read_page
from podpower.impact import parameters
from podpower.model.predictor import Explanation, Prediction, Predictor
from podpower.registry.description import ModelInfo, model_info
from podpower.registry.store import ModelStore
from podpower.specs.requests import InferenceRequest
from podpower.specs.selection import Options
from podpower_serving import batch_bodies, bodies, openapi, streaming
from podpower_serving.bounds import Bounds
from podpower_serving.encoding import encoded_list, json_answer
from podpower_serving.entity_tags import unless_known
from podpower_serving.errors import NotFound
from podpower_serving.incoming import AnyRequest, body_of, check_query
from podpower_serving.metrics import Metrics
from podpower_serving.models import Served
from podpower_serving.schemas import Health, Readiness
from podpower_serving.settings import Settings
from podpower_serving.worker_threads import WorkerThreads

_REQUEST = Reference(ref="#/components/schemas/InferenceRequest")
_JSON_BODY = {bodies.JSON: (_REQUEST, openapi.REQUEST_EXAMPLE)}
_YAML_BODY = openapi.manifest_types(bodies.YAML_TYPES)
_BATCH_BODY = {
    bodies.JSON: (Schema(type="array", items=_REQUEST), [openapi.REQUEST_EXAMPLE]),  # type: ignore[arg-type]
    **_YAML_BODY,
}
# A report draws with inline styles; it can load, run and send nothing.
_REPORT_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_MANIFEST_TYPES = (*bodies.YAML_TYPES, bodies.JSON)  # JSON is YAML


class Predictions(Controller):
    """Predict watts and joules of workloads."""

    tags = ("predictions",)

    @post(
        "/predict",
        operation_id="predict",
        operation_class=openapi.takes(_JSON_BODY),
        status_code=200,
        responses=openapi.PROBLEMS,
    )
    async def predict(
        self,
        request: AnyRequest,
        served: NamedDependency[Served],
        metrics: NamedDependency[Metrics],
        threads: NamedDependency[WorkerThreads],
    ) -> Prediction:
        """Predict one workload."""
        body, _ = await body_of(request, bodies.JSON)
        return await threads.run(functools.partial(_predict_one, served.predictor, metrics), body)

    @post(
        "/explain",
        operation_id="explain",
        operation_class=openapi.takes(_JSON_BODY),
        status_code=200,
        responses=openapi.PROBLEMS,
    )
    async def explain(
        self,
        request: AnyRequest,
        served: NamedDependency[Served],
        metrics: NamedDependency[Metrics],
        threads: NamedDependency[WorkerThreads],
    ) -> Explanation:
        """Predict one workload and list the measured workloads that the prediction rests on."""
        body, _ = await body_of(request, bodies.JSON)
        return await threads.run(functools.partial(_explain_one, served.predictor, metrics), body)

    @post(
        "/predict/from-yaml",
        operation_id="predictFromYaml",
        operation_class=openapi.takes(_YAML_BODY, options=True),
        status_code=200,
        responses=openapi.PROBLEMS,
    )
    async def predict_from_yaml(
        self,
        request: AnyRequest,
        served: NamedDependency[Served],
        settings: NamedDependency[Settings],
        metrics: NamedDependency[Metrics],
        threads: NamedDependency[WorkerThreads],
    ) -> Prediction:
        """Predict the one workload of a manifest; use /predict/batch for several."""
        body, _ = await body_of(request, *_MANIFEST_TYPES, query=bodies.OPTIONS)
        options = bodies.options_of(request.query_params, max_rows=settings.max_batch_rows)
        return await threads.run(functools.partial(_predict_manifest, served.predictor, metrics, options), body)

    @post(
        "/predict/batch",
        operation_id="predictBatch",
        operation_class=openapi.takes(_BATCH_BODY, options=True, impact=True),
        status_code=200,
        responses=openapi.PROBLEMS,
    )
    async def predict_batch(
        self,
        request: AnyRequest,
        served: NamedDependency[Served],
        settings: NamedDependency[Settings],
        metrics: NamedDependency[Metrics],
        threads: NamedDependency[WorkerThreads],
    ) -> Response[Batch] | Response[bytes] | Stream:
        """Predict many workloads, each and together. A bad row is listed in `errors` and fails no other; objects that
        have no prediction of their own are listed in `skipped` with the reason. With `Accept: application/x-ndjson`
        the answer is a line for each, and a last one with the total.
        """
        accepted = (bodies.JSON, *bodies.YAML_TYPES, bodies.NDJSON)
        body, media_type = await body_of(request, *accepted, query=(*bodies.OPTIONS, *parameters.NAMES))
        if streaming.is_wanted(request.headers.get("accept", "")):
            check_query(request, known=bodies.OPTIONS)  # costs are those of a whole batch
            has_chunks = request.scope["http_version"] != "1.0"
            are_many = has_chunks and media_type == bodies.NDJSON
            rows = settings.max_stream_rows if are_many else settings.max_batch_rows
            options = bodies.options_of(request.query_params, max_rows=rows)
            lines = await streaming.answer(served.predictor, body, media_type, options, metrics, threads=threads)
            if not has_chunks:
                return Response(content=b"".join([line async for line in lines]), media_type=bodies.NDJSON)
            return Stream(lines, media_type=bodies.NDJSON)
        options = bodies.options_of(request.query_params, max_rows=settings.max_batch_rows)
        inputs = parameters.inputs_from(request.query_params)
        answered = functools.partial(
            batch_bodies.answer, served.predictor, metrics, media_type=media_type, options=options, inputs=inputs
        )
        content = await threads.run(answered, body)
        return json_answer(content)


class Inferences(Controller):
    """Convert manifests to requests."""

    tags = ("predictions",)

    @post(
        "/infer/from-yaml",
        operation_id="inferFromYaml",
        operation_class=openapi.takes(_YAML_BODY, options=True),
        status_code=200,
        responses=openapi.PROBLEMS,
    )
    async def infer_from_yaml(
        self, request: AnyRequest, settings: NamedDependency[Settings], threads: NamedDependency[WorkerThreads]
    ) -> Response[list[InferenceRequest]]:
        """Convert manifests to the InferenceRequests that `/predict` takes, without credentials."""
        body, _ = await body_of(request, *_MANIFEST_TYPES, query=bodies.OPTIONS)
        options = bodies.options_of(request.query_params, max_rows=settings.max_batch_rows)
        content = await threads.run(functools.partial(_infer, options), body)
        return json_answer(content)


class Operations(Controller):
    """State of the service."""

    tags = ("operations",)

    @get("/model", operation_id="getModel", sync_to_thread=False, responses=openapi.NOT_CHANGED | openapi.NOT_READY)
    def model(
        self, request: AnyRequest, served: NamedDependency[Served], settings: NamedDependency[Settings]
    ) -> Response[ModelInfo]:
        """Return the served model, its evaluation, and the newer model that was refused, with the reason. Its `ETag`
        can be sent as `If-None-Match`.
        """
        refused = served.refused
        if refused is not None:
            refused = msgspec.structs.replace(refused, detail=settings.without_places(refused.detail))
        info = model_info(served.predictor, refused=refused)
        return unless_known(request, msgspec.json.encode(info))

    @get("/healthz", operation_id="getHealth", sync_to_thread=False)
    def healthz(self) -> Health:
        """Answer while the process lives."""
        return Health()

    @get("/readyz", operation_id="getReadiness", sync_to_thread=False, responses=openapi.NOT_READY)
    def readyz(self, served: NamedDependency[Served], bounds: NamedDependency[Bounds]) -> Readiness:
        """Answer 200 with a model, 503 without and while the service stops."""
        if bounds.draining:
            raise Unavailable("the service is stopping: send requests to another replica")
        return Readiness(model_version=served.predictor.version)


class Reports(Controller):
    """Evaluations of stored models."""

    tags = ("operations",)

    @get(
        "/models/{version:str}/report",
        operation_id="getReport",
        media_type=MediaType.HTML,
        sync_to_thread=True,
        responses=openapi.NOT_FOUND | openapi.NOT_READY,
    )
    def report(self, version: FromPath[str], settings: NamedDependency[Settings]) -> Response[bytes]:
        """Return the evaluation of a stored version as a page: its scores, plots and worst workloads."""
        return _report(lambda: ModelStore(settings.model_store).report(version))

    @get(
        "/evaluations/{day:str}",
        operation_id="getEvaluation",
        media_type=MediaType.HTML,
        sync_to_thread=True,
        responses=openapi.NOT_FOUND | openapi.NOT_READY,
    )
    def evaluation(self, day: FromPath[str], settings: NamedDependency[Settings]) -> Response[bytes]:
        """Return the evaluation of what was served on a day as a page."""
        return _report(lambda: read_page(page_of_day(settings.model_store, day)))


def _report(read: Callable[[], bytes]) -> Response[bytes]:
    """Answer with a page. NotFound where there is none."""
    try:
        page = read()
    except (InvalidInput, Refused) as error:
        raise NotFound(str(error)) from None
    return Response(content=page, media_type="text/html", headers=_REPORT_HEADERS)


def _predict_one(predictor: Predictor, metrics: Metrics, body: bytes) -> Prediction:
    predictions = predictor.predict([bodies.one_request(body)])
    metrics.predicted(predictions)
    return predictions[0]


def _predict_manifest(predictor: Predictor, metrics: Metrics, options: Options, body: bytes) -> Prediction:
    predictions = predictor.predict([bodies.one_manifest(body, options)])
    metrics.predicted(predictions)
    return predictions[0]


def _explain_one(predictor: Predictor, metrics: Metrics, body: bytes) -> Explanation:
    explanations = predictor.explain([bodies.one_request(body)])
    metrics.predicted(explanations)
    return explanations[0]


def _infer(options: Options, body: bytes) -> bytes:
    return encoded_list(bodies.manifests(body, options))
