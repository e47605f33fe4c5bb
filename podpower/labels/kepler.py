"""Names of the metrics and labels of both Kepler generations, and the series that add up to a pod's energy.

Sources: Kepler 0.7 to 0.9 and 0.10 and later, their documentation of metrics
(https://sustainable-computing.io/design/metrics/, https://github.com/sustainable-computing-io/kepler/tree/main/docs).
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import polars as pl

from podpower.errors import InvalidInput, Unavailable
from podpower.sources.protocols import LABEL_COLUMNS, Selector

Energy = Literal["dynamic", "total"]

# Names of the rest of a machine; no pods.
PSEUDO_PODS = ("kernel_processes", "system_processes")
NAMESPACE, POD, SERIES, ZONE = "namespace", "pod", "series", "zone"
PACKAGE, PSYS, DRAM, GPU = "package", "psys", "dram", "gpu"
_CPU_ZONES = (PACKAGE, PSYS, DRAM)  # core and uncore are inside package
BUILD_INFO = "kepler_build_info"


@dataclass(frozen=True, kw_only=True)
class Generation:
    """Metrics and labels of one generation of Kepler.

    The energy of a pod is the metric `total` or, where that does not exist, the sum of `components`. `node` has the
    metric of whole nodes by zone that counts the same energy as those of pods, without the node's idle energy;
    `node_bound` one that counts more. With `has_modes`, series carry the label `mode`, dynamic or idle; without, the
    energy of pods is dynamic, and series carry `zone`.
    """

    name: str
    total: str | None
    components: tuple[str, ...]
    node: Mapping[str, str]
    node_bound: Mapping[str, str]
    namespace_label: str
    pod_label: str
    has_modes: bool

    def accepted(self, energy: Energy) -> Mapping[str, tuple[str, ...]]:
        """Return the label, and its values, of the series that add up to `energy`."""
        if not self.has_modes:
            return {"zone": _CPU_ZONES}
        return {"mode": ("dynamic",) if energy == "dynamic" else ("dynamic", "idle")}

    def metrics(self, names: Collection[str]) -> list[str]:
        """Return the metrics to read, of those that exist."""
        if self.total in names:
            return [str(self.total)]
        return [metric for metric in self.components if metric in names]

    def selectors(self, names: Collection[str], *, energy: Energy) -> list[Selector]:
        """Return selectors of the series that add up to `energy`, of the metrics that exist."""
        if energy not in {"dynamic", "total"}:
            raise InvalidInput(f"unknown energy {energy!r}: use dynamic or total")
        return [Selector(metric=metric, labels=self.accepted(energy)) for metric in self.metrics(names)]

    def node_selectors(self, names: Collection[str], *, energy: Energy) -> list[Selector]:
        """Return selectors of the counters of whole nodes that exist."""
        metrics = dict.fromkeys((*self.node.values(), *self.node_bound.values()))
        return [Selector(metric=metric, labels=self.accepted(energy)) for metric in metrics if metric in names]

    def comparisons(self, names: Collection[str]) -> Iterator[tuple[Selector, Selector, str, bool]]:
        """Yield selectors of pods and of nodes that count the same energy, by zone, of the metrics that exist. The last
        value is true where the nodes' counter holds more.
        """
        for zone in (PACKAGE, DRAM) if self.has_modes else _CPU_ZONES:
            pods = f"kepler_container_{zone}_joules_total" if self.has_modes else self.components[0]
            labels = self.accepted("dynamic") if self.has_modes else {"zone": (zone,)}
            bound = self.node[zone] not in names
            nodes = self.node_bound.get(zone, "") if bound else self.node[zone]
            if pods in names and nodes in names:
                yield Selector(metric=pods, labels=labels), Selector(metric=nodes, labels=labels), zone, bound


KEPLER_0_9 = Generation(
    name="0.9",
    total="kepler_container_joules_total",
    components=tuple(f"kepler_container_{part}_joules_total" for part in ("package", "dram", "gpu", "other")),
    node={zone: f"kepler_node_{zone}_joules_total" for zone in (PACKAGE, DRAM, GPU, "platform")},
    node_bound={},
    namespace_label="container_namespace",
    pod_label="pod_name",
    has_modes=True,
)
KEPLER_0_10 = Generation(
    name="0.10",
    total=None,
    components=("kepler_pod_cpu_joules_total", "kepler_pod_gpu_joules_total"),
    node=dict.fromkeys(_CPU_ZONES, "kepler_node_cpu_active_joules_total"),
    node_bound=dict.fromkeys(_CPU_ZONES, "kepler_node_cpu_joules_total"),
    namespace_label="pod_namespace",
    pod_label="pod_name",
    has_modes=False,
)
GENERATIONS = (KEPLER_0_10, KEPLER_0_9)
_NODE_METRICS = ("kepler_node_", "kepler_container_cpu_joules_total")


class NoMetrics(Unavailable):
    """Kepler has no series of pods in the requested time."""


def detect(names: Collection[str]) -> list[Generation]:
    """Return the generations whose pod series exist, the newest first: two where Kepler was upgraded within the time.

    NoMetrics, with the fix, where there is none.
    """
    found = [generation for generation in GENERATIONS if generation.metrics(names)]
    if found:
        return found
    if any(name.startswith(_NODE_METRICS) for name in names):
        raise NoMetrics(
            "Kepler reports nodes but no pods: set `kube.enabled: true` in Kepler's configuration and give it access "
            "to the API server"
        )
    raise NoMetrics(
        "no Kepler metrics in this time range: expected kepler_pod_cpu_joules_total (Kepler 0.10 and later) or "
        "kepler_container_joules_total (up to 0.9)"
    )


def pod_series(series: pl.DataFrame, generation: Generation, *, energy: Energy) -> pl.DataFrame:
    """Return the series that add up to each pod's energy: `series_id`, `namespace`, `pod`, `series` (its counter),
    `exporter`, `pod_id` and `zone`. Pseudo-pods are among the pods.

    `series` is alike for series that continue each other, as a terminated pod's continues the running one's.
    `namespace` and `pod` of the result are the workload's; those of the samples are the exporter's and not used.
    """
    own = series.filter(pl.col("metric").is_in([generation.total or "", *generation.components]))
    if generation.has_modes:
        own = own.filter(pl.col("mode").is_null() | pl.col("mode").is_in(generation.accepted(energy)["mode"]))
    else:
        own = _one_of_overlapping_zones(own)
    pod, namespace = pl.col(generation.pod_label), pl.col(generation.namespace_label)
    part = pl.col("metric").str.extract(r"_(package|dram|gpu|other)_joules_total$")
    pseudo = pod.is_in(PSEUDO_PODS)
    return own.filter(pod.is_not_null() & (pseudo | namespace.is_not_null())).select(
        "series_id",
        # Every node has pseudo-pods of these names.
        pl.when(pseudo).then(exporter()).otherwise(namespace).alias(NAMESPACE),
        pod.alias(POD),
        _identity().alias(SERIES),
        exporter().alias("exporter"),
        "pod_id",
        pl.coalesce("zone", part, pl.lit("all")).alias(ZONE),
    )


def node_series(series: pl.DataFrame, generation: Generation) -> pl.DataFrame:
    """Return the counters of whole nodes in the columns of `pod_series`, `pod` being the metric; `resets` marks those
    that begin anew with their exporter.
    """
    metrics = [*generation.node.values(), *generation.node_bound.values()]
    part = pl.col("metric").str.extract(r"^kepler_node_(package|dram|gpu|platform)_joules_total$")
    return series.filter(pl.col("metric").is_in(metrics)).select(
        "series_id",
        exporter().alias(NAMESPACE),
        pl.col("metric").alias(POD),
        _identity().alias(SERIES),
        exporter().alias("exporter"),
        pl.lit(None, pl.String).alias("pod_id"),
        pl.coalesce("zone", part, pl.lit("all")).alias(ZONE),
        pl.col("metric").is_in(list(generation.node.values())).alias("resets"),
    )


def _identity() -> pl.Expr:
    """Return a counter's own labels: `namespace` and `pod` are the exporter's, and `state` changes when a pod ends."""
    return pl.struct([c for c in ("metric", *LABEL_COLUMNS) if c not in {"state", "namespace", "pod"}]).hash()


def exporter() -> pl.Expr:
    """Return the name of a series' exporter."""
    return pl.coalesce("instance", "node_name", pl.lit(""))


def is_counted(zone: str, zones: Collection[str]) -> bool:
    """Return whether a zone is part of the energy of a pod or node that has these: psys, which contains package, only
    without it.

    >>> [zone for zone in ("package", "psys", "dram") if is_counted(zone, {"package", "psys", "dram"})]
    ['package', 'dram']
    """
    return zone != PSYS or PACKAGE not in zones


def _one_of_overlapping_zones(series: pl.DataFrame) -> pl.DataFrame:
    """Drop zones inside others: keep package, where the pod has it, else psys; and dram beside it."""
    zone = pl.col("zone")
    kept = series.filter(zone.is_null() | zone.is_in(_CPU_ZONES))
    has_package = (zone == "package").any().over("pod_namespace", "pod_name", "node_name")
    return kept.filter(zone.is_null() | (zone != "psys") | ~has_package)
