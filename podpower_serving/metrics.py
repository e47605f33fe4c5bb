"""Metrics of the service, summed over its workers, in the format of Prometheus.

The number of series is bounded: routes are templates and never paths, and beyond the `most` label sets of a family
further ones count as "other".
"""

import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import CollectorRegistry

from podpower_serving.shared_counts import Head, SharedCounts, Slot

if TYPE_CHECKING:
    from podpower.model.predictor import Prediction  # which the process that starts workers does not load

OTHER: Final = "other"
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@dataclass(frozen=True, kw_only=True, eq=False)  # compared as the constants that they are
class Family:
    """A metric: its name, type, meaning, labels, and the upper ends of a histogram's buckets. Gauges are summed over
    the workers.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    most: int = 500


REQUESTS: Final = Family(
    name="podpower_http_requests_total",
    kind="counter",
    meaning="Answered requests; status 499: the client went away.",
    labels=("route", "method", "status"),
)
DURATION: Final = Family(
    name="podpower_http_request_duration_seconds",
    kind="histogram",
    meaning="Time from the headers of a request to the end of its answer.",
    labels=("route",),
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
    most=60,
)
REFUSED_REQUESTS: Final = Family(
    name="podpower_http_refused_total",
    kind="counter",
    meaning="Requests refused before they were read: too late, too large, or beyond the limit of connections.",
    labels=("status",),
)
CONNECTIONS: Final = Family(name="podpower_http_connections", kind="gauge", meaning="Open connections.")
BATCH_ROWS: Final = Family(
    name="podpower_batch_rows",
    kind="histogram",
    meaning="Workloads predicted in one call: concurrent requests, or those of a batch.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 256, 1000, 4000, 10_000),
)
PREDICTIONS: Final = Family(
    name="podpower_predictions_total",
    kind="counter",
    meaning="Predictions by their basis: seen, similar or prior.",
    labels=("basis",),
)
RELOADS: Final = Family(
    name="podpower_model_reloads_total", kind="counter", meaning="Models that workers loaded, the first included."
)
REFUSED: Final = Family(
    name="podpower_model_refused_total", kind="counter", meaning="Models that workers refused to serve."
)
KEY_FAILURES: Final = Family(
    name="podpower_api_keys_failures_total",
    kind="counter",
    meaning="Readings of a changed file of API keys that failed; the keys of before stay.",
)
WORKERS_STARTED: Final = Family(
    name="podpower_workers_started_total", kind="counter", meaning="Worker processes that were started."
)
ADMISSION_REQUESTS: Final = Family(
    name="podpower_admission_requests_total",
    kind="counter",
    meaning="Admission reviews by their outcome.",
    labels=("outcome",),
)
ADMISSION_OVER_BUDGET: Final = Family(
    name="podpower_admission_over_budget_total",
    kind="counter",
    meaning="Admitted or denied objects that exceed the budget of their namespace.",
    labels=("namespace",),
)
FAMILIES: Final = (
    REQUESTS,
    DURATION,
    REFUSED_REQUESTS,
    CONNECTIONS,
    BATCH_ROWS,
    PREDICTIONS,
    RELOADS,
    REFUSED,
    KEY_FAILURES,
    WORKERS_STARTED,
    ADMISSION_REQUESTS,
    ADMISSION_OVER_BUDGET,
)
# Made for each scrape from what the answering worker serves.
MODEL_INFO: Final = Family(
    name="podpower_model_info", kind="gauge", meaning="1 for the served version.", labels=("version",)
)
MODEL_AGE: Final = Family(
    name="podpower_model_age_seconds", kind="gauge", meaning="Seconds since the served model was trained."
)
NEWER_REFUSED: Final = Family(
    name="podpower_newer_model_refused",
    kind="gauge",
    meaning="1 while a newer model, or the whole store, cannot be used: GET /model has the reason.",
)
API_KEYS: Final = Family(name="podpower_api_keys", kind="gauge", meaning="API keys that are accepted.")
AT_SCRAPE: Final = (MODEL_INFO, MODEL_AGE, NEWER_REFUSED, API_KEYS)


class Metrics:
    """Counts of one worker, and the sums of all. Safe to use from any thread."""

    def __init__(self, counts: SharedCounts | None = None, *, worker: int = 0) -> None:
        """`counts` is shared with the other workers; without it, there is one."""
        self._counts = counts or SharedCounts(1)
        self._slot: Slot = self._counts.slot(worker)
        self.head = self._slot.head
        self.other_heads: list[Head] = [head for number, head in enumerate(self._counts.heads) if number != worker]
        self.head.connections = self.head.opening = 0  # of a worker that died
        self._lock = threading.Lock()
        self._places: dict[tuple[Family, tuple[str, ...]], int | None] = {}
        self._answered: dict[tuple[str, str, int], tuple[int | None, int | None]] = {}
        self._label_sets: dict[Family, int] = {}
        for family in FAMILIES:
            if not family.labels:
                place = self._place(family, ())
                if family.kind == "gauge" and place is not None:
                    self._slot.values[place] = 0.0  # of a worker that died

    def beat(self) -> None:
        """Show the process that started this worker that its event loop runs."""
        self.head.beat()

    def add(self, family: Family, *labels: str, by: float = 1.0) -> None:
        """Add to a counter."""
        with self._lock:
            place = self._place(family, labels)
            if place is not None:
                self._slot.values[place] += by

    def set(self, family: Family, value: float, *labels: str) -> None:
        """Set this worker's part of a gauge."""
        with self._lock:
            place = self._place(family, labels)
            if place is not None:
                self._slot.values[place] = value

    def connections(self, number: int) -> None:
        """Show how many connections of this worker are open."""
        self.set(CONNECTIONS, number)
        self.head.connections = number

    def observe(self, family: Family, value: float, *labels: str) -> None:
        """Add a value to a histogram."""
        with self._lock:
            self._observe(family, self._place(family, labels), value)

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count an answered request of a route, which is a template, and its duration."""
        with self._lock:
            places = self._answered.get((route, method, status))
            if places is None:
                known = method if method in _METHODS else OTHER
                places = (self._place(REQUESTS, (route, known, str(status))), self._place(DURATION, (route,)))
                if known == method:
                    self._answered[route, method, status] = places
            if places[0] is not None:
                self._slot.values[places[0]] += 1.0
            self._observe(DURATION, places[1], seconds)

    def predicted(self, predictions: Sequence["Prediction"]) -> None:
        """Count the predictions of one call."""
        self.observe(BATCH_ROWS, len(predictions))
        self.predicted_part(predictions)

    def predicted_part(self, predictions: Sequence["Prediction"]) -> None:
        """Count a part of the predictions of a call, whose number is observed at its end."""
        bases: dict[str, int] = {}
        for prediction in predictions:
            bases[prediction.basis] = bases.get(prediction.basis, 0) + 1
        for basis, number in bases.items():
            self.add(PREDICTIONS, basis, by=number)

    def _observe(self, family: Family, place: int | None, value: float) -> None:
        if place is None:
            return
        self._slot.values[place + bisect_left(family.buckets, value)] += 1.0
        self._slot.values[place + len(family.buckets) + 1] += value

    def _place(self, family: Family, labels: tuple[str, ...]) -> int | None:
        key = family, labels
        if key in self._places:
            return self._places[key]
        if len(labels) != len(family.labels):
            raise ValueError(f"{family.name} has the labels {family.labels}")
        number = self._label_sets.get(family, 0)
        if number >= family.most:
            return self._places.get((family, (OTHER,) * len(labels)))
        self._label_sets[family] = number + 1
        if number == family.most - 1:
            labels = (OTHER,) * len(labels)
        width = len(family.buckets) + 2 if family.kind == "histogram" else 1
        place = self._slot.place((family.name, *labels), width)
        self._places[family, labels] = place
        return place

    def families(self, families: Iterable[Family] = FAMILIES) -> Iterator[Metric]:
        """Yield the metrics of all workers."""
        sums: dict[str, dict[tuple[str, ...], list[float]]] = {}
        for (name, *labels), numbers in self._counts.read():
            of_family, key = sums.setdefault(name, {}), tuple(labels)
            before = of_family.get(key, [0.0] * len(numbers))
            of_family[key] = [one + other for one, other in zip(before, numbers, strict=True)]
        for family in families:
            yield metric(family, sums.get(family.name, {}))


def metric(family: Family, numbers: Mapping[tuple[str, ...], Sequence[float]]) -> Metric:
    """Return a metric with its numbers by labels: one, or for a histogram those of each bucket and the sum."""
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(family.name, family.meaning, labels=family.labels)
        for labels, (*counts, total) in sorted(numbers.items()):
            rising, buckets = 0.0, []
            for end, count in zip((*family.buckets, float("inf")), counts, strict=True):
                rising += count
                buckets.append(("+Inf" if end == float("inf") else str(float(end)), rising))
            histogram.add_metric(list(labels), buckets, total)
        return histogram
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    plain = kind(family.name, family.meaning, labels=family.labels)
    for labels, (number, *_) in sorted(numbers.items()):
        plain.add_metric(list(labels), number)
    return plain


class _Collected(CollectorRegistry):
    def __init__(self, metrics: Iterable[Metric]) -> None:
        super().__init__()
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def exposition(metrics: Iterable[Metric], accept: str) -> tuple[bytes, str]:
    """Return metrics as text and its media type: OpenMetrics where `accept` names it in a version that there is."""
    try:
        encode, media_type = choose_encoder(accept)
    except TypeError:  # a version that is no number
        encode, media_type = choose_encoder("")
    return encode(_Collected(metrics)), media_type
