"""Tables of the fleet summary as CSV. A spreadsheet takes no text of theirs for a formula."""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from podpower.fleet.summary import ClusterPower, FleetSummary, NamespacePower, Power, Series, WorkloadPower
from podpower.hours import HOUR_S
from podpower.specs.quoting import cell

_POWER: Final = ("measured_w", "measured_share", "predicted_w", "kwh", "measured_hours", "predicted_kwh")


def workloads(summary: FleetSummary) -> str:
    """Return a row for each workload, and one for those that are not listed."""
    columns = ("cluster", "namespace", "workload_kind", "workload_name", "pods", "basis", "model_version")
    others = summary.other_workloads
    last = {"workload_name": f"{others.count} others", **_sums(others)} if others.count else None
    return _table([*columns, *_POWER], _rows(summary.workloads, columns, last))


def namespaces(summary: FleetSummary) -> str:
    """Return a row for each namespace, and one for those that are not listed."""
    columns = ("cluster", "namespace", "workloads", "pods", "budget_w", "model_version")
    others = summary.other_namespaces
    last = {"namespace": f"{others.count} others", **_sums(others)} if others.count else None
    return _table([*columns, *_POWER], _rows(summary.namespaces, columns, last))


def hours(summary: FleetSummary) -> str:
    """Return a row for each known hour of each cluster, namespace and workload that has a series."""
    columns = ("cluster", "namespace", "workload_kind", "workload_name", "hour", "measured_w", "predicted_w")
    return _table(columns, _hours(summary))


TABLES: Final[Mapping[str, Callable[[FleetSummary], str]]] = {
    "workloads.csv": workloads,
    "namespaces.csv": namespaces,
    "hours.csv": hours,
}


def _sums(others: Any) -> dict[str, Any]:
    return {"measured_w": others.measured_w, "predicted_w": others.predicted_w, "kwh": others.kwh}


def _rows(listed: Sequence[Power], columns: Sequence[str], last: dict[str, Any] | None) -> Iterable[Mapping[str, Any]]:
    for one in listed:
        yield {name: getattr(one, name) for name in (*columns, *_POWER)}
    if last:
        yield last


def _hours(summary: FleetSummary) -> Iterable[Mapping[str, Any]]:
    names = ("cluster", "namespace", "workload_kind", "workload_name")
    listed: Sequence[ClusterPower | NamespacePower | WorkloadPower]
    listed = [*summary.clusters, *summary.namespaces, *summary.workloads]
    for one in listed:
        series: Series | None = one.series
        if series is None:
            continue
        whose = {name: getattr(one, name, None) for name in names}
        for hour, (measured, predicted) in enumerate(zip(series.measured_w, series.predicted_w, strict=False)):
            if measured is not None or predicted is not None:
                at = datetime.fromtimestamp(series.start_s + hour * HOUR_S, UTC).strftime("%Y-%m-%dT%H:%MZ")
                yield {**whose, "hour": at, "measured_w": measured, "predicted_w": predicted}


def _table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")  # RFC 4180
    writer.writerow(columns)
    for row in rows:
        writer.writerow([cell(row.get(name)) for name in columns])
    return text.getvalue()
