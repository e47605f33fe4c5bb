"""Predict single requests that arrive at the same time in one call: most of its cost does not depend on its rows.

A batch holds what the event loop reads until a turn brings no further request: reading them first is work that is done
anyway, and nobody waits for requests that have not arrived. A prediction has the same bits in any batch.
"""

import asyncio
import logging
from typing import Final

from podpower.model.predictor import Prediction, Predictor
from podpower.specs.requests import InferenceRequest
from podpower_serving.metrics import Metrics

MAX_ROWS: Final = 64  # predicted before the event loop reads on: some milliseconds

_log = logging.getLogger("podpower.serving")

_Waiting = tuple[Predictor, InferenceRequest, "asyncio.Future[Prediction]"]


class Batcher:
    """Predicts on the event loop. One for each loop."""

    def __init__(self, metrics: Metrics | None = None) -> None:
        self._metrics = metrics or Metrics()
        self._waiting: list[_Waiting] = []

    async def predict(self, predictor: Predictor, request: InferenceRequest) -> Prediction:
        """Return the prediction of one request, made together with those of others."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._collect, 0)
        future: asyncio.Future[Prediction] = loop.create_future()
        self._waiting.append((predictor, request, future))
        return await future

    def _collect(self, before: int) -> None:
        """Predict when the last turn of the event loop brought no request, or enough of them are there."""
        found = len(self._waiting)
        if before < found < MAX_ROWS:
            asyncio.get_running_loop().call_soon(self._collect, found)
        else:
            self._flush()

    def _flush(self) -> None:
        batch, self._waiting = self._waiting[:MAX_ROWS], self._waiting[MAX_ROWS:]
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        by_predictor: dict[Predictor, list[_Waiting]] = {}  # two of them while a model is replaced
        for waiting in batch:
            by_predictor.setdefault(waiting[0], []).append(waiting)
        for predictor, part in by_predictor.items():
            _predict(predictor, part, self._metrics)


def _predict(predictor: Predictor, part: list[_Waiting], metrics: Metrics) -> None:
    try:
        predictions = predictor.predict([request for _, request, _ in part])
    except Exception as error:  # whatever it is, it concerns one request: the others are predicted without it
        if len(part) == 1:
            future = part[0][2]
            if not future.done():
                future.set_exception(error)
            return
        _log.warning("a batch of %d requests failed (%r): each is predicted by itself", len(part), error)
        for waiting in part:
            _predict(predictor, [waiting], metrics)
        return
    metrics.predicted(predictions)
    for (_, _, future), prediction in zip(part, predictions, strict=True):
        if not future.done():  # a client that went away cancels it
            future.set_result(prediction)
