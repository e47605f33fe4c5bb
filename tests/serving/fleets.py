"""Fleet summaries to test with."""

import time
from datetime import UTC, datetime

from podpower.fleet.summary import ClusterPower, FleetSummary, NamespacePower, Others, Series, WorkloadPower

_UNKNOWN = {"measured_share": None, "predicted_interval": None, "kwh": None, "measured_hours": 0, "predicted_kwh": None}


def workload(name, *, measured_w, predicted_w):
    return WorkloadPower(
        cluster="east", namespace="shop", workload_kind="Deployment", workload_name=name, pods=1.0, basis="seen",
        model_version="v", series=None, measured_w=measured_w, predicted_w=predicted_w, **_UNKNOWN,
    )  # fmt: skip


def summary_of(workloads, *, others_w=None):
    """One namespace with these workloads, and others that are not listed."""
    series = Series(start_s=0.0, measured_w=[], predicted_w=[])
    sums = {
        name: sum(w for w in (getattr(one, name) for one in workloads) if w is not None)
        for name in ("measured_w", "predicted_w")
    }
    return FleetSummary(
        written_at=datetime.now(UTC).isoformat(timespec="seconds"),
        start_s=0.0,
        end_s=3600.0,
        clusters=[
            ClusterPower(
                cluster="east", metered=True, hour_s=0.0, last_label_s=time.time() - 60, journal_reached_s=None, **sums,
                pods=1.0, workloads=len(workloads), gaps=[], gap_count=0, last_error=None, notes=[], series=series,
                **_UNKNOWN,
            )
        ],
        namespaces=[
            NamespacePower(
                cluster="east", namespace="shop", workloads=len(workloads), pods=1.0, bases={}, model_version="v",
                budget_w=None, budget_source=None, series=None, **sums, **_UNKNOWN,
            )
        ],
        other_namespaces=Others(count=0, measured_w=None, predicted_w=None, kwh=None, series=series),
        workloads=workloads,
        other_workloads=Others(
            count=0 if others_w is None else 1, measured_w=others_w, predicted_w=others_w, kwh=None, series=series
        ),
        model=None,
    )  # fmt: skip
