"""The workloads or namespaces that draw most, from the fleet summary or from watts that were just measured."""

from collections.abc import Mapping, Sequence
from typing import Literal, TypeVar

import msgspec

from podpower.fleet.summary import FleetSummary, NamespacePower, WorkloadPower
from podpower.specs.schedules import HOURS_PER_MONTH

By = Literal["workload", "namespace"]
_P = TypeVar("_P", WorkloadPower, NamespacePower)
Sort = Literal["measured", "predicted", "kwh", "name"]


class Row(msgspec.Struct, kw_only=True, frozen=True):
    """Watts of a workload or namespace; null where not known. `kwh_month` is the measured energy of 730 hours, where
    nothing is measured the predicted one (`measured` is false). `budget_w` is that of a namespace.
    """

    cluster: str | None
    namespace: str
    workload_kind: str | None
    workload_name: str | None
    pods: float | None
    measured_w: float | None
    predicted_w: float | None
    kwh_month: float | None
    measured: bool
    basis: str | None
    budget_w: float | None = None


def rows_of(summary: FleetSummary, *, by: By) -> list[Row]:
    """Return the rows of a fleet summary, of the clusters that are configured: what others drew is no month to come."""
    if by == "namespace":
        return [_of_namespace(one) for one in _configured(summary, summary.namespaces)]
    return [_of_workload(one) for one in _configured(summary, summary.workloads)]


def _configured(summary: FleetSummary, listed: Sequence[_P]) -> list[_P]:
    gone = {one.cluster for one in summary.clusters if not one.configured}
    return [one for one in listed if one.cluster not in gone]


def _of_workload(one: WorkloadPower) -> Row:
    kwh, measured = _month(one)
    return Row(
        cluster=one.cluster, namespace=one.namespace, workload_kind=one.workload_kind, workload_name=one.workload_name,
        pods=one.pods, measured_w=one.measured_w, predicted_w=one.predicted_w, kwh_month=kwh, measured=measured,
        basis=one.basis,
    )  # fmt: skip


def _of_namespace(one: NamespacePower) -> Row:
    kwh, measured = _month(one)
    return Row(
        cluster=one.cluster, namespace=one.namespace, workload_kind=None, workload_name=None, pods=one.pods,
        measured_w=one.measured_w, predicted_w=one.predicted_w, kwh_month=kwh, measured=measured, basis=None,
        budget_w=one.budget_w,
    )  # fmt: skip


def _month(one: WorkloadPower | NamespacePower) -> tuple[float | None, bool]:
    """Return the energy of 730 hours like those measured since the first one, else that of the predicted watts."""
    if one.kwh is not None and one.measured_hours > 0:
        return one.kwh / one.measured_hours * HOURS_PER_MONTH, True
    return (None if one.predicted_w is None else one.predicted_w * HOURS_PER_MONTH / 1000.0), False


def live_rows(
    measured: Mapping[tuple[str, str, str], tuple[float, int]], summary: FleetSummary | None, *, by: By,
    cluster: str | None,
) -> list[Row]:  # fmt: skip
    """Return rows of watts and pods that were just measured by (namespace, kind, name); predicted watts are those of
    the fleet summary.
    """
    known = {
        (w.namespace, w.workload_kind, w.workload_name): w
        for w in (_configured(summary, summary.workloads) if summary else ())
        if cluster is None or w.cluster == cluster
    }
    rows = []
    for name, (watts, pods) in measured.items():
        found = known.get(name)
        rows.append(
            Row(
                cluster=found.cluster if found else cluster,
                namespace=name[0],
                workload_kind=name[1],
                workload_name=name[2],
                pods=float(pods),
                measured_w=watts,
                predicted_w=found.predicted_w if found else None,
                kwh_month=watts * HOURS_PER_MONTH / 1000.0,
                measured=True,
                basis=found.basis if found else None,
            )
        )
    return rows if by == "workload" else _namespaces(rows)


def _namespaces(rows: Sequence[Row]) -> list[Row]:
    sums: dict[str, list[Row]] = {}
    for row in rows:
        sums.setdefault(row.namespace, []).append(row)

    def total(part: Sequence[Row], field: str) -> float | None:
        values = [value for row in part if (value := getattr(row, field)) is not None]
        return sum(values) if values else None

    return [
        Row(
            cluster=part[0].cluster,
            namespace=name,
            workload_kind=None,
            workload_name=None,
            pods=total(part, "pods"),
            measured_w=total(part, "measured_w"),
            predicted_w=total(part, "predicted_w"),
            kwh_month=total(part, "kwh_month"),
            measured=True,
            basis=None,
        )
        for name, part in sums.items()
    ]


def ordered(rows: Sequence[Row], *, sort: Sort) -> list[Row]:
    """Return the rows by a column, the largest first; unknown values are last."""
    if sort == "name":
        return sorted(rows, key=lambda row: (row.namespace, row.workload_name or "", row.cluster or ""))
    field = {"measured": "measured_w", "predicted": "predicted_w", "kwh": "kwh_month"}[sort]

    def key(row: Row) -> tuple[bool, float, str]:
        value = getattr(row, field)
        if value is None and sort == "measured":
            value = row.predicted_w
        return value is None, -(value or 0.0), row.namespace

    return sorted(rows, key=key)
