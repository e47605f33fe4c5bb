"""Metrics of the fleet: predicted and measured watts from the fleet summary, bounded in their number."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final

from prometheus_client.core import Metric

from podpower.fleet.summary import FleetSummary, NamespacePower, Others, WorkloadPower
from podpower_serving.metrics import OTHER, Family, metric

_WORKLOAD: Final = ("cluster", "namespace", "workload_kind", "workload_name")
_NAMESPACE: Final = ("cluster", "namespace")
WORKLOAD_PREDICTED: Final = Family(
    name="podpower_workload_predicted_watts",
    kind="gauge",
    meaning="Predicted watts of all pods of a workload, mean of the hour.",
    labels=_WORKLOAD,
)
WORKLOAD_MEASURED: Final = Family(
    name="podpower_workload_measured_watts",
    kind="gauge",
    meaning="Measured watts of all pods of a workload, mean of the hour.",
    labels=_WORKLOAD,
)
NAMESPACE_PREDICTED: Final = Family(
    name="podpower_namespace_predicted_watts",
    kind="gauge",
    meaning="Predicted watts of a namespace, mean of the hour.",
    labels=_NAMESPACE,
)
NAMESPACE_MEASURED: Final = Family(
    name="podpower_namespace_measured_watts",
    kind="gauge",
    meaning="Measured watts of a namespace, mean of the hour.",
    labels=_NAMESPACE,
)
SUMMARY_AGE: Final = Family(
    name="podpower_fleet_summary_age_seconds", kind="gauge", meaning="Seconds since the fleet summary was written."
)
LABELS_AGE: Final = Family(
    name="podpower_labels_age_seconds",
    kind="gauge",
    meaning="Seconds since the end of the last step of a cluster whose energy is known.",
    labels=("cluster",),
)
FLEET_FAMILIES: Final = (
    WORKLOAD_PREDICTED,
    WORKLOAD_MEASURED,
    NAMESPACE_PREDICTED,
    NAMESPACE_MEASURED,
    SUMMARY_AGE,
    LABELS_AGE,
)

Labels = tuple[str, ...]


def fleet_metrics(summary: FleetSummary | None, *, most: int, now_s: float) -> Iterator[Metric]:
    """Yield the metrics of a summary; those of `most` workloads, and of the others together. Unknown watts have no
    sample.
    """
    if summary is None:
        yield from (metric(family, {}) for family in FLEET_FAMILIES)
        return
    workloads = sorted(summary.workloads, key=_watts, reverse=True)
    listed, rest = workloads[:most], workloads[most:]
    for family, field in ((WORKLOAD_PREDICTED, "predicted_w"), (WORKLOAD_MEASURED, "measured_w")):
        rows = [((w.cluster, w.namespace, w.workload_kind, w.workload_name), getattr(w, field)) for w in listed]
        yield _gauge(family, rows, _sum(field, rest, summary.other_workloads))
    for family, field in ((NAMESPACE_PREDICTED, "predicted_w"), (NAMESPACE_MEASURED, "measured_w")):
        named = [((n.cluster, n.namespace), getattr(n, field)) for n in summary.namespaces]
        yield _gauge(family, named, _sum(field, (), summary.other_namespaces))
    written_s = datetime.fromisoformat(summary.written_at).timestamp()
    yield metric(SUMMARY_AGE, {(): [max(0.0, now_s - written_s)]})
    ages: dict[Labels, list[float]] = {}
    for cluster in summary.clusters:
        if cluster.configured and cluster.last_label_s is not None:
            ages[cluster.cluster,] = [max(0.0, now_s - cluster.last_label_s)]
    yield metric(LABELS_AGE, ages)


def _gauge(family: Family, rows: Iterable[tuple[Labels, float | None]], rest_w: float | None) -> Metric:
    numbers = {labels: [watts] for labels, watts in rows if watts is not None}
    if rest_w is not None:
        numbers[(OTHER,) * len(family.labels)] = [rest_w]
    return metric(family, numbers)


def _watts(power: WorkloadPower) -> float:
    return max(power.measured_w or 0.0, power.predicted_w or 0.0)


def _sum(field: str, rest: Sequence[WorkloadPower | NamespacePower], others: Others) -> float | None:
    """Return the watts of what is not listed; None where nothing is known of it."""
    known = [watts for watts in (getattr(part, field) for part in (*rest, others)) if watts is not None]
    is_empty = not rest and others.count == 0
    return sum(known) if known and not is_empty else None
