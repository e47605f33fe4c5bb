"""Freshness of each configured cluster: how far it is observed, labelled and summed up, and what is wrong with it."""

from collections.abc import Sequence

import msgspec

from podpower.clusters import Cluster
from podpower.errors import PodpowerError
from podpower.fleet.freshness import stale
from podpower.fleet.observed import Observed, observed
from podpower.fleet.summary import ClusterPower, FleetSummary, Gap


class ClusterStatus(msgspec.Struct, kw_only=True, frozen=True):
    """State of one cluster, from its journal and the fleet summary. Times are Unix seconds; null is not known.

    `stale` has a sentence for each thing that is older than it should be.
    """

    cluster: str
    metered: bool | None
    journal_reached_s: float | None
    last_label_s: float | None
    pods: float | None
    workloads: int | None
    gap_count: int
    gaps: list[Gap]
    last_error: str | None
    notes: list[str]
    stale: list[str]


def cluster_statuses(clusters: Sequence[Cluster], summary: FleetSummary | None, *, now_s: float) -> list[ClusterStatus]:
    """Return the state of each cluster; what cannot be read of one is its own error."""
    of_summary = {one.cluster: one for one in summary.clusters} if summary else {}
    return [_status(one, of_summary, now_s=now_s) for one in clusters]


def _status(cluster: Cluster, of_summary: dict[str, ClusterPower], *, now_s: float) -> ClusterStatus:
    error = None
    seen = Observed()
    try:
        seen = observed(cluster.settings())
    except PodpowerError as failure:
        error = str(failure)
    name = cluster.name or seen.cluster or "the cluster"
    # The journal of one cluster that is not named has the name of its kubeconfig.
    power = of_summary.get(name)
    last_label_s = power.last_label_s if power else None
    reached = [ts for ts in (seen.reached_s, power.journal_reached_s if power else None) if ts is not None]
    reached_s = max(reached, default=None)
    gaps = seen.gaps or (power.gaps if power else [])
    metered = power.metered if power else None
    return ClusterStatus(
        cluster=name,
        metered=metered,
        journal_reached_s=reached_s,
        last_label_s=last_label_s,
        pods=power.pods if power else None,
        workloads=power.workloads if power else None,
        gap_count=max(len(gaps), power.gap_count if power else 0),
        gaps=list(gaps),
        last_error=error or (power.last_error if power else None),
        notes=power.notes if power else [],
        stale=stale(reached_s, last_label_s, metered=metered, now_s=now_s),
    )
