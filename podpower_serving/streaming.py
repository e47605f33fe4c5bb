"""Answers of large batches as NDJSON: one line a row, written while the next rows are predicted, and a last one with
the total. A client knows by that line that the answer is whole.

The memory of an answer is that of its body, of one part of the predictions, and of the numbers that the total needs.
"""

from collections.abc import AsyncIterator, Iterable, Iterator

import msgspec

from podpower.client.answers import Line, RowError
from podpower.impact.assessment import Inputs
from podpower.model.predictor import Predictor
from podpower.specs.documents import Rejected
from podpower.specs.selection import Options
from podpower_serving import bodies
from podpower_serving.batch_bodies import Predicting, Rows
from podpower_serving.metrics import Metrics
from podpower_serving.worker_threads import WorkerThreads


def is_wanted(accept: str) -> bool:
    """Return True if an Accept header names NDJSON."""
    return any(part.split(";")[0].strip().lower() == bodies.NDJSON for part in accept.split(","))


async def answer(
    predictor: Predictor, body: bytes, media_type: str, options: Options, metrics: Metrics, *, threads: WorkerThreads
) -> AsyncIterator[bytes]:
    """Return the lines of an answer, a few at a time. Unreadable and InvalidInput as `bodies.batch`, at once."""
    rows = await threads.part(lambda: Rows(body, media_type=media_type, options=options))
    predicting = Predicting(predictor, metrics, Inputs())
    return _written(_pieces(rows, predicting, numbered=media_type == bodies.NDJSON), threads)


async def _written(pieces: Iterator[bytes], threads: WorkerThreads) -> AsyncIterator[bytes]:
    """Yield pieces, each made in a worker thread."""
    while True:
        piece = await threads.part(lambda: next(pieces, None))
        if piece is None:
            return
        yield piece


def _pieces(rows: Rows, predicting: Predicting, *, numbered: bool) -> Iterator[bytes]:
    """Yield the answer to a body. Lines are answered in their order, each with its number, errors in their places; a
    list or manifests by predictions, then what was skipped, and errors.
    """
    start = 0
    for part in rows.parts():
        predictions = iter(predicting.predict(part))
        if numbered:
            yield _encoded(
                Line(error=RowError(index=row.index, detail=row.detail))
                if isinstance(row, Rejected)
                else Line(index=index, prediction=next(predictions))
                for index, row in enumerate(part, start=start)
            )
        else:
            yield _encoded(Line(prediction=prediction) for prediction in predictions)
        start += len(part)
    if not numbered:
        yield _encoded(Line(skipped=skipped) for skipped in rows.workloads.skipped)
        yield _encoded(Line(error=error) for error in rows.errors)
    yield _encoded([Line(total=predicting.total(rows.workloads))])


def _encoded(lines: Iterable[Line]) -> bytes:
    return b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
