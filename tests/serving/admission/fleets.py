"""Fleet summaries of one cluster."""

from datetime import UTC, datetime

from podpower.fleet.summary import ClusterPower, FleetSummary, NamespacePower, Others, Series, WorkloadPower

HOUR_S = 3600.0
_NOTHING = {
    "measured_w": None, "measured_share": None, "predicted_interval": None, "kwh": None, "measured_hours": 0,
    "predicted_kwh": None,
}  # fmt: skip


def summary_of(*, now_s, watts=None, budgets=None, workloads=None, cluster="a", clusters=None):
    """A summary of the hour before `now_s`: watts and budgets by namespace, watts by (namespace, kind, name)."""
    hour_s = now_s // HOUR_S * HOUR_S - HOUR_S
    series = Series(start_s=hour_s, measured_w=[None], predicted_w=[None])
    others = Others(count=0, measured_w=None, predicted_w=None, kwh=None, series=series)
    watts, budgets = watts or {}, budgets or {}
    return FleetSummary(
        written_at=datetime.fromtimestamp(now_s, UTC).isoformat(timespec="seconds"),
        start_s=hour_s,
        end_s=hour_s + HOUR_S,
        clusters=[
            ClusterPower(
                **_NOTHING, predicted_w=None, cluster=name, metered=True, hour_s=hour_s, last_label_s=None,
                journal_reached_s=None, pods=1.0, workloads=1, gaps=[], gap_count=0, last_error=None, notes=[],
                series=series,
            )
            for name in clusters or [cluster]
        ],
        namespaces=[
            NamespacePower(
                **_NOTHING, predicted_w=watts.get(name), cluster=cluster, namespace=name, workloads=1, pods=1.0,
                bases={}, model_version=None, budget_w=budgets.get(name),
                budget_source="annotation" if name in budgets else None, series=None,
            )
            for name in sorted(watts.keys() | budgets.keys())
        ],
        other_namespaces=others,
        workloads=[
            WorkloadPower(
                **_NOTHING, predicted_w=power_w, cluster=cluster, namespace=namespace, workload_kind=kind,
                workload_name=name, pods=1.0, basis="seen", model_version=None, series=None,
            )
            for (namespace, kind, name), power_w in (workloads or {}).items()
        ],
        other_workloads=others,
        model=None,
    )  # fmt: skip
