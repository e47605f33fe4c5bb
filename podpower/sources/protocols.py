"""Protocols of the sources of cluster objects and of metric samples: recordings, clusters and Prometheus."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import polars as pl

from podpower.kubernetes.types import EventType

# Every label that distinguishes Kepler or owner series. A scraped series' own `namespace` and `pod` are the
# exporter's for Kepler, and the described pod's for kube_*_owner.
LABEL_COLUMNS = (
    "instance", "node_name", "namespace", "pod", "container_namespace", "pod_namespace", "pod_name", "pod_id",
    "container_name", "container_id", "mode", "zone", "state", "uid", "replicaset", "job_name", "owner_kind",
    "owner_name", "owner_is_controller", "path", "version",
)  # fmt: skip

SERIES_SCHEMA = pl.Schema({"series_id": pl.UInt64(), "metric": pl.String()} | {c: pl.String() for c in LABEL_COLUMNS})
POINTS_SCHEMA = pl.Schema({"series_id": pl.UInt64(), "ts": pl.Float64(), "value": pl.Float64()})


@dataclass(frozen=True, kw_only=True)
class ObjectEvent:
    """One change of one Kubernetes object, raw as the API gives it, at `ts` (Unix seconds)."""

    ts: float
    type: EventType
    object: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Selector:
    """Series of one metric. Each label given here has one of its values, or is absent."""

    metric: str
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def selected(selectors: Sequence[Selector]) -> pl.Expr:
    """Return the condition of a row of SERIES_SCHEMA that any of the selectors chooses."""
    chosen = pl.lit(value=False)
    for selector in selectors:
        one = pl.col("metric") == selector.metric
        for label, values in selector.labels.items():
            one &= pl.col(label).is_null() | pl.col(label).is_in(list(values))
        chosen |= one
    return chosen


@dataclass(frozen=True, kw_only=True)
class MetricSamples:
    """Samples of many series. `series` (SERIES_SCHEMA) names each once, `points` (POINTS_SCHEMA) holds raw values.

    `partial_ranges` (start and end, Unix seconds): samples are missing in them; nothing can be concluded from those
    that are there. `label_names`: names of all labels of each metric's series, beyond LABEL_COLUMNS, where they are
    known.
    """

    series: pl.DataFrame
    points: pl.DataFrame
    warnings: tuple[str, ...] = ()
    partial_ranges: tuple[tuple[float, float], ...] = ()
    label_names: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SeriesFound:
    """Series that exist in a time range: `table` in SERIES_SCHEMA."""

    table: pl.DataFrame
    warnings: tuple[str, ...] = ()


class ObjectSource(Protocol):
    """Kubernetes objects and their changes."""

    cluster: str

    def events(self, *, start_s: float, end_s: float) -> Iterator[ObjectEvent]:
        """Yield the events that describe the cluster in [start_s, end_s): first the objects alive at start_s, each as
        ADDED with the time it got its present form (which may be long before start_s), then every change in order.
        """
        ...

    def changes(self, cursor: str | None) -> tuple[list[ObjectEvent], str]:
        """Return the events after `cursor`, each once and none left out, and the cursor that follows them."""
        ...


class MetricSource(Protocol):
    """Samples of counters and owner series. `cluster` is None where it has no name."""

    @property
    def cluster(self) -> str | None:
        """Name of the cluster that the samples come from."""
        ...

    def metric_names(self, *, start_s: float, end_s: float) -> frozenset[str]:
        """Return the names of metrics with a sample in [start_s, end_s); they show the Kepler generation."""
        ...

    def samples(self, selectors: Sequence[Selector], *, start_s: float, end_s: float) -> MetricSamples:
        """Return the raw samples with start_s <= ts <= end_s."""
        ...

    def series(self, selectors: Sequence[Selector], *, start_s: float, end_s: float) -> SeriesFound:
        """Return the series with a sample in [start_s, end_s], without the samples."""
        ...
