"""Metrics of Kepler and kube-state-metrics for the simulated cluster: counters of each container, sampled per node.

Energy grows linearly within a minute of constant power, so that what a counter shows at any time is exact.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from podpower.simulation.cluster import MINUTE_S, Cluster
from podpower.simulation.nodes import NodeCounters, node_counters
from podpower.simulation.workloads import Pod
from podpower.sources.protocols import LABEL_COLUMNS, POINTS_SCHEMA, SERIES_SCHEMA

FloatArray = NDArray[np.float64]

_JOULES_DIGITS = 3  # Kepler counts in millijoules
_RESTART_S = 25.0  # an exporter that restarts is not scraped for so long
_IDLE_NODE_W = 55.0
_KERNEL_W, _SYSTEM_W = 9.0, 3.0
# Shares of a container's dynamic energy: 0.9's components add up to its total.
_PARTS_CPU = {"package": 0.78, "dram": 0.14, "gpu": 0.0, "other": 0.08}
_PARTS_GPU = {"package": 0.15, "dram": 0.05, "gpu": 0.78, "other": 0.02}
# 0.10: core and uncore lie inside package, psys holds package and dram and the board.
_ZONES = {"package": 0.85, "core": 0.6, "uncore": 0.1, "dram": 0.15, "psys": 1.2}


@dataclass(kw_only=True)
class _Counter:
    """One thing that Kepler counts for: a container (0.9) or a pod (0.10)."""

    pod: Pod | None  # None: a pseudo-pod
    node: int
    share: float
    series_ids: NDArray[np.uint64]
    dynamic: FloatArray  # of its series: the share of the dynamic energy
    idle: FloatArray
    base_w: float = 0.0
    dynamic_j: float = 0.0
    idle_j: float = 0.0
    offset_dynamic_j: float = 0.0  # what was counted before the exporter's last restart
    offset_idle_j: float = 0.0


class Exporters:
    """Follows a Cluster minute by minute and gives the samples scraped in it."""

    def __init__(self, cluster: Cluster, *, kepler: str, scrape_interval_s: float) -> None:
        self._cluster = cluster
        self._kepler = kepler
        self._interval_s = scrape_interval_s
        self._counters: dict[tuple[str, int], _Counter] = {}  # pod uid and restarts (0.9: and container number)
        self._names: dict[int, dict[str, str | None]] = {}  # labels of each series
        self._terminated: list[tuple[float, _Counter]] = []  # pods that have ended, and when that is scraped
        self._phases = (
            np.random.default_rng([cluster.seed, 3]).uniform(0, scrape_interval_s, len(cluster.nodes)).round(3)
        )
        if kepler == "0.9":
            for node in range(len(cluster.nodes)):
                for name, base_w in (("kernel_processes", _KERNEL_W), ("system_processes", _SYSTEM_W)):
                    self._counters[f"{name}/{node}", 0] = self._pseudo(name, node, base_w)
        self._parts = list(_PARTS_CPU) if kepler == "0.9" else list(_ZONES)
        self._nodes = [self._node(node) for node in range(len(cluster.nodes))]

    def series(self, ids: NDArray[np.uint64]) -> pl.DataFrame:
        """Return SERIES_SCHEMA of these series."""
        rows = [{"series_id": i, **self._names[i]} for i in ids.tolist()]
        return pl.DataFrame(rows, schema=SERIES_SCHEMA)

    def minute(self, ts: float) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return samples (POINTS_SCHEMA) and true energy of the minute that begins at `ts`; call after
        Cluster.minute.
        """
        pods = list(self._cluster.pods())
        watts = self._watts(pods, ts)
        begins = np.array([max(p.start_s, ts) for p in pods])
        ends = np.array([min(p.end_s, ts + MINUTE_S) for p in pods])
        lived_s = np.maximum(ends - begins, 0.0)
        idle_w = self._idle_watts(pods)
        self._start_counters(pods, ts)
        of_pod = {pod.uid: (watts[i], idle_w[i], begins[i], ends[i]) for i, pod in enumerate(pods)}
        ids, times, values = [], [], []
        for node in range(len(self._cluster.nodes)):
            if node in self._cluster.restarted_exporters:
                self._restart(node)
            scrapes = self._scrapes(node, ts)
            for found in self._sampled(node, scrapes, ts, of_pod):
                ids.append(found[0])
                times.append(found[1])
                values.append(found[2])
            if len(scrapes):
                found = self._nodes[node].sampled(ts, scrapes, self._grown(node, scrapes, ts, of_pod))
                ids.append(found[0])
                times.append(found[1])
                values.append(found[2])
        self._accrue(ts, of_pod)
        ended_ids, ended_times = self._stale(ts)
        last_ids, last_times, last_values = self._last_words(ts)
        owner_ids, owner_times = self._owners(pods, ts)
        points = pl.DataFrame(
            {
                "series_id": np.concatenate([*ids, last_ids, ended_ids, owner_ids]).astype(np.uint64),
                "ts": np.concatenate([*times, last_times, ended_times, owner_times]),
                "value": np.concatenate(
                    [*values, last_values, np.full(len(ended_ids), np.nan), np.ones(len(owner_ids))]
                ),
            },
            schema=POINTS_SCHEMA,
        )
        truth = pl.DataFrame(
            {
                "ts": np.full(len(pods), ts + MINUTE_S),
                "namespace": [p.namespace for p in pods],
                "pod": [p.name for p in pods],
                "uid": [p.uid for p in pods],
                "dynamic_j": watts * lived_s,
                "idle_j": idle_w * lived_s,
            },
            schema={"ts": pl.Float64, "namespace": pl.String, "pod": pl.String, "uid": pl.String,
                    "dynamic_j": pl.Float64, "idle_j": pl.Float64},
        )  # fmt: skip
        return points, truth.filter(pl.Series(lived_s > 0, dtype=pl.Boolean))

    def _watts(self, pods: list[Pod], ts: float) -> FloatArray:
        """Return dynamic power of each pod in the minute: its own, by day and night, with noise."""
        rng = np.random.default_rng([self._cluster.seed, 4, int(ts // MINUTE_S)])
        by_day = np.sin(2 * np.pi * ((ts / 3600.0) % 24 - 9.0) / 24.0)  # most in the afternoon
        swing = np.array([1.0 + p.workload.plan.software.daily_swing * by_day for p in pods])
        base = np.array([p.watts for p in pods])
        watts: FloatArray = base * swing * rng.lognormal(0.0, 0.06, len(pods))
        return watts

    def _idle_watts(self, pods: list[Pod]) -> FloatArray:
        """Return the node's idle power by requested CPU, as Kepler 0.9 shares it."""
        weights = np.array([float(p.workload.cpu_mcpu or 50) for p in pods])
        nodes = np.array([p.node for p in pods], dtype=np.int64)
        total = np.bincount(nodes, weights=weights, minlength=len(self._cluster.nodes))
        share: FloatArray = _IDLE_NODE_W * weights / (total[nodes] + 2000.0)
        return share

    def _start_counters(self, pods: list[Pod], ts: float) -> None:
        """Counters for new pods, and new ones for containers that were restarted."""
        per_container = self._kepler == "0.9"
        for pod in self._cluster.restarted_containers if per_container else ():
            for key in [k for k, c in self._counters.items() if c.pod is pod]:
                self._end(key, ts)
        for pod in pods:
            if (pod.uid, 0) in self._counters or pod.start_s >= ts + MINUTE_S:
                continue
            names = pod.container_names if per_container else [""]
            shares = [1.0] if len(names) == 1 else [0.9, *[0.1 / (len(names) - 1)] * (len(names) - 1)]
            for number, (name, share) in enumerate(zip(names, shares, strict=True)):
                self._counters[pod.uid, number] = self._counter(pod, name, share)

    def _counter(self, pod: Pod, container: str, share: float) -> _Counter:
        labels: dict[str, str | None] = dict.fromkeys(LABEL_COLUMNS)
        node_name = self._cluster.nodes[pod.node]
        labels |= {"namespace": "kepler", "pod": f"kepler-{pod.node}", "instance": f"10.0.0.{pod.node + 1}:9102"}
        gpu = pod.workload.plan.software.gpus > 0
        if self._kepler == "0.9":
            container_id = hashlib.blake2b(f"{pod.uid}/{container}/{pod.restarts}".encode(), digest_size=32).hexdigest()
            labels |= {
                "container_namespace": pod.namespace, "pod_name": pod.name, "container_name": container,
                "container_id": container_id,
            }  # fmt: skip
            return self._of_containers(pod, pod.node, share, labels, _PARTS_GPU if gpu else _PARTS_CPU)
        labels |= {"pod_namespace": pod.namespace, "pod_name": pod.name, "pod_id": pod.uid, "node_name": node_name}
        labels["state"] = "running"
        cpu_share = 0.22 if gpu else 1.0
        rows = [("kepler_pod_cpu_joules_total", {"zone": zone}, factor * cpu_share) for zone, factor in _ZONES.items()]
        if gpu:
            rows.append(("kepler_pod_gpu_joules_total", {}, 1.0 - cpu_share))
        ids = [self._named(metric, {**labels, **more}) for metric, more, _ in rows]
        dynamic = np.array([factor for _, _, factor in rows])
        return _Counter(
            pod=pod, node=pod.node, share=share, series_ids=np.array(ids, dtype=np.uint64), dynamic=dynamic,
            idle=np.zeros(len(ids)),
        )  # fmt: skip

    def _pseudo(self, name: str, node: int, base_w: float) -> _Counter:
        labels: dict[str, str | None] = dict.fromkeys(LABEL_COLUMNS)
        labels |= {"namespace": "kepler", "pod": f"kepler-{node}", "instance": f"10.0.0.{node + 1}:9102"}
        labels |= {
            "container_namespace": name.removesuffix("_processes"), "pod_name": name, "container_name": name,
            "container_id": name,
        }  # fmt: skip
        counter = self._of_containers(None, node, 1.0, labels, _PARTS_CPU)
        counter.base_w = base_w
        return counter

    def _of_containers(
        self, pod: Pod | None, node: int, share: float, labels: dict[str, str | None], parts: dict[str, float]
    ) -> _Counter:
        rows = [
            (f"kepler_container_{part}joules_total", mode, factor)
            for mode in ("dynamic", "idle")
            for part, factor in (("", 1.0), *((f"{name}_", value) for name, value in parts.items()))
        ]
        ids = [self._named(metric, {**labels, "mode": mode}) for metric, mode, _ in rows]
        dynamic = np.array([factor if mode == "dynamic" else 0.0 for _, mode, factor in rows])
        idle = np.array([factor if mode == "idle" else 0.0 for _, mode, factor in rows])
        series_ids = np.array(ids, dtype=np.uint64)
        return _Counter(pod=pod, node=node, share=share, series_ids=series_ids, dynamic=dynamic, idle=idle)

    def _named(self, metric: str, labels: dict[str, str | None]) -> int:
        text = "\0".join([metric, *(f"{k}={v}" for k, v in labels.items() if v is not None)])
        series_id = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
        self._names[series_id] = {**labels, "metric": metric}
        return series_id

    def _restart(self, node: int) -> None:
        for counter in self._counters.values():
            if counter.node == node:
                counter.offset_dynamic_j, counter.offset_idle_j = counter.dynamic_j, counter.idle_j
        self._nodes[node].restart()

    def _node(self, node: int) -> NodeCounters:
        labels: dict[str, str | None] = dict.fromkeys(LABEL_COLUMNS)
        labels |= {"namespace": "kepler", "pod": f"kepler-{node}", "instance": f"10.0.0.{node + 1}:9102"}
        if self._kepler != "0.9":
            labels["node_name"] = self._cluster.nodes[node]
        return node_counters(labels, kepler=self._kepler, parts=self._parts, idle_w=_IDLE_NODE_W, named=self._named)

    def _grown(
        self, node: int, times: FloatArray, ts: float, of_pod: dict[str, tuple[float, float, float, float]]
    ) -> FloatArray:
        """Return dynamic joules of each part that the pods of a node draw from `ts` to each of `times`."""
        grown: FloatArray = np.zeros((len(self._parts), len(times)))
        first = 1 if self._kepler == "0.9" else 0  # after the sum of all parts
        for counter in self._counters.values():
            if counter.node == node:
                watts, _, begin, end = self._rates(counter, ts, of_pod)
                shares = counter.dynamic[first : first + len(self._parts)]
                grown += np.outer(shares, watts * np.clip(times - begin, 0.0, max(end - begin, 0.0)))
        return grown

    def _scrapes(self, node: int, ts: float) -> FloatArray:
        """Return times at which the node's exporter is scraped in the minute."""
        first = np.ceil((ts - self._phases[node]) / self._interval_s) * self._interval_s + self._phases[node]
        times = np.arange(first, ts + MINUTE_S, self._interval_s)
        if node in self._cluster.restarted_exporters:
            times = times[times >= ts + _RESTART_S]
        return np.asarray(times[times >= self._cluster.unscraped.get(node, 0.0)], dtype=np.float64)

    def _sampled(
        self, node: int, scrapes: FloatArray, ts: float, of_pod: dict[str, tuple[float, float, float, float]]
    ) -> list[tuple[NDArray[np.uint64], FloatArray, FloatArray]]:
        found = []
        for counter in self._counters.values():
            if counter.node != node or not len(scrapes):
                continue
            watts, idle_w, begin, end = self._rates(counter, ts, of_pod)
            times = scrapes[(scrapes >= begin) & (scrapes < end)]
            if not len(times):
                continue
            lived = times - begin
            dynamic = counter.dynamic_j - counter.offset_dynamic_j + watts * lived
            idle = counter.idle_j - counter.offset_idle_j + idle_w * lived
            values = np.outer(counter.dynamic, dynamic) + np.outer(counter.idle, idle)
            ids = np.repeat(counter.series_ids, len(times))
            found.append((ids, np.tile(times, len(counter.series_ids)), values.ravel().round(_JOULES_DIGITS)))
        return found

    def _rates(
        self, counter: _Counter, ts: float, of_pod: dict[str, tuple[float, float, float, float]]
    ) -> tuple[float, float, float, float]:
        """Return dynamic and idle watts of the counter, and from when to when it lives in the minute."""
        if counter.pod is None:
            return counter.base_w, 0.1 * counter.base_w, ts, ts + MINUTE_S
        watts, idle_w, begin, end = of_pod[counter.pod.uid]
        return watts * counter.share, idle_w * counter.share, begin, end

    def _accrue(self, ts: float, of_pod: dict[str, tuple[float, float, float, float]]) -> None:
        ends = np.array([ts + MINUTE_S])
        for node, counters in enumerate(self._nodes):
            counters.accrue(self._grown(node, ends, ts, of_pod)[:, 0], seconds=MINUTE_S)
        for counter in self._counters.values():
            watts, idle_w, begin, end = self._rates(counter, ts, of_pod)
            counter.dynamic_j += watts * max(end - begin, 0.0)
            counter.idle_j += idle_w * max(end - begin, 0.0)

    def _stale(self, ts: float) -> tuple[NDArray[np.uint64], FloatArray]:
        """Return a staleness marker for each series of a pod that ended in the minute, at the end of it."""
        ids, times = [np.zeros(0, dtype=np.uint64)], [np.zeros(0)]
        for key in [k for k, c in self._counters.items() if c.pod is not None and c.pod.end_s <= ts + MINUTE_S]:
            counter = self._end(key, ts)
            if self._kepler == "0.10" and counter.pod is not None:
                after_s = counter.pod.end_s - self._phases[counter.node]
                scraped_s = np.ceil(after_s / self._interval_s) * self._interval_s + self._phases[counter.node]
                self._terminated.append((float(scraped_s), counter))
            ids.append(counter.series_ids)
            times.append(np.full(len(counter.series_ids), ts + MINUTE_S - 0.001))
        return np.concatenate(ids), np.concatenate(times)

    def _last_words(self, ts: float) -> tuple[NDArray[np.uint64], FloatArray, FloatArray]:
        """Kepler 0.10 shows the final counters of a pod that has ended once more, as `state="terminated"`."""
        ids, times, values = [np.zeros(0, dtype=np.uint64)], [np.zeros(0)], [np.zeros(0)]
        due = [(at, counter) for at, counter in self._terminated if at < ts + MINUTE_S]
        self._terminated = [(at, counter) for at, counter in self._terminated if at >= ts + MINUTE_S]
        for at, counter in due:
            if counter.node in self._cluster.restarted_exporters or at < self._cluster.unscraped.get(counter.node, 0.0):
                continue
            labels = [self._names[i] for i in counter.series_ids.tolist()]
            own = [self._named(str(n["metric"]), {**n, "metric": None, "state": "terminated"}) for n in labels]
            ids.append(np.array(own, dtype=np.uint64))
            times.append(np.full(len(own), at))
            values.append((counter.dynamic * (counter.dynamic_j - counter.offset_dynamic_j)).round(_JOULES_DIGITS))
        return np.concatenate(ids), np.concatenate(times), np.concatenate(values)

    def _end(self, key: tuple[str, int], ts: float) -> _Counter:  # noqa: ARG002
        return self._counters.pop(key)

    def _owners(self, pods: list[Pod], ts: float) -> tuple[NDArray[np.uint64], FloatArray]:
        """Return kube_pod_owner of each pod, and the owners of their ReplicaSets and Jobs, once a minute."""
        ids = []
        above: dict[str, int] = {}
        for pod in (p for p in pods if p.start_s <= ts + 15.0 < p.end_s):
            references = pod.object["metadata"].get("ownerReferences") or [{}]
            direct = references[0]
            ids.append(
                self._named(
                    "kube_pod_owner",
                    {
                        "namespace": pod.namespace,
                        "pod": pod.name,
                        "uid": pod.uid,
                        "owner_kind": direct.get("kind", "<none>"),
                        "owner_name": direct.get("name", "<none>"),
                        "owner_is_controller": "true",
                    },
                )
            )
            metric, label = {
                "ReplicaSet": ("kube_replicaset_owner", "replicaset"),
                "Job": ("kube_job_owner", "job_name"),
            }.get(direct.get("kind", ""), ("", ""))
            if metric:
                top = pod.workload.owner if pod.workload.plan.kind != "Job" else None
                owner = {"owner_kind": top["kind"], "owner_name": top["metadata"]["name"]} if top else {}
                labels = {"namespace": pod.namespace, label: direct["name"], "owner_is_controller": "true", **owner}
                above[direct["uid"]] = self._named(metric, labels)
        found = np.array([*ids, *above.values()], dtype=np.uint64)
        return found, np.full(len(found), ts + 15.0)
