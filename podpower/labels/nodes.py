"""The sum of pods against the counters of their nodes, hour by hour and zone by zone: the labels' own error.

Kepler shares a node's energy out among its pods. What the pods and pseudo-pods of a node add up to must be what the
node's own counter of the same energy shows.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from podpower.hours import HOUR_S, hour_name
from podpower.labels.counters import Samples, most_energy_j, samples_of
from podpower.labels.kepler import DRAM, GPU, PACKAGE, Generation

LOW_RATIO, HIGH_RATIO = 0.8, 1.1
_LEAST_J = 100.0  # a ratio of less is noise
_ALL = "all"  # pods' counters that are not split by zone
_PLATFORM = "platform"
_SOURCES, _SOURCE_CHARACTERS = 3, 200


@dataclass(frozen=True, kw_only=True)
class NodeRatio:
    """Energy of pods and pseudo-pods in one zone and hour over that of their nodes. `bound`: the node's counter holds
    more than the pods' energy, so that only a ratio above HIGH_RATIO is wrong.
    """

    hour: str
    zone: str
    pods_j: float
    nodes_j: float
    bound: bool = False

    @property
    def ratio(self) -> float:
        """Pods over nodes."""
        return self.pods_j / self.nodes_j

    @property
    def passed(self) -> bool:
        """Return whether the ratio is within LOW_RATIO to HIGH_RATIO."""
        return self.ratio <= HIGH_RATIO and (self.bound or self.ratio >= LOW_RATIO)

    def __str__(self) -> str:
        like = "all energy of their nodes" if self.bound else "their nodes"
        return f"{self.hour}, {self.zone}: pods add up to {self.ratio:.2f} of {like}"


def failed_ratios(ratios: Iterable[NodeRatio]) -> list[NodeRatio]:
    """Return the ratios outside LOW_RATIO to HIGH_RATIO."""
    return [ratio for ratio in ratios if not ratio.passed]


def worst_ratio(ratios: Sequence[NodeRatio]) -> float | None:
    """Return the ratio farthest from 1, of those that can be compared both ways or have failed; None without any."""
    compared = [r.ratio for r in ratios if (not r.bound or not r.passed) and r.ratio > 0]
    return max(compared, key=lambda ratio: abs(np.log(ratio)), default=None)


def with_ratios(labels: pl.DataFrame, ratios: Iterable[NodeRatio]) -> pl.DataFrame:
    """Return window labels with `node_ratio`: `worst_ratio` of the hour that each step ends in."""
    by_hour: dict[str, list[NodeRatio]] = defaultdict(list)
    for ratio in ratios:
        by_hour[ratio.hour].append(ratio)
    hour = ((pl.col("ts") / HOUR_S).ceil() - 1.0) * HOUR_S  # that which a step at its end belongs to
    starts = labels.select(hour.unique()).to_series().drop_nulls().to_list()
    worst = {start_s: worst_ratio(by_hour[hour_name(start_s)]) for start_s in starts}
    of_hour = hour.replace_strict(worst, default=None, return_dtype=pl.Float64) if worst else pl.lit(None, pl.Float64)
    return labels.with_columns(of_hour.alias("node_ratio"))


def label_notes(sources: Iterable[str | None], ratios: Iterable[float | None]) -> list[str]:
    """Return a model's notes on its labels: where they come from, and hours whose pods do not add up to their nodes.

    >>> label_notes(["Kepler 0.11.1 RAPL package+dram, dynamic"], [0.97, 1.6, None])
    ['labels: Kepler 0.11.1 RAPL package+dram, dynamic', 'labels: pods add up to 1.60 of their nodes in the worst of \
1 hours outside 0.8 to 1.1']
    """
    named = sources_in_words(sources)
    notes = [f"labels: {named}"] if named else []
    outside = [ratio for ratio in ratios if ratio and not LOW_RATIO <= ratio <= HIGH_RATIO]
    if outside:
        worst = max(outside, key=lambda ratio: abs(np.log(ratio)))
        notes.append(
            f"labels: pods add up to {worst:.2f} of their nodes in the worst of {len(outside)} hours outside "
            f"{LOW_RATIO:g} to {HIGH_RATIO:g}"
        )
    return notes


def sources_in_words(sources: Iterable[str | None]) -> str | None:
    """Return the sources of labels as one text, at most _SOURCES of them; None without any.

    >>> sources_in_words(["Kepler 0.9 all components, dynamic", None])
    'Kepler 0.9 all components, dynamic'
    """
    named = sorted({source[:_SOURCE_CHARACTERS] for source in sources if source})
    more = [f"{len(named) - _SOURCES} more"] if len(named) > _SOURCES else []
    return "; ".join([*named[:_SOURCES], *more]) or None


@dataclass(kw_only=True)
class NodeSums:
    """Energy of pods and of nodes by hour and zone, added up from pieces."""

    _pods: dict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))
    _nodes: dict[tuple[str, str, str], float] = field(default_factory=lambda: defaultdict(float))

    def add(
        self, pods: Samples, pod_series: pl.DataFrame, points: pl.DataFrame, nodes: pl.DataFrame, *, begin_s: float,
        end_s: float,
    ) -> None:  # fmt: skip
        """Add the increases within (begin_s, end_s]. `pods` are the samples of `pod_series`; `nodes` (`node_series`)
        name counters whose samples are in `points`. Pods of exporters without a node's counter are left out.
        """
        if nodes.is_empty():
            return
        shown = nodes["exporter"].unique()
        zones = pod_series.with_columns(pl.when(pl.col("exporter").is_in(shown.implode())).then("zone").alias("group"))
        for (hour, zone), joules in _increases(pods, zones, begin_s=begin_s, end_s=end_s).items():
            self._pods[hour, zone] += joules
        named = nodes.with_columns(pl.concat_str("pod", pl.lit("|"), "zone").alias("group"))
        for (hour, group), joules in _increases(samples_of(points, nodes), named, begin_s=begin_s, end_s=end_s).items():
            metric, _, zone = group.partition("|")
            self._nodes[hour, metric, zone] += joules

    def ratios(self, generation: Generation) -> list[NodeRatio]:
        """Return the ratio of each hour and zone in which nodes have a counter."""
        found = []
        for (hour, zone), pods_j in sorted(self._pods.items()):
            wanted = [(zone, generation.node.get(zone), False), (zone, generation.node_bound.get(zone), True)]
            if zone == _ALL:
                wanted = [("+".join(parts), parts, False) for parts in _WHOLES]  # type: ignore[misc]
            for name, metrics, bound in wanted:
                nodes_j = self._nodes_j(hour, zone, metrics, generation)
                if nodes_j >= _LEAST_J:
                    found.append(NodeRatio(hour=hour, zone=name, pods_j=pods_j, nodes_j=nodes_j, bound=bound))
                    break
        return found

    def _nodes_j(self, hour: str, zone: str, metrics: str | Sequence[str] | None, generation: Generation) -> float:
        if metrics is None or isinstance(metrics, str):
            return self._nodes.get((hour, metrics or "", zone), 0.0)
        parts = {part: self._nodes.get((hour, generation.node.get(part, ""), part), 0.0) for part in metrics}
        return sum(parts.values()) if parts[metrics[0]] > 0 else 0.0


# A pod's counter of everything, against the first of these whose first part exists.
_WHOLES = ((_PLATFORM, GPU), (PACKAGE, DRAM, GPU))


def _increases(samples: Samples, series: pl.DataFrame, *, begin_s: float, end_s: float) -> dict[tuple[str, str], float]:
    """Return the increase of all counters of each hour and `group` of `series`; after a reset the new value."""
    if not len(samples.ts):
        return {}
    groups = dict(series.select("series", "group").iter_rows())
    names = sorted({group for group in groups.values() if group is not None})
    number = {name: place for place, name in enumerate(names)}
    of_series = np.array([number.get(groups.get(one) or "", -1) for one in samples.names], dtype=np.int64)
    first = np.flatnonzero(samples.series[1:] == samples.series[:-1])
    before, after, ts = samples.value[first], samples.value[first + 1], samples.ts[first + 1]
    gain = np.where(after < before, after, after - before)
    limit_j = most_energy_j(ts - samples.ts[first])
    group = of_series[samples.series[first]]
    kept = (ts > begin_s) & (ts <= end_s) & (group >= 0) & (gain <= limit_j)
    hours = (np.ceil(ts[kept] / HOUR_S) - 1).astype(np.int64)
    found: dict[tuple[str, str], float] = {}
    for hour in np.unique(hours):
        sums = np.bincount(group[kept][hours == hour], weights=gain[kept][hours == hour], minlength=len(names))
        found |= {(hour_name(hour * HOUR_S), name): float(joules) for name, joules in zip(names, sums, strict=True)}
    return found


def label_source(generations: Sequence[Generation], zones: Collection[str], energy: str, versions: str = "") -> str:
    """Describe where labels come from.

    >>> from podpower.labels.kepler import KEPLER_0_10
    >>> label_source([KEPLER_0_10], {"dram", "package"}, "dynamic", "0.11.1")
    'Kepler 0.11.1 RAPL package+dram, dynamic'
    """
    order = (PACKAGE, "psys", DRAM, GPU)
    parts = "+".join(zone for zone in order if zone in zones)
    named = versions or " and ".join(generation.name for generation in generations)
    counted = f"RAPL {parts}" if parts else "all components"
    return f"Kepler {named} {counted}, {energy}"
