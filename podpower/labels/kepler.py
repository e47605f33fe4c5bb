"""What the two generations of Kepler call things, and which of their series add up to a pod's energy.

Sources: Kepler 0.7 to 0.9 and 0.10 and later, their documentation of metrics
(https://sustainable-computing.io/design/metrics/, https://github.com/sustainable-computing-io/kepler/tree/main/docs).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

import polars as pl

from podpower.errors import InvalidInput, Unavailable
from podpower.sources.protocols import LABEL_COLUMNS, Selector

Energy = Literal["dynamic", "total"]

# What Kepler calls the rest of a machine; no pod.
PSEUDO_PODS = ("kernel_processes", "system_processes")
NAMESPACE, POD, SERIES = "namespace", "pod", "series"
_CPU_ZONES = ("package", "psys", "dram")  # core and uncore are inside package


@dataclass(frozen=True, kw_only=True)
class Generation:
    """`total` holds all of a pod's energy, or, where it is missing, the sum of `components` does."""

    name: str
    total: str | None
    components: tuple[str, ...]
    namespace_label: str
    pod_label: str
    has_idle: bool

    def metrics(self, names: Collection[str]) -> list[str]:
        """Which of the metrics that exist to read."""
        if self.total in names:
            return [str(self.total)]
        return [metric for metric in self.components if metric in names]

    def selectors(self, names: Collection[str], *, energy: Energy) -> list[Selector]:
        """What to ask a source for: of the metrics that exist no more than adds up to `energy`."""
        if energy not in {"dynamic", "total"}:
            raise InvalidInput(f"unknown energy {energy!r}: use dynamic or total")
        labels: Mapping[str, tuple[str, ...]] = {"zone": _CPU_ZONES}
        if self.has_idle:
            labels = {"mode": ("dynamic",) if energy == "dynamic" else ("dynamic", "idle")}
        return [Selector(metric=metric, labels=labels) for metric in self.metrics(names)]


KEPLER_0_9 = Generation(
    name="0.9",
    total="kepler_container_joules_total",
    components=tuple(f"kepler_container_{part}_joules_total" for part in ("package", "dram", "gpu", "other")),
    namespace_label="container_namespace",
    pod_label="pod_name",
    has_idle=True,
)
KEPLER_0_10 = Generation(
    name="0.10",
    total=None,
    components=("kepler_pod_cpu_joules_total", "kepler_pod_gpu_joules_total"),
    namespace_label="pod_namespace",
    pod_label="pod_name",
    has_idle=False,
)
GENERATIONS = (KEPLER_0_10, KEPLER_0_9)
_NODE_METRICS = ("kepler_node_cpu_joules_total", "kepler_node_cpu_watts", "kepler_container_cpu_joules_total")


class NoMetrics(Unavailable):
    """There are no series of Kepler's pods in the time that was asked for."""


def detect(names: Collection[str]) -> list[Generation]:
    """The generations whose pod series exist, the newest first: two where Kepler was upgraded within the time.

    NoMetrics, with the fix, where there is none.
    """
    found = [generation for generation in GENERATIONS if generation.metrics(names)]
    if found:
        return found
    if any(name in names for name in _NODE_METRICS):
        raise NoMetrics(
            "Kepler reports nodes but no pods: set `kube.enabled: true` in Kepler's configuration and give it access "
            "to the API server"
        )
    raise NoMetrics(
        "no Kepler metrics in this time range: expected kepler_pod_cpu_joules_total (Kepler 0.10 and later) or "
        "kepler_container_joules_total (up to 0.9)"
    )


def pod_series(series: pl.DataFrame, generation: Generation, *, energy: Energy) -> pl.DataFrame:
    """The series that add up to each pod's energy: `series_id`, `namespace`, `pod`, `series` (what it is one of).

    `series` is alike for series that continue each other, as a terminated pod's continues the running one's.
    `namespace` and `pod` of the result are the workload's; those of the samples are the exporter's and not used.
    """
    own = series.filter(pl.col("metric").is_in([generation.total or "", *generation.components]))
    if generation.has_idle:
        modes = ["dynamic"] if energy == "dynamic" else ["dynamic", "idle"]
        own = own.filter(pl.col("mode").is_null() | pl.col("mode").is_in(modes))
    else:
        own = _one_of_overlapping_zones(own)
    pod, namespace = pl.col(generation.pod_label), pl.col(generation.namespace_label)
    identity = [c for c in ("metric", *LABEL_COLUMNS) if c not in {"state", "namespace", "pod"}]
    return own.filter(pod.is_not_null()).select(
        "series_id",
        namespace.fill_null("").alias(NAMESPACE),
        pod.alias(POD),
        pl.struct(identity).hash().alias(SERIES),
    )


def _one_of_overlapping_zones(series: pl.DataFrame) -> pl.DataFrame:
    """Without zones inside others: package, where the pod has it, else psys; and dram beside it."""
    zone = pl.col("zone")
    kept = series.filter(zone.is_null() | zone.is_in(_CPU_ZONES))
    has_package = (zone == "package").any().over("pod_namespace", "pod_name", "node_name")
    return kept.filter(zone.is_null() | (zone != "psys") | ~has_package)
