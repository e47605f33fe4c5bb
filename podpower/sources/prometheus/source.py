"""Raw samples, names and series from the HTTP API of Prometheus.

A range selector in an instant query (`metric{...}[3600s]`) returns samples as they were scraped; /api/v1/query_range
would return values on a grid, up to five minutes old. Prometheus, Thanos, Mimir and VictoriaMetrics answer it alike.
Each query is split so that neither side has more than a bounded number of samples in memory, and in halves where the
server still refuses.
"""

import json
import math
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

import polars as pl

from podpower.errors import InvalidInput
from podpower.io.http import Response
from podpower.io.retries import REFUSED_S, Note, log_note
from podpower.sources.prometheus.decoding import Matrix, decode_names
from podpower.sources.prometheus.endpoint import Endpoint
from podpower.sources.prometheus.http import Http, NotHere
from podpower.sources.prometheus.limits import Budget, TooMuch
from podpower.sources.prometheus.names import SeriesNames
from podpower.sources.protocols import (
    POINTS_SCHEMA,
    SERIES_SCHEMA,
    MetricSamples,
    Selector,
    SeriesFound,
)

MAX_SAMPLES = 2_000_000  # of one query; Prometheus' own limit is 50 million
_SHORTEST_S = 60.0  # a shorter range is not split
_PROBE_S = 300.0
_SOME_SERIES = 20  # whose labels are looked at
_WARNINGS, _WARNING_LENGTH = 20, 300  # kept of the server's
_NAMES = ("kepler_.*", "kube_(pod|replicaset|job)_owner")
_MAX_NAMES_BYTES = 8 << 20  # Kepler and kube-state-metrics have some hundred names
_FEWER_NAMES = "this is not a Prometheus with Kepler: check the URL, or restrict it with --match"
_QUERY, _VALUES = "/api/v1/query", "/api/v1/label/__name__/values"
# With these, Thanos and VictoriaMetrics fail instead of leaving out what they cannot reach, and VictoriaMetrics
# includes the newest samples. Others ignore them.
_WHOLE = {"partial_response": "false", "deny_partial_response": "1", "latency_offset": "1ms", "nocache": "1"}


Span = tuple[Selector, float, float]


class Prometheus:
    """A MetricSource. `concurrency` bounds the queries at a time; waits before a retry are announced with `note`.

    Refused credentials of a file are read again for `refused_s`.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        cluster: str | None = None,
        concurrency: int = 2,
        note: Note = log_note,
        refused_s: float = REFUSED_S,
    ) -> None:
        """Raise InvalidInput for an endpoint whose files cannot be used; nothing is requested yet."""
        self.cluster = cluster
        self.endpoint = endpoint
        self._http = Http(endpoint, connections=concurrency, note=note, refused_s=refused_s)
        self._pool = ThreadPoolExecutor(max_workers=concurrency, thread_name_prefix="prometheus")
        self._series_names: dict[str, SeriesNames] = {}  # of each metric
        self._density: dict[str, float] = {}  # metric -> samples a second in the last answer
        self._probing = threading.Lock()  # so that of ranges requested at once one finds out

    def __enter__(self) -> "Prometheus":
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Wait for running queries and close the connections."""
        self._pool.shutdown(cancel_futures=True)
        self._http.close()

    def metric_names(self, *, start_s: float, end_s: float) -> frozenset[str]:
        """Return the metrics of Kepler and of owners in the range, which Prometheus widens to blocks of two hours."""
        match = self._matcher("__name__", "=~", "|".join(_NAMES))
        selector = "{" + ",".join((match, *self.endpoint.match)) + "}"
        parameters = {"match[]": selector, "start": f"{start_s:.3f}", "end": f"{end_s:.3f}"}
        try:
            return frozenset(self._http.request(_VALUES, parameters, lambda response: self._names(response, selector)))
        except NotHere:  # a proxy that lets only queries through
            span_s = math.ceil(end_s - start_s)
            query = f"group by (__name__) (last_over_time({selector}[{span_s}s]))"
            return frozenset(self._queried(query, ts=end_s, metric="").metrics)

    def instant(self, query: str, *, ts: float | None) -> list[tuple[Mapping[str, str | None], float]]:
        """Return the LABEL_COLUMNS and the value of each element of an instant vector at `ts` (None: now)."""
        matrix = self._queried(query, ts=ts, metric="")
        joined = matrix.points().join(matrix.series(), on="series_id")
        return [({c: row[c] for c in row if c not in POINTS_SCHEMA}, row["value"]) for row in joined.to_dicts()]

    def label_names(self, selector: Selector, *, ts: float) -> frozenset[str]:
        """Return the names of the labels that some series have at `ts`; none where there is no series."""
        query = f"topk({_SOME_SERIES}, {self._selector(selector)})"
        return frozenset(self._queried(query, ts=ts, metric=selector.metric).label_names)

    def matched(self, selector: Selector) -> str:
        """Return the PromQL selector of these series, within what the endpoint is restricted to."""
        return self._selector(selector)

    def samples(self, selectors: Sequence[Selector], *, start_s: float, end_s: float) -> MetricSamples:
        """Return the raw samples with start_s <= ts <= end_s."""
        reached_s = min(end_s, time.time())  # some servers refuse a time in the future
        wanted = selectors if reached_s > start_s else ()
        spans = [(selector, a, b) for selector in wanted for a, b in self._spans(selector, start_s, reached_s)]
        answers = list(self._pool.map(lambda span: self._raw(*span), spans))
        self._one_cluster(matrix for answer in answers for matrix in answer)
        found = [matrix for answer in answers for matrix in answer]
        points = [matrix.points() for matrix in found]
        series = [matrix.series() for matrix in found]
        return MetricSamples(
            series=pl.concat([*series, pl.DataFrame(schema=SERIES_SCHEMA)]).unique("series_id", maintain_order=True),
            points=_within(pl.concat([*points, pl.DataFrame(schema=POINTS_SCHEMA)]), start_s, end_s),
            warnings=_warnings_of(found),
            label_names=_label_names(spans, answers),
            partial_ranges=tuple(
                (a, b) for (_, a, b), answer in zip(spans, answers, strict=True) if any(m.partial for m in answer)
            ),
        )

    def series(self, selectors: Sequence[Selector], *, start_s: float, end_s: float) -> SeriesFound:
        """Return the series with any sample in [start_s, end_s]; one value of each is transferred."""
        span_ms = math.ceil((end_s - start_s) * 1000) + 1

        def ask(selector: Selector) -> Matrix:
            query = f"last_over_time({self._selector(selector)}[{span_ms}ms])"
            return self._queried(query, ts=end_s, metric=selector.metric)

        answers = list(self._pool.map(ask, selectors))
        self._one_cluster(answers)
        tables = [matrix.series() for matrix in answers]
        return SeriesFound(
            table=pl.concat([*tables, pl.DataFrame(schema=SERIES_SCHEMA)]), warnings=_warnings_of(answers)
        )

    def _spans(self, selector: Selector, start_s: float, end_s: float) -> Iterator[tuple[float, float]]:
        """Yield pieces of the range with about MAX_SAMPLES samples each."""
        with self._probing:
            density = self._density.get(selector.metric) or self._probed(selector, end_s)
            self._density[selector.metric] = density
        length_s = max(_SHORTEST_S, MAX_SAMPLES / density) if density else math.inf
        count = max(1, math.ceil((end_s - start_s) / length_s))
        for number in range(count):
            span_s = (end_s - start_s) / count
            yield start_s + number * span_s, start_s + (number + 1) * span_s

    def _probed(self, selector: Selector, end_s: float) -> float:
        """Return the samples a second shortly before the end of the range; 0 where there are none."""
        query = f"sum(count_over_time({self._selector(selector)}[{_PROBE_S:g}s]))"
        counted = self._queried(query, ts=min(end_s, time.time()), metric="").points()
        return float(counted["value"].sum()) / _PROBE_S

    def _raw(self, selector: Selector, start_s: float, end_s: float) -> list[Matrix]:
        """Return answers that cover the range and a millisecond before it: Prometheus 3 leaves out the left edge."""
        span_ms = math.ceil((end_s - start_s) * 1000) + 1
        try:
            matrix = self._queried(f"{self._selector(selector)}[{span_ms}ms]", ts=end_s, metric=selector.metric)
        except TooMuch:
            if end_s - start_s < 2 * _SHORTEST_S:
                raise
            middle_s = (start_s + end_s) / 2
            return self._raw(selector, start_s, middle_s) + self._raw(selector, middle_s, end_s)
        self._density[selector.metric] = matrix.values / max(end_s - start_s, 1.0)
        return [matrix]

    def _queried(self, query: str, *, ts: float | None, metric: str) -> Matrix:
        def take(response: Response) -> Matrix:
            limits = self.endpoint
            matrix = Matrix(
                self._series_names.setdefault(metric, SeriesNames(metric=metric)),
                Budget(query=query, max_bytes=limits.max_answer_bytes, max_series=limits.max_series),
            )
            for chunk in response.iter_bytes():
                matrix.feed(chunk)
            matrix.finish()
            return matrix

        at = {} if ts is None else {"time": f"{ts:.3f}"}
        return self._http.request(_QUERY, {"query": query, **at, **_WHOLE}, take)

    def _names(self, response: Response, selector: str) -> list[str]:
        budget = Budget(
            query=f"{_VALUES}?match[]={selector}",
            max_bytes=min(_MAX_NAMES_BYTES, self.endpoint.max_answer_bytes),
            max_series=self.endpoint.max_series,
            fix=_FEWER_NAMES,
        )
        body = bytearray()
        for chunk in response.iter_bytes():
            budget.take_bytes(len(chunk))
            body += chunk
        return decode_names(bytes(body))

    def _selector(self, selector: Selector) -> str:
        matchers = [
            self._matcher(label, "=~", "|".join((*values, ""))) for label, values in sorted(selector.labels.items())
        ]
        return selector.metric + "{" + ",".join((*matchers, *self.endpoint.match)) + "}"

    @staticmethod
    def _matcher(label: str, operator: str, value: str) -> str:
        return f"{label}{operator}{json.dumps(value)}"

    def _one_cluster(self, answers: Sequence[Matrix] | Iterator[Matrix]) -> None:
        clusters = sorted(set().union(*(matrix.clusters for matrix in answers)))
        if len(clusters) > 1:
            named = ", ".join(c or "none" for c in clusters[:5])
            raise InvalidInput(
                f"{self.endpoint.url} has series of several clusters (label cluster: {named}), whose pods may share "
                f"names: choose one, e.g. --match 'cluster=\"{clusters[-1]}\"'"
            )


def _within(points: pl.DataFrame, start_s: float, end_s: float) -> pl.DataFrame:
    """Return the samples of a range; most often all, and then no copy of them."""
    within = points.select(pl.col("ts").is_between(start_s, end_s)).to_series()
    return points if within.all() else points.filter(within)


def _warnings_of(answers: Sequence[Matrix]) -> tuple[str, ...]:
    found = dict.fromkeys(f"Prometheus: {w[:_WARNING_LENGTH]}" for matrix in answers for w in matrix.warnings)
    return tuple(found)[:_WARNINGS]


def _label_names(spans: Sequence[Span], answers: Sequence[list[Matrix]]) -> dict[str, frozenset[str]]:
    """Return the names of the labels of each metric's series."""
    names: dict[str, set[str]] = {}
    for (selector, _, _), answer in zip(spans, answers, strict=True):
        names.setdefault(selector.metric, set()).update(*(matrix.label_names for matrix in answer))
    return {metric: frozenset(found) for metric, found in names.items()}
