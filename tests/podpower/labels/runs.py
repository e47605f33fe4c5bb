"""Pods of any length under an exporter that restarts: samples of their counters, with the true energy of each pod.

The simulated cluster lives from minute to minute; here lives, resets and scrapes are at any time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from podpower.sources.protocols import (
    LABEL_COLUMNS,
    POINTS_SCHEMA,
    SERIES_SCHEMA,
    MetricSamples,
    Selector,
    SeriesFound,
    selected,
)

FloatArray = NDArray[np.float64]

SYSTEM_W = 30.0  # of what is no pod, on each node
NOISE, NOISE_S = 0.06, 60.0  # power of a pod changes by so much (in logs) from minute to minute
_ZONES = {"package": 0.85, "dram": 0.15}
_METRICS = {"0.9": "kepler_container_joules_total", "0.10": "kepler_pod_cpu_joules_total"}
_DOWN_S = (3.0, 40.0)  # how long an exporter that restarts is away


@dataclass(frozen=True, kw_only=True)
class Run:
    """A pod from start to end. Its counters begin anew at `resets`; `power_w` holds its watts by NOISE_S."""

    name: str
    uid: str
    start_s: float
    end_s: float
    resets: tuple[float, ...]
    power_w: FloatArray

    def joules(self, begin_s: float, times: FloatArray) -> FloatArray:
        """Return true energy from `begin_s` to each time."""
        edges = self.start_s + NOISE_S * np.arange(len(self.power_w) + 1)
        total = np.append(0.0, np.cumsum(self.power_w * NOISE_S))
        at = np.interp(np.clip(times, self.start_s, self.end_s), edges, total)
        from_s = min(max(begin_s, self.start_s), self.end_s)
        grown: FloatArray = at - np.interp(from_s, edges, total)
        return np.maximum(grown, 0.0)

    @property
    def total_j(self) -> float:
        """True energy of its whole life."""
        return float(self.joules(self.start_s, np.array([self.end_s]))[0])


@dataclass(frozen=True, kw_only=True)
class Exporter:
    """One node's Kepler: when it was scraped, and the restarts that took all of its counters."""

    node: str
    scrapes: FloatArray
    restarts: FloatArray


def random_runs(
    rng: np.random.Generator, *, count: int, span_s: float, lives_s: tuple[float, float], exporter: Exporter
) -> list[Run]:
    """Pods of the exporter's node that live inside the span, for log-uniform times. One in four restarts its container,
    late enough for a counter that begins anew to be seen to fall.
    """
    found = []
    start_s, scrape_s = float(exporter.scrapes[0]), float(np.median(np.diff(exporter.scrapes)))
    for number in range(count):
        life_s = float(np.exp(rng.uniform(*np.log(lives_s))))
        begin_s = start_s + float(rng.uniform(0, max(span_s - life_s, 1.0)))
        power_w = float(rng.lognormal(1.0, 1.0)) * rng.lognormal(0.0, NOISE, int(life_s // NOISE_S) + 1)
        reset_s = begin_s + float(rng.uniform(0.4, 0.9)) * life_s
        began_s = float(np.max(exporter.restarts, initial=begin_s, where=exporter.restarts < reset_s + scrape_s))
        resets = (reset_s,) if rng.random() < 0.25 and reset_s - began_s > 4 * scrape_s else ()
        name, uid = f"{exporter.node}-{number}", f"uid-{exporter.node}-{number}"
        found.append(Run(name=name, uid=uid, start_s=begin_s, end_s=begin_s + life_s, resets=resets, power_w=power_w))
    return found


def random_exporter(
    rng: np.random.Generator, *, node: str, start_s: float, span_s: float, scrape_s: float, restarts_an_hour: float
) -> Exporter:
    """Return scrapes every `scrape_s` with a jitter, without those that failed or fell into a restart. Restarts lie far
    enough apart for each to be seen.
    """
    scrapes = np.arange(start_s + rng.uniform(0, scrape_s), start_s + span_s, scrape_s)
    scrapes = (scrapes + rng.uniform(0, 0.05 * min(scrape_s, 20.0), len(scrapes))).round(3)
    restarts = np.sort(start_s + rng.uniform(0, span_s, rng.poisson(restarts_an_hour * span_s / 3600.0)))
    restarts = restarts[np.append(True, np.diff(restarts) > _DOWN_S[1] + 4 * scrape_s)] if len(restarts) else restarts
    for at in restarts:
        scrapes = scrapes[(scrapes < at) | (scrapes > at + rng.uniform(*_DOWN_S))]
    return Exporter(node=node, scrapes=scrapes[rng.random(len(scrapes)) > 0.01], restarts=restarts)


def scraped(runs: Sequence[Run], exporter: Exporter, *, kepler: str) -> MetricSamples:
    """Return samples of the counters of these pods and of their node."""
    rows: list[dict[str, object]] = []
    points: list[pl.DataFrame] = []
    for run in runs:
        _add_run(rows, points, run, exporter, kepler=kepler)
    began = np.append(exporter.scrapes[0], exporter.restarts)
    last = np.searchsorted(exporter.restarts, exporter.scrapes)
    node_j = SYSTEM_W * (exporter.scrapes - began[last])
    for run in runs:
        node_j += (
            run.joules(run.start_s, exporter.scrapes) - np.append(0.0, run.joules(run.start_s, exporter.restarts))[last]
        )
    for labels, share in _zones(kepler):
        metric = "kepler_node_cpu_active_joules_total" if kepler == "0.10" else "kepler_node_platform_joules_total"
        _add(rows, points, {"metric": metric, **_of_exporter(exporter), **labels}, exporter.scrapes, node_j * share)
    series = pl.DataFrame([{**dict.fromkeys(LABEL_COLUMNS), **row} for row in rows], schema=SERIES_SCHEMA)
    return MetricSamples(series=series, points=pl.concat(points))


def _add_run(
    rows: list[dict[str, object]], points: list[pl.DataFrame], run: Run, exporter: Exporter, *, kepler: str
) -> None:
    alive = exporter.scrapes[(exporter.scrapes >= run.start_s) & (exporter.scrapes < run.end_s)]
    began = np.sort(np.concatenate([[run.start_s], run.resets, exporter.restarts]))
    values = np.array([run.joules(began[began <= t].max(), np.array([t]))[0] for t in alive])
    # 0.9 counts a restarted container under another id; 0.10 continues under the pod's.
    life = np.searchsorted(np.array(run.resets), alive) if kepler == "0.9" else np.zeros(len(alive), dtype=np.int64)
    for number in np.unique(life):
        for labels, share in _zones(kepler):
            named = {**_of_exporter(exporter), **_of_pod(run, int(number), kepler=kepler), **labels}
            _add(
                rows,
                points,
                {"metric": _METRICS[kepler], **named},
                alive[life == number],
                values[life == number] * share,
            )


def _zones(kepler: str) -> list[tuple[dict[str, str], float]]:
    if kepler == "0.9":
        return [({"mode": "dynamic"}, 1.0)]
    return [({"zone": zone}, share) for zone, share in _ZONES.items()]


def _of_exporter(exporter: Exporter) -> dict[str, str]:
    return {"instance": f"{exporter.node}:9102", "namespace": "kepler", "pod": f"kepler-{exporter.node}"}


def _of_pod(run: Run, container: int, *, kepler: str) -> dict[str, str]:
    if kepler == "0.9":
        container_id = f"{run.uid}-{container}"
        return {
            "container_namespace": "runs",
            "pod_name": run.name,
            "container_name": "c",
            "container_id": container_id,
        }
    return {"pod_namespace": "runs", "pod_name": run.name, "pod_id": run.uid, "state": "running"}


def _add(
    rows: list[dict[str, object]], points: list[pl.DataFrame], labels: dict[str, str], times: FloatArray,
    values: FloatArray,
) -> None:  # fmt: skip
    if len(times):
        columns = {"series_id": np.full(len(times), len(rows), dtype=np.uint64), "ts": times, "value": values.round(3)}
        rows.append({"series_id": len(rows), **labels})
        points.append(pl.DataFrame(columns, schema=POINTS_SCHEMA))


def merged(parts: Sequence[MetricSamples]) -> MetricSamples:
    """Return samples of several nodes as those of one cluster."""
    series, points, first = [], [], 0
    for part in parts:
        series.append(part.series.with_columns(pl.col("series_id") + first))
        points.append(part.points.with_columns(pl.col("series_id") + first))
        first += len(part.series)
    return MetricSamples(series=pl.concat(series), points=pl.concat(points))


@dataclass(frozen=True, kw_only=True)
class InMemory:
    """A MetricSource of samples that are already there."""

    whole: MetricSamples
    cluster: str | None = "sim"

    def metric_names(self, *, start_s: float, end_s: float) -> frozenset[str]:
        """Return metrics with samples in the range."""
        return frozenset(self.samples((), start_s=start_s, end_s=end_s, every=True).series["metric"])

    def samples(
        self, selectors: Sequence[Selector], *, start_s: float, end_s: float, every: bool = False
    ) -> MetricSamples:
        """Return samples with start_s <= ts <= end_s."""
        points = self.whole.points.filter(pl.col("ts").is_between(start_s, end_s))
        chosen = pl.lit(value=True) if every else selected(selectors)
        series = self.whole.series.filter(chosen).join(points, on="series_id", how="semi")
        return MetricSamples(series=series, points=points.join(series, on="series_id", how="semi"))

    def series(self, selectors: Sequence[Selector], *, start_s: float, end_s: float) -> SeriesFound:
        """Return series with samples in the range."""
        return SeriesFound(table=self.samples(selectors, start_s=start_s, end_s=end_s).series)
