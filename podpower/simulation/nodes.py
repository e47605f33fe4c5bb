"""Counters of whole nodes, as Kepler shows them beside those of pods: what pods add up to, and a little more."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Named = Callable[[str, dict[str, str | None]], int]

ATTRIBUTED = 0.97  # of a node's energy, what pods and pseudo-pods add up to
_JOULES_DIGITS = 3
VERSIONS = {"0.9": "v0.9.2", "0.10": "v0.11.1"}


@dataclass(kw_only=True)
class NodeCounters:
    """The counters of one node. `parts` names the components that `grow` gets joules of; each series is a sum of some
    (`matrix`), of dynamic energy and of idle energy.
    """

    series_ids: NDArray[np.uint64]
    dynamic: FloatArray  # series x parts
    idle: FloatArray  # of each series, the share of the node's idle energy
    info_id: int
    dynamic_j: FloatArray
    idle_j: float = 0.0
    idle_w: float = 0.0

    def sampled(
        self, ts: float, scrapes: FloatArray, grown: FloatArray
    ) -> tuple[NDArray[np.uint64], FloatArray, FloatArray]:
        """Return samples at `scrapes` of the minute from `ts`; `grown` (parts x scrapes) is the joules of pods since
        `ts`.
        """
        joules = (self.dynamic_j[:, None] + grown) / ATTRIBUTED
        idle_j = self.idle_j + self.idle_w * (scrapes - ts)
        values = (self.dynamic @ joules + np.outer(self.idle, idle_j)).round(_JOULES_DIGITS)
        ids = np.append(np.repeat(self.series_ids, len(scrapes)), np.full(len(scrapes), self.info_id, np.uint64))
        shown = np.append(values.ravel(), np.ones(len(scrapes)))
        return ids.astype(np.uint64), np.tile(scrapes, len(self.series_ids) + 1), shown

    def accrue(self, grown: FloatArray, *, seconds: float) -> None:
        """Add a minute."""
        self.dynamic_j = self.dynamic_j + grown
        self.idle_j += self.idle_w * seconds

    def restart(self) -> None:
        """Reset the counters."""
        self.dynamic_j = np.zeros_like(self.dynamic_j)
        self.idle_j = 0.0


def node_counters(
    labels: Mapping[str, str | None], *, kepler: str, parts: Sequence[str], idle_w: float, named: Named
) -> NodeCounters:
    """Return the counters of a node with these labels of its exporter."""
    rows = _of_modes(parts) if kepler == "0.9" else _of_zones(parts)
    ids = [named(metric, {**labels, **more}) for metric, more, _, _ in rows]
    return NodeCounters(
        series_ids=np.array(ids, dtype=np.uint64),
        dynamic=np.array([shares for _, _, shares, _ in rows]),
        idle=np.array([idle for _, _, _, idle in rows]),
        info_id=named("kepler_build_info", {**labels, "version": VERSIONS[kepler]}),
        dynamic_j=np.zeros(len(parts)),
        idle_w=idle_w,
    )


_Row = tuple[str, dict[str, str], list[float], float]


def _of_modes(parts: Sequence[str]) -> list[_Row]:
    """Kepler 0.9: each component, and the platform without GPUs, split by mode."""
    of_parts = {part: {part} for part in parts if part != "other"} | {"platform": set(parts) - {"gpu"}}
    idle = {"package": 0.7, "dram": 0.2, "gpu": 0.0, "platform": 1.0}
    rows: list[_Row] = []
    for name, held in of_parts.items():
        metric = f"kepler_node_{name}_joules_total"
        rows.append((metric, {"mode": "dynamic"}, [float(part in held) for part in parts], 0.0))
        rows.append((metric, {"mode": "idle"}, [0.0] * len(parts), idle[name]))
    return rows


def _of_zones(parts: Sequence[str]) -> list[_Row]:
    """Kepler 0.10 and later: active and idle energy of each zone, and both together."""
    rows: list[_Row] = []
    for place, zone in enumerate(parts):
        shares = [float(place == other) for other in range(len(parts))]
        labels = {"zone": zone, "path": f"/sys/class/powercap/intel-rapl:{place}"}
        idle = {"package": 0.7, "core": 0.4, "uncore": 0.1, "dram": 0.2, "psys": 1.0}[zone]
        rows.append(("kepler_node_cpu_active_joules_total", labels, shares, 0.0))
        rows.append(("kepler_node_cpu_idle_joules_total", labels, [0.0] * len(parts), idle))
        rows.append(("kepler_node_cpu_joules_total", labels, shares, idle))
    return rows
