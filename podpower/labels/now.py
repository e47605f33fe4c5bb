"""Power of workloads now, and idle power of nodes, by instant queries: without tables, for people who look.

Labels for training come from raw samples (`podpower.labels.exporting`); `rate` here extrapolates, which is good enough
to look at.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from podpower.errors import Unavailable
from podpower.io.retries import Note, log_note
from podpower.labels.kepler import DRAM, GENERATIONS, PACKAGE, PSEUDO_PODS, PSYS, Generation, is_counted
from podpower.sources.prometheus.endpoint import Endpoint
from podpower.sources.prometheus.instant import Instant

WINDOW: Final = "5m"
_IDLE_WINDOW: Final = "1h"
Workload = tuple[str, str, str]
_ABOVE: Final = {"ReplicaSet": ("kube_replicaset_owner", "replicaset"), "Job": ("kube_job_owner", "job_name")}
_CPUS: Final = (
    'count(kepler_node_cpu_info)',
    'sum(machine_cpu_cores)',
    'sum(kube_node_status_capacity{resource="cpu"})',
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PowerNow:
    """Measured watts and pods of a workload over the last minutes."""

    watts: float
    pods: int


def watts_now(source: Instant, *, ts: float | None = None) -> dict[Workload, PowerNow]:
    """Return dynamic watts of each workload (namespace, kind, name). Unavailable where Kepler has no series of pods."""
    for generation in GENERATIONS:
        pods = _pods(source, generation, ts)
        if pods:
            return _by_workload(source, pods, ts)
    raise Unavailable(
        "Prometheus has no energy of pods in the last five minutes: check that Kepler runs and is scraped, with "
        "`podpower doctor --prom URL`"
    )


def _pods(source: Instant, generation: Generation, ts: float | None) -> dict[tuple[str, str], float]:
    namespace, pod = generation.namespace_label, generation.pod_label
    mode = 'mode="dynamic"' if generation.has_modes else 'zone=~"package|psys|dram"'
    metrics = [generation.total] if generation.total else list(generation.components)
    found: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for metric in metrics:
        own = [] if metric and metric.endswith("gpu_joules_total") else [mode]
        query = f"sum by ({namespace},{pod},zone) (rate({source.selector(str(metric), *own)}[{WINDOW}]))"
        for labels, watts in source.vector(query, ts=ts):
            if labels.get(pod) and labels[pod] not in PSEUDO_PODS:
                zone = labels.get("zone", "") if own else "gpu"
                found[labels.get(namespace, ""), labels[pod]][zone] = watts
    return {name: sum(w for zone, w in zones.items() if is_counted(zone, zones)) for name, zones in found.items()}


def _by_workload(source: Instant, pods: Mapping[tuple[str, str], float], ts: float | None) -> dict[Workload, PowerNow]:
    owners = {
        (row.get("namespace", ""), row.get("pod", "")): (row.get("owner_kind", ""), row.get("owner_name", ""))
        for row, _ in source.vector(f"last_over_time({source.selector('kube_pod_owner')}[{WINDOW}])", ts=ts)
    }
    above: dict[tuple[str, str, str], tuple[str, str]] = {}
    for kind, (metric, label) in _ABOVE.items():
        for row, _ in source.vector(f"last_over_time({source.selector(metric)}[{WINDOW}])", ts=ts):
            if row.get("owner_kind") and row["owner_kind"] != "<none>":
                above[row.get("namespace", ""), kind, row.get(label, "")] = row["owner_kind"], row["owner_name"]
    watts: dict[Workload, float] = defaultdict(float)
    counts: dict[Workload, int] = defaultdict(int)
    for (namespace, pod), power_w in pods.items():
        kind, name = owners.get((namespace, pod), ("", ""))
        if not kind or kind in {"<none>", "Node"}:
            kind, name = "Pod", pod
        kind, name = above.get((namespace, kind, name), (kind, name))
        watts[namespace, kind, name] += power_w
        counts[namespace, kind, name] += 1
    return {name: PowerNow(watts=watts[name], pods=counts[name]) for name in watts}


def measured_idle(endpoint: Endpoint, *, note: Note = log_note) -> tuple[float, str] | None:
    """Return `idle_w_per_vcpu` of a Prometheus. Unavailable when it does not answer."""
    with Instant(endpoint, note=note) as source:
        return idle_w_per_vcpu(source)


def idle_w_per_vcpu(source: Instant, *, ts: float | None = None) -> tuple[float, str] | None:
    """Return the measured idle watts of a vCPU of the cluster's nodes and the source, None where no counter or no
    number of CPUs is known.

    Idle counters are those of packages and memory (`psys` where there is no package) over the last hour.
    """
    idle_w = _idle_w(source, ts)
    if not idle_w:
        return None
    for query in _CPUS:
        cpus = sum(value for _, value in source.vector(query, ts=ts))
        if cpus > 0:
            return idle_w / cpus, f"measured: {idle_w:.3g} W idle of nodes with {cpus:g} CPUs, mean of an hour"
    return None


def _idle_w(source: Instant, ts: float | None) -> float:
    newer = source.selector("kepler_node_cpu_idle_joules_total")
    zones = {
        labels.get("zone", ""): watts
        for labels, watts in source.vector(f"sum by (zone) (rate({newer}[{_IDLE_WINDOW}]))", ts=ts)
    }
    known = {zone: watts for zone, watts in zones.items() if zone in {PACKAGE, PSYS, DRAM}}
    if known:
        return sum(watts for zone, watts in known.items() if is_counted(zone, known))
    total = 0.0
    for zone in (PACKAGE, DRAM):
        older = source.selector(f"kepler_node_{zone}_joules_total", 'mode="idle"')
        total += sum(watts for _, watts in source.vector(f"sum(rate({older}[{_IDLE_WINDOW}]))", ts=ts))
    return total
