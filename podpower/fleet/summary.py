"""`fleet.json`: measured and predicted watts of all clusters, their freshness and gaps, beside the models.

Its size is bounded by the constants below, whatever the clusters run. Times in `_s` are Unix seconds.
"""

from typing import Final, Literal

import msgspec

from podpower.errors import PodpowerError, Refused
from podpower.io.object_storage import ObjectStorage
from podpower.io.places import AnyPath
from podpower.io.sealed_json import Format
from podpower.io.storages import storage_at
from podpower.model.totals import PowerInterval

FLEET_FILE: Final = "fleet.json"
MAX_BYTES: Final = 4 << 20
DAYS: Final = 30

# Bounds of the lists. What is beyond them is added up in `others`, and counted.
MOST_NAMESPACES, MOST_WORKLOADS = 500, 500
MOST_NAMESPACE_SERIES, MOST_WORKLOAD_SERIES = 100, 50
MOST_CLUSTERS, MOST_GAPS, MOST_NOTES = 100, 100, 20
MOST_CHARS: Final = 500  # of a text from outside


class Gap(msgspec.Struct, kw_only=True, frozen=True):
    """A time in which a cluster was not observed, and the reason."""

    start_s: float
    end_s: float
    reason: str


class Series(msgspec.Struct, kw_only=True, frozen=True):
    """Mean watts of each hour from `start_s` on; null where they are not known."""

    start_s: float
    measured_w: list[float | None]
    predicted_w: list[float | None]


class Power(msgspec.Struct, kw_only=True, frozen=True):
    """Watts and energy of several pods together.

    `measured_w` and `predicted_w` are means over the hour `hour_s` of the cluster, so that they can be compared; null
    where they are not known, or nothing ran. `measured_share` is the share of the pods' seconds that was measured; the
    rest counts with their mean power. `kwh` and `predicted_kwh` are sums over the hours of the summary in which they
    are known. `measured_hours` is how long the cluster was measured since the first of these with a `kwh`: an hour in
    which nothing of theirs ran counts, and one of which a part was measured counts for that part.
    """

    measured_w: float | None
    measured_share: float | None
    predicted_w: float | None
    predicted_interval: PowerInterval | None
    kwh: float | None
    measured_hours: float
    predicted_kwh: float | None


class WorkloadPower(Power, kw_only=True, frozen=True):
    """One workload. `pods` run on average, `basis` is that of the prediction ("seen", "similar", "prior")."""

    cluster: str
    namespace: str
    workload_kind: str
    workload_name: str
    pods: float
    basis: Literal["seen", "similar", "prior"] | None
    model_version: str | None
    series: Series | None


class NamespacePower(Power, kw_only=True, frozen=True):
    """One namespace. `budget_w` is its budget from `budget_source` ("annotation", "file"); `bases` counts its workloads
    by the basis of their predictions.
    """

    cluster: str
    namespace: str
    workloads: int
    pods: float
    bases: dict[str, int]
    model_version: str | None
    budget_w: float | None
    budget_source: Literal["annotation", "file"] | None
    series: Series | None


class Others(msgspec.Struct, kw_only=True, frozen=True):
    """Everything that is in the sums of the clusters and not listed: how many there are, and their sums."""

    count: int
    measured_w: float | None
    predicted_w: float | None
    kwh: float | None
    series: Series


class ClusterPower(Power, kw_only=True, frozen=True):
    """One cluster and its freshness.

    `metered` is false where Kepler reads 0 J or does not exist, null where that is not known. `hour_s` is the hour of
    the current watts, `last_label_s` the end of the last step with a known energy, `journal_reached_s` the time up to
    which the cluster was observed. `gaps` are the latest of `gap_count`, newest last. `last_error` is the error of the
    cluster's last run, null after a success. `configured` is false for one that was removed or renamed, whose energy
    is still within the summary. `idle_w_per_vcpu` are the measured idle watts of a vCPU of its nodes, null
    where they are not known, and `idle_source` what measured them.
    """

    cluster: str
    metered: bool | None
    hour_s: float | None
    last_label_s: float | None
    journal_reached_s: float | None
    pods: float
    workloads: int
    gaps: list[Gap]
    gap_count: int
    last_error: str | None
    notes: list[str]
    series: Series
    configured: bool = True
    idle_w_per_vcpu: float | None = None
    idle_source: str | None = None


class ModelStatus(msgspec.Struct, kw_only=True, frozen=True):
    """The served model, and its evaluation in words. `clusters` are those whose labels it was trained on."""

    version: str
    trained_at: str
    promoted_at: str | None
    labels_end_s: float | None
    pinned: bool
    clusters: list[str]
    evaluation: list[str]
    alarms: list[str]


class FleetSummary(msgspec.Struct, kw_only=True, frozen=True):
    """All clusters over the hours from `start_s` to `end_s`, at most the last 30 days."""

    written_at: str
    start_s: float
    end_s: float
    clusters: list[ClusterPower]
    namespaces: list[NamespacePower]
    other_namespaces: Others
    workloads: list[WorkloadPower]
    other_workloads: Others
    model: ModelStatus | None


_AGAIN: Final = "materialize fleet_summary again"
SUMMARY: Final = Format(name="fleet", type=FleetSummary, compact=True)


def write_summary(root: AnyPath, summary: FleetSummary) -> int:
    """Write the summary to `fleet.json` below `root`, whole or not at all; return its size in bytes.

    PodpowerError when it is larger than MAX_BYTES, which only texts beyond their bounds can cause.
    """
    data = SUMMARY.encode(summary)
    if len(data) > MAX_BYTES:
        raise PodpowerError(f"the fleet summary has {len(data)} bytes, more than {MAX_BYTES}: it was not written")
    storage = ObjectStorage(root)
    storage.write(storage.root / FLEET_FILE, data)
    return len(data)


def idle_of(summary: FleetSummary | None, cluster: str | None) -> tuple[float, str] | None:
    """Return the measured idle watts of a vCPU of a cluster and their source; without a name, those of the only cluster
    that has some. None where they are not known.
    """
    found = [
        (one.idle_w_per_vcpu, one.idle_source or "measured")
        for one in (summary.clusters if summary else ())
        if one.idle_w_per_vcpu is not None and cluster in {None, one.cluster}
    ]
    return found[0] if len(found) == 1 else None


def read_summary(root: AnyPath) -> FleetSummary | None:
    """Return the summary below `root`; None where there is none yet. Refused when it is damaged or of a newer version
    of the format.
    """
    storage = storage_at(root)
    path = storage.root / FLEET_FILE
    data = storage.read(path, limit_bytes=MAX_BYTES)
    if data is None:
        return None
    try:
        found = SUMMARY.decode(data, what=str(path))
    except Refused as error:
        raise Refused(f"{error}: {_AGAIN}") from None
    if not found.verified:  # there were never files without a digest
        raise Refused(f"{path} is damaged (it has no digest): {_AGAIN}")
    return found.value
