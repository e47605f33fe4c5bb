"""Answers of large batches as NDJSON: one line a row, written while the next rows are predicted, and a last one with
the total. A client knows by that line that the answer is whole.

The memory of an answer is that of its body, of one chunk of predictions, and of the numbers that the total needs.
"""

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from podpower.client.answers import Line, RowError
from podpower.model.predictor import Prediction, Predictor
from podpower.specs.documents import Rejected
from podpower.specs.requests import InferenceRequest
from podpower.specs.selection import Options, Repeats, Workloads, with_options
from podpower_serving import bodies
from podpower_serving.metrics import Metrics
from podpower_serving.worker_threads import WorkerThreads

NDJSON: Final = bodies.NDJSON
CHUNK_ROWS: Final = 256

_NO_TEXTS: Final[dict[str, Any]] = {  # of a prediction that is kept for the total, which reads numbers
    "namespace": "",
    "workload_name": "",
    "spec_hash": "",
    "evidence": "",
    "label_source": None,
    "notes": [],
}


def is_wanted(accept: str) -> bool:
    """Return True if an Accept header names NDJSON."""
    return any(part.split(";")[0].strip().lower() == NDJSON for part in accept.split(","))


async def answer(
    predictor: Predictor, body: bytes, media_type: str, options: Options, metrics: Metrics, *, threads: WorkerThreads
) -> AsyncIterator[bytes]:
    """Return the lines of an answer, a few at a time. Unreadable and InvalidInput as `bodies.batch`, at once."""
    rows = _Rows(predictor, metrics)
    if media_type == NDJSON:
        lines = await threads.part(lambda: bodies.lines(body, options.max_objects))
        return _written(rows.of_lines(lines, options), threads)
    workloads = await threads.part(lambda: bodies.batch(body, media_type=media_type, options=options))
    return _written(rows.of_workloads(workloads), threads)


async def _written(pieces: Iterator[bytes], threads: WorkerThreads) -> AsyncIterator[bytes]:
    """Yield pieces, each made in a worker thread."""
    while True:
        piece = await threads.part(lambda: next(pieces, None))
        if piece is None:
            return
        yield piece


class _Rows:
    """Predicts rows in chunks and sums them up."""

    def __init__(self, predictor: Predictor, metrics: Metrics) -> None:
        self._predictor, self._metrics = predictor, metrics
        self._kept: list[Prediction] = []

    def of_lines(self, lines: Sequence[bytes], options: Options) -> Iterator[bytes]:
        """Yield the answer to the rows of an NDJSON body, in their order."""
        repeats, errors = Repeats(set()), 0
        for first in range(0, len(lines), CHUNK_ROWS):
            rows = [bodies.row(first + place, line) for place, line in enumerate(lines[first : first + CHUNK_ROWS])]
            requests = [with_options(row, options) for row in rows if isinstance(row, InferenceRequest)]
            for place, request in enumerate(requests, start=len(self._kept)):
                repeats.note(place, request)
            errors += len(rows) - len(requests)
            predictions = iter(self._predicted(requests))
            yield _encoded(
                Line(error=RowError(index=row.index, detail=row.detail))
                if isinstance(row, Rejected)
                else Line(index=index, prediction=next(predictions))
                for index, row in enumerate(rows, start=first)
            )
        yield self._total(repeated=repeats.places, errors=errors)

    def of_workloads(self, workloads: Workloads) -> Iterator[bytes]:
        """Yield the answer to a JSON list or to manifests: predictions, then what was skipped, and errors."""
        for first in range(0, len(workloads.requests), CHUNK_ROWS):
            predictions = self._predicted(workloads.requests[first : first + CHUNK_ROWS])
            yield _encoded(Line(prediction=prediction) for prediction in predictions)
        yield _encoded(Line(skipped=skipped) for skipped in workloads.skipped)
        yield _encoded(Line(error=RowError(index=entry.index, detail=entry.detail)) for entry in workloads.errors)
        errors, unknown = len(workloads.errors), workloads.unknown_kinds
        yield self._total(repeated=workloads.repeated, errors=errors, unknown_kinds=unknown)

    def _predicted(self, requests: Sequence[InferenceRequest]) -> list[Prediction]:
        if not requests:
            return []
        predictions = self._predictor.predict(requests)
        self._metrics.predicted(predictions)
        self._kept += [msgspec.structs.replace(p, **_NO_TEXTS) for p in predictions]
        return predictions

    def _total(self, *, repeated: set[int], errors: int, unknown_kinds: int = 0) -> bytes:
        total = self._predictor.total(self._kept, repeated=repeated, errors=errors, unknown_kinds=unknown_kinds)
        return _encoded([Line(total=total)])


def _encoded(lines: Iterable[Line]) -> bytes:
    return b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
