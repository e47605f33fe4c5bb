"""Answers of /api/v1/query, decoded while they arrive: complete series become columns, so no answer is in memory whole.

An answer reads `{"status":"success","data":{"resultType":"matrix","result":[{"metric":{...},"values":[[ts,"v"],...]},
...]},"warnings":[...]}`. Series are separated at `},{"metric":`, which no text inside JSON can hold: a quote in it is
escaped. An answer that is written otherwise is decoded when it has come to its end.
"""

from collections.abc import Iterable, Iterator
from typing import TypeVar

import msgspec
import numpy as np
import polars as pl

from podpower.errors import InvalidInput, Unavailable
from podpower.sources.prometheus.limits import Budget
from podpower.sources.prometheus.names import Named, SeriesNames
from podpower.sources.protocols import POINTS_SCHEMA

E = TypeVar("E", bound="_Envelope")

_BETWEEN, _FIRST = b'},{"metric":', b'"result":['
_BEGIN, _END, _NONE = b'{"metric":', b"}", b"[]"
# Between labels and samples, which no text inside JSON can hold, and after samples that nothing follows.
_VALUES_BEGIN, _VALUES_END = b'},"values":[[', b"]]"
_BATCH_BYTES = 1 << 20
_NO_PAIR = "the answer of Prometheus cannot be read: a sample is no pair of time and value"
_AROUND_NUMBERS = b'[]" \t\r\n'
_RETRIED_TYPES = frozenset({"timeout", "canceled", "unavailable", "internal"})


class _Series(msgspec.Struct):
    metric: msgspec.Raw = msgspec.Raw(b"{}")
    values: msgspec.Raw = msgspec.Raw(b"[]")
    value: msgspec.Raw = msgspec.Raw(b"[]")


class _Data(msgspec.Struct):
    result: list[_Series] | None = None


class _Envelope(msgspec.Struct, rename={"error_type": "errorType", "is_partial": "isPartial"}, kw_only=True):
    status: str
    error_type: str = ""
    error: str = ""
    warnings: list[str] = []
    infos: list[str] = []
    is_partial: bool = False


class _Answer(_Envelope):
    data: _Data | None = None


class _Values(_Envelope):
    data: list[str] = []


_SERIES = msgspec.json.Decoder(list[_Series])
_ANSWER = msgspec.json.Decoder(_Answer)
_VALUES = msgspec.json.Decoder(_Values)


class Matrix:
    """Takes in the chunks of one answer. `finish` checks that it came to its end; then `series` and `points`.

    `budget` bounds its bytes and series; `names` remembers labels from one answer to the next.
    """

    def __init__(self, names: SeriesNames, budget: Budget) -> None:
        self._labels, self._budget = names, budget
        self._buffer = bytearray()
        self._look_at = _BATCH_BYTES  # how long the buffer gets before it is looked through
        self._head: bytes | None = None  # what stands before the first series, once that is known
        self._rows: dict[int, tuple[str | None, ...]] = {}  # series -> its LABEL_COLUMNS
        self._points: list[pl.DataFrame] = []  # of each batch
        self.clusters: set[str] = set()  # values of the label `cluster`
        self.label_names: set[str] = set()  # of any series
        self.metrics: set[str] = set()  # values of `__name__`
        self.warnings: tuple[str, ...] = ()
        self.partial = False

    def feed(self, chunk: bytes) -> None:
        """Take in the next bytes. Unavailable or InvalidInput when they are no such answer, or beyond the budget."""
        self._budget.take_bytes(len(chunk))
        self._buffer += chunk
        if len(self._buffer) >= self._look_at:
            self._take()
            self._look_at = max(_BATCH_BYTES, 2 * len(self._buffer))

    def finish(self) -> None:
        """Finish after the last byte. Unavailable for a cut answer or a passing error, else InvalidInput."""
        whole = bytes((self._head or b"") + self._buffer)
        self._buffer.clear()
        answer = decode_answer(whole)
        self._add(_texts(answer.data.result or [] if answer.data else []))
        self.warnings = (*answer.warnings, *answer.infos)
        self.partial = answer.is_partial or any(not w.startswith("PromQL ") for w in answer.warnings)

    @property
    def values(self) -> int:
        """Number of samples received."""
        return sum(map(len, self._points))

    def series(self) -> pl.DataFrame:
        """Return SERIES_SCHEMA of what came."""
        return self._labels.table(self._rows)

    def points(self) -> pl.DataFrame:
        """Return POINTS_SCHEMA of what came; what is no number is NaN."""
        return pl.concat([pl.DataFrame(schema=POINTS_SCHEMA), *self._points])

    def _take(self) -> None:
        """Decode every series that is complete."""
        if self._head is None:
            first = self._buffer.find(_FIRST)
            if first < 0:
                return
            self._head = bytes(self._buffer[: first + len(_FIRST)])
            del self._buffer[: first + len(_FIRST)]
        last = self._buffer.rfind(_BETWEEN)
        if last < 0:
            return
        with memoryview(self._buffer) as buffer:  # so that it is copied once
            complete = bytes(buffer[: last + 1])
        del self._buffer[: last + 2]
        self._add(_cut(complete) or _decoded_series(complete))

    def _keep(self, named: Named) -> None:
        self._budget.take_series(1)
        self._rows[named.number] = named.row
        self.clusters.add(named.cluster)
        self.metrics.add(named.metric)
        if not named.names <= self.label_names:
            self.label_names |= named.names

    def _add(self, series: Iterable[tuple[bytes, bytes]]) -> None:
        """Add series by the texts of their labels and of their samples."""
        ids, counts, texts = [], [], []
        for labels, text in series:
            named = self._labels.read(labels)
            if text == _NONE:
                continue
            commas = text.count(b",")
            if not commas % 2:
                raise InvalidInput(_NO_PAIR)
            if named.number not in self._rows:
                self._keep(named)
            ids.append(named.number)
            counts.append((commas + 1) // 2)
            texts.append(text)
        if not texts:
            return
        numbers = _numbers(texts)
        if len(numbers) != 2 * sum(counts) or numbers.null_count():
            raise InvalidInput(_NO_PAIR)
        of_series = np.repeat(np.array(ids, dtype=np.uint64), counts)
        columns = zip(POINTS_SCHEMA, (of_series, numbers.gather_every(2), numbers.gather_every(2, 1)), strict=True)
        self._points.append(pl.DataFrame(dict(columns), schema=POINTS_SCHEMA))


def _cut(series: bytes) -> list[tuple[bytes, bytes]] | None:
    """Return the texts of labels and of samples in the texts of series, None where they are not written as Prometheus
    writes them. Other threads wait for it a part of the time that they wait while series are decoded.
    """
    if not (series.startswith(_BEGIN) and series.endswith(_END)):
        return None
    found = []
    for one in series[len(_BEGIN) : -len(_END)].split(_BETWEEN):
        labels, begun, samples = one.partition(_VALUES_BEGIN)
        if begun and samples.find(_VALUES_END) == len(samples) - len(_VALUES_END):
            found.append((labels + _END, samples))
        else:
            return None
    return found


def _decoded_series(series: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Return what `_cut` returns, however it is written. InvalidInput where it is no such text."""
    try:
        return _texts(_SERIES.decode(b"[" + series + b"]"))
    except ValueError as error:
        raise InvalidInput(f"the answer of Prometheus cannot be read: {error}") from None


def _texts(series: Iterable[_Series]) -> Iterator[tuple[bytes, bytes]]:
    for one in series:
        values = bytes(one.values)
        yield bytes(one.metric), bytes(one.value) if values == _NONE else values


def decode_answer(data: bytes) -> _Answer:
    """Return an answer as a whole. Errors as `Matrix.finish`."""
    return _decoded(data, _ANSWER)


def decode_names(data: bytes) -> list[str]:
    """Return an answer of /api/v1/label/.../values. Errors as `Matrix.finish`."""
    return _decoded(data, _VALUES).data


def _decoded(data: bytes, decoder: "msgspec.json.Decoder[E]") -> E:
    try:
        answer = decoder.decode(data)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"this does not answer as Prometheus does: {error}") from None
    except ValueError:
        start = data[:1000].lstrip().lower()
        if start.startswith((b"<!doctype", b"<html", b"<")):
            raise InvalidInput(
                "a web page came in place of an answer, perhaps to log in: check the URL and the credentials"
            ) from None
        if start.startswith(b"{"):
            raise Unavailable("the answer of Prometheus was cut short") from None
        raise InvalidInput("what answers is no Prometheus: check the URL") from None
    if answer.status != "success":
        message = f"Prometheus answers {answer.error_type or 'error'}: {answer.error or 'nothing more'}"
        raise (Unavailable if answer.error_type in _RETRIED_TYPES else InvalidInput)(message)
    return answer


def _numbers(texts: list[bytes]) -> pl.Series:
    """Return times and values, by turns, of `[[ts,"v"],...]` or `[ts,"v"]` one after another."""
    # By polars, which holds up no other threads meanwhile.
    numbers = b",".join(texts).translate(None, _AROUND_NUMBERS)
    try:
        return pl.Series([numbers.decode()]).str.split(",").explode().cast(pl.Float64)
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        reason = str(error).partition("\n")[0]
        raise InvalidInput(f"the answer of Prometheus cannot be read: {reason}") from None
