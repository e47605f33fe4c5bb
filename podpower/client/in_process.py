"""`podpower.Predictor`: predictions in the calling process, by the newest model of a store."""

import threading
import time
from collections.abc import Iterable, Sequence
from typing import Unpack

from podpower import service_settings, settings
from podpower.client.answers import Batch, DifferenceAnswer, RowError, difference_answer
from podpower.client.workloads import (
    BatchOptions,
    ManifestOptions,
    Manifests,
    Workload,
    is_manifests,
    is_object,
    json_of,
    one_form,
    query_of,
    text_of,
)
from podpower.difference.changes import difference
from podpower.errors import InvalidInput, Unavailable
from podpower.impact.assessment import assess
from podpower.impact.parameters import inputs_from
from podpower.model import predictor as models
from podpower.model.predictor import Explanation, Prediction
from podpower.registry.description import ModelInfo, model_info
from podpower.registry.newest import NewestModel, source_of
from podpower.specs.documents import Rejected
from podpower.specs.manifests import read_manifests
from podpower.specs.ndjson import decode_request
from podpower.specs.requests import InferenceRequest
from podpower.specs.selection import Options, Workloads

_SOURCE = "input"


class Predictor:
    """Predicts as the service does, with the same types and the same bits. Threads may share it.

    It looks for a newer model at a call, at most every `reload_seconds`; one thread loads it while the others predict
    with the current one. A model that cannot be used changes nothing (`model().refused`).
    """

    def __init__(
        self,
        store: str | None = None,
        *,
        encoder_path: str | None = None,
        model_path: str | None = None,
        reload_seconds: float = service_settings.RELOAD_SECONDS,
    ) -> None:
        """`store` is the path or URL of a model store, PODPOWER_MODEL_STORE by default; `encoder_path` and `model_path`
        are two artifacts in its place. InvalidInput when only one of them is given, Unavailable without a model.
        """
        places = settings.read().places
        if (encoder_path is None) != (model_path is None):
            raise InvalidInput("give encoder_path and model_path, or neither to predict from a store")
        if store is None and encoder_path is None:
            encoder_path, model_path = places.artifacts or (None, None)
        source = source_of(encoder_path=encoder_path, model_path=model_path, model_store=store or places.model_store)
        self._newest, self._reload_seconds = NewestModel(source), reload_seconds
        self._loading, self._looked_at = threading.Lock(), time.monotonic()
        self._newest.refresh()
        try:
            self._current()
        except Unavailable as error:
            raise Unavailable(f"{encoder_path or store or places.model_store}: {error}") from None

    def predict(self, workload: Workload) -> Prediction:
        """Predict one workload: an InferenceRequest, its JSON, or an object of Kubernetes."""
        return self._current().predict([_one(workload)])[0]

    def predict_batch(self, workloads: Iterable[Workload] | Manifests, **options: Unpack[BatchOptions]) -> Batch:
        """Predict many workloads, or those of manifests. A bad row is in `errors` and fails no other."""
        inputs = inputs_from(query_of(options))
        found = assess(self._current(), _many(workloads, _read(options)), inputs)
        return Batch(
            predictions=list(found.predictions),
            skipped=list(found.skipped),
            errors=[RowError(index=entry.index, detail=entry.detail) for entry in found.errors],
            total=found.total,
            inputs=inputs.described(),
        )

    def diff(
        self,
        old: Iterable[Workload] | Manifests,
        new: Iterable[Workload] | Manifests,
        **options: Unpack[BatchOptions],
    ) -> DifferenceAnswer:
        """Predict what a change from `old` to `new` draws more or less."""
        inputs, predictor = inputs_from(query_of(options)), self._current()
        before, after = (assess(predictor, _many(side, _read(options)), inputs) for side in (old, new))
        found = difference(predictor, before, after)
        return difference_answer(found, old=before.errors, new=after.errors, inputs=inputs)

    def from_yaml(self, manifest: Manifests, **options: Unpack[ManifestOptions]) -> Prediction:
        """Predict the only workload of a manifest."""
        return self._current().predict([_only(self.infer(manifest, **options))])[0]

    def infer(self, manifests: Manifests, **options: Unpack[ManifestOptions]) -> list[InferenceRequest]:
        """Convert manifests to InferenceRequests."""
        return _requests(text_of(manifests), Options(**options))

    def explain(self, workload: Workload) -> Explanation:
        """Predict one workload and list the measured workloads that the prediction rests on."""
        return self._current().explain([_one(workload)])[0]

    def model(self) -> ModelInfo:
        """Describe the model in use."""
        return model_info(self._current(), refused=self._newest.refused)

    def _current(self) -> models.Predictor:
        due = time.monotonic() - self._looked_at >= self._reload_seconds
        if due and self._loading.acquire(blocking=False):
            try:
                self._newest.refresh()
            finally:
                self._looked_at = time.monotonic()
                self._loading.release()
        return self._newest.predictor


def _one(workload: Workload) -> InferenceRequest:
    if is_object(workload):
        return _only(_requests(json_of(workload), Options()))
    return decode_request(json_of(workload))


def _read(options: BatchOptions) -> Options:
    return Options(
        nodes=options.get("nodes"),
        lenient=options.get("lenient", False),
        cluster=options.get("cluster"),
        node_type=options.get("node_type"),
    )


def _many(workloads: Iterable[Workload] | Manifests, options: Options) -> Workloads:
    if is_manifests(workloads):
        return read_manifests(text_of(workloads), source=_SOURCE, options=options)
    rows, are_objects = one_form(workloads)  # type: ignore[arg-type]  # a TypeGuard narrows one way
    if are_objects:
        return read_manifests(json_of(rows), source=_SOURCE, options=options)
    found = Workloads()
    found.add((_row(index, row) for index, row in enumerate(rows)), options)
    return found


def _row(index: int, row: Workload) -> InferenceRequest | Rejected:
    try:
        return decode_request(json_of(row))
    except InvalidInput as error:
        return Rejected(source=_SOURCE, index=index, detail=str(error))


def _requests(manifests: bytes, options: Options) -> list[InferenceRequest]:
    found = read_manifests(manifests, source=_SOURCE, options=options)
    if found.errors:
        raise InvalidInput(found.errors[0].detail)
    if not found.requests:
        reason = f" ({found.skipped[0].reason})" if found.skipped else ""
        raise InvalidInput(f"no workload in the manifest{reason}")
    return found.requests


def _only(requests: Sequence[InferenceRequest]) -> InferenceRequest:
    if len(requests) > 1:
        raise InvalidInput(f"{len(requests)} workloads, and this takes one: give them to predict_batch")
    return requests[0]
