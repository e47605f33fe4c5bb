"""Endpoints. Each reads a body, calls one function and returns its result."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from litestar import Controller, MediaType, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.openapi.spec import Reference, Schema
from litestar.params import FromPath
from litestar.response import Redirect

from podpower.errors import Refused, Unavailable
from podpower.model.intervals import DEFAULT_LEVEL
from podpower.model.predictor import Explanation, Prediction, Predictor
from podpower.registry.store import ModelStore
from podpower.specs.requests import InferenceRequest
from podpower.specs.selection import Options
from podpower_serving import bodies, openapi
from podpower_serving.errors import NotFound
from podpower_serving.models import Served
from podpower_serving.protocol import Bounds
from podpower_serving.schemas import Batch, Health, ModelInfo, Readiness, RowError
from podpower_serving.settings import Settings

AnyRequest = Request[Any, Any, Any]

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


async def _body(request: AnyRequest, *accepted: str, query: Sequence[str] = ()) -> tuple[bytes, str]:
    bodies.check_query(request.query_params, known=query)
    header, encoding = request.headers.get("content-type"), request.headers.get("content-encoding")
    media_type = bodies.check_media_type(header, encoding, accepted=accepted)
    return await request.body(), media_type


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
    async def predict(self, request: AnyRequest, served: NamedDependency[Served]) -> Prediction:
        """Predict one workload."""
        body, _ = await _body(request, bodies.JSON)
        return await asyncio.to_thread(_predict_one, served.predictor, body)

    @post(
        "/explain",
        operation_id="explain",
        operation_class=openapi.takes(_JSON_BODY),
        status_code=200,
        responses=openapi.PROBLEMS,
    )
    async def explain(self, request: AnyRequest, served: NamedDependency[Served]) -> Explanation:
        """Predict one workload and list the measured workloads that the prediction rests on."""
        body, _ = await _body(request, bodies.JSON)
        return await asyncio.to_thread(_explain_one, served.predictor, body)

    @post(
        "/predict/from-yaml",
        operation_id="predictFromYaml",
        operation_class=openapi.takes(_YAML_BODY, options=True),
        status_code=200,
        responses=openapi.PROBLEMS,
    )
    async def predict_from_yaml(
        self, request: AnyRequest, served: NamedDependency[Served], settings: NamedDependency[Settings]
    ) -> Prediction:
        """Predict the one workload of a manifest; use /predict/batch for several."""
        body, _ = await _body(request, *_MANIFEST_TYPES, query=bodies.OPTIONS)
        options = bodies.options_of(request.query_params, max_rows=settings.max_batch_rows)
        return await asyncio.to_thread(_predict_manifest, served.predictor, body, options)

    @post(
        "/predict/batch",
        operation_id="predictBatch",
        operation_class=openapi.takes(_BATCH_BODY, options=True),
        status_code=200,
        responses=openapi.PROBLEMS,
    )
    async def predict_batch(
        self, request: AnyRequest, served: NamedDependency[Served], settings: NamedDependency[Settings]
    ) -> Response[Batch]:
        """Predict many workloads, each and together. A bad row is listed in `errors` and fails no other; objects that
        have no prediction of their own are listed in `skipped` with the reason.
        """
        body, media_type = await _body(request, bodies.JSON, *bodies.YAML_TYPES, query=bodies.OPTIONS)
        options = bodies.options_of(request.query_params, max_rows=settings.max_batch_rows)
        content = await asyncio.to_thread(_predict_batch, served.predictor, body, media_type, options)
        return Response(content=content, media_type=MediaType.JSON)  # type: ignore[arg-type]  # encoded already


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
        self, request: AnyRequest, settings: NamedDependency[Settings]
    ) -> Response[list[InferenceRequest]]:
        """Convert manifests to the InferenceRequests that `/predict` takes, without credentials."""
        body, _ = await _body(request, *_MANIFEST_TYPES, query=bodies.OPTIONS)
        options = bodies.options_of(request.query_params, max_rows=settings.max_batch_rows)
        content = await asyncio.to_thread(_infer, body, options)
        return Response(content=content, media_type=MediaType.JSON)  # type: ignore[arg-type]  # encoded already


class Operations(Controller):
    """State of the service."""

    tags = ("operations",)

    @get("/model", operation_id="getModel", sync_to_thread=False, responses=openapi.NOT_READY)
    def model(self, served: NamedDependency[Served]) -> ModelInfo:
        """Return the served model, its evaluation, and the newer model that was refused, with the reason."""
        predictor = served.predictor
        model = predictor.model
        return ModelInfo(
            version=predictor.version,
            target=model.target,
            step_seconds=model.step_seconds,
            energy=model.energy,
            trained_at=model.trained_at,
            training_size=model.training_size,
            metrics=model.metrics,
            interval_level=DEFAULT_LEVEL,
            interval_levels=list(model.intervals.levels),
            encoder_fingerprint=model.encoder_fingerprint,
            text_encoder=predictor.encoder.text,
            spec_hash_version=model.spec_hash_version,
            notes=list(model.notes),
            refused=served.refused,
        )

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

    @get("/", include_in_schema=False, sync_to_thread=False)
    def root(self) -> Redirect:
        """Redirect to the documentation."""
        return Redirect("/docs")


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
        try:
            page = ModelStore(settings.model_store).report(version)
        except Refused as error:
            raise NotFound(str(error)) from None
        return Response(content=page, media_type="text/html", headers=_REPORT_HEADERS)


def _predict_one(predictor: Predictor, body: bytes) -> Prediction:
    return predictor.predict([bodies.one_request(body)])[0]


def _predict_manifest(predictor: Predictor, body: bytes, options: Options) -> Prediction:
    return predictor.predict([bodies.one_manifest(body, options)])[0]


def _explain_one(predictor: Predictor, body: bytes) -> Explanation:
    return predictor.explain([bodies.one_request(body)])[0]


def _infer(body: bytes, options: Options) -> bytes:
    return msgspec.json.encode(bodies.manifests(body, options))


def _predict_batch(predictor: Predictor, body: bytes, media_type: str, options: Options) -> bytes:
    """Return the answer in JSON: of a large batch, encoding takes as long as the event loop can wait."""
    workloads = bodies.batch(body, media_type=media_type, options=options)
    predictions = predictor.predict(workloads.requests)
    answer = Batch(
        predictions=predictions,
        skipped=workloads.skipped,
        errors=[RowError(index=entry.index, detail=entry.detail) for entry in workloads.errors],
        total=predictor.total(
            predictions,
            repeated=workloads.repeated,
            errors=len(workloads.errors),
            unknown_kinds=workloads.unknown_kinds,
        ),
    )
    return msgspec.json.encode(answer)
