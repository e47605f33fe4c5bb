"""Bodies of many rows, such as those of `/predict/batch`, read and predicted a part at a time.

What a part needs is forgotten before the next one: few objects live at a time, which a garbage collection would look at
and the end of a batch would free, either in one go while nobody else has Python's lock.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from podpower.client.answers import Batch, RowError
from podpower.impact.assessment import Assessing, Inputs
from podpower.model.predictor import Prediction, Predictor, Total
from podpower.specs.documents import Rejected
from podpower.specs.requests import InferenceRequest
from podpower.specs.selection import Options, Repeats, Workloads, with_options
from podpower_serving import bodies
from podpower_serving.encoding import encoded_batch, encoded_rows
from podpower_serving.metrics import BATCH_ROWS, Metrics

PART_ROWS: Final = 256

Row = InferenceRequest | Rejected


class Rows:
    """The rows of a body. `workloads` has what is no request: all of it when the last part was read."""

    def __init__(self, body: bytes, *, media_type: str, options: Options) -> None:
        """Unreadable when nothing can be read, InvalidInput when the body is too long or holds no workloads."""
        self._options = options
        self._texts: Sequence[msgspec.Raw | bytes] = ()
        self.workloads = Workloads()
        found = bodies.rows_in(body, media_type=media_type, options=options)
        if isinstance(found, Workloads):
            self.workloads = found
        else:
            self._texts = found

    def parts(self) -> Iterator[list[Row]]:
        """Yield the rows in their order, PART_ROWS at a time. Those of a list or of lines are read now, and a broken
        one is yielded as such.
        """
        requests = self.workloads.requests
        requests.reverse()
        while requests:
            part: list[Row] = [*reversed(requests[-PART_ROWS:])]
            del requests[-PART_ROWS:]
            yield part
        yield from self._read()

    def _read(self) -> Iterator[list[Row]]:
        repeats, place = Repeats(self.workloads.repeated), 0
        for start in range(0, len(self._texts), PART_ROWS):
            part: list[Row] = []
            for index, text in enumerate(self._texts[start : start + PART_ROWS], start=start):
                row = bodies.row(index, text)
                if isinstance(row, Rejected):
                    self.workloads.errors.append(row)
                else:
                    row = with_options(row, self._options)
                    repeats.note(place, row)
                    place += 1
                part.append(row)
            yield part

    @property
    def errors(self) -> list[RowError]:
        """The errors as they are answered."""
        return [RowError(index=entry.index, detail=entry.detail) for entry in self.workloads.errors]


class Predicting:
    """Predicts the rows of a batch part by part, and adds them up."""

    def __init__(self, predictor: Predictor, metrics: Metrics, inputs: Inputs) -> None:
        self._metrics, self._assessing = metrics, Assessing(predictor, inputs)

    def predict(self, part: Sequence[Row]) -> Sequence[Prediction]:
        """Return the predictions of the requests among these rows."""
        requests = [row for row in part if isinstance(row, InferenceRequest)]
        predictions = self._assessing.predict(self._assessing.requests(requests)) if requests else []
        self._metrics.predicted_part(predictions)
        return predictions

    def total(self, workloads: Workloads) -> Total:
        """Return the sums of all predictions."""
        self._metrics.observe(BATCH_ROWS, len(self._assessing))
        return self._assessing.total(
            repeated=workloads.repeated, errors=len(workloads.errors), unknown_kinds=workloads.unknown_kinds
        )


def answer(
    predictor: Predictor, metrics: Metrics, body: bytes, *, media_type: str, options: Options, inputs: Inputs
) -> bytes:
    """Return a `Batch` in JSON. Unreadable and InvalidInput as `Rows`."""
    rows, predicting = Rows(body, media_type=media_type, options=options), Predicting(predictor, metrics, inputs)
    parts = [encoded_rows(predicting.predict(part)) for part in rows.parts()]
    total = predicting.total(rows.workloads)
    rest = Batch(
        predictions=[], skipped=rows.workloads.skipped, errors=rows.errors, total=total, inputs=inputs.described()
    )
    return encoded_batch(parts, rest)
