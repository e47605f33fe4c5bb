"""Checks of a recording, which a simulated or recorded home reads in place of a cluster and its Prometheus."""

import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from podpower.doctor import RECENT_S, Finding
from podpower.errors import PodpowerError
from podpower.labels.kepler import PSEUDO_PODS, Generation, detect
from podpower.sources.protocols import Selector
from podpower.sources.recording import Recording

_STOPPED_S = 300.0  # a simulation that follows the clock writes every few seconds
_SAMPLED_S = 600.0
_FROM_HERE = "labels of a cluster: podpower doctor --prom http://HOST:9090"


def examine_recording(root: Path, *, now_s: float | None = None) -> list[Finding]:
    """Check that a recording can be read, that it is continued, and that Kepler's counters in it count."""
    now_s = time.time() if now_s is None else now_s
    again = f"podpower simulate --out {root} --follow"
    try:
        recording = Recording(root)
        names = recording.metric_names(start_s=recording.end_s - RECENT_S, end_s=recording.end_s)
    except PodpowerError as error:
        return [Finding(check="recording", state="fail", detail=str(error), fix=again)]
    found = [_reach(recording, root, now_s=now_s, again=again)]
    try:
        for generation in detect(names):
            found.append(Finding(check="kepler", state="ok", detail=f"metrics of Kepler {generation.name}"))
            found += _energy(recording, generation, names)
    except PodpowerError as error:
        found.append(Finding(check="kepler", state="fail", detail=str(error), fix=again))
    return found


def _reach(recording: Recording, root: Path, *, now_s: float, again: str) -> Finding:
    hours, ago_s = (recording.end_s - recording.start_s) / RECENT_S, now_s - recording.end_s
    what = f"{root} has {hours:.1f} hours of {recording.cluster}, until {max(ago_s, 0.0):.0f} s ago"
    if ago_s <= _STOPPED_S:
        return Finding(check="recording", state="ok", detail=f"{what}; no cluster is observed", fix=_FROM_HERE)
    fix = f"podpower up, or {again}; {_FROM_HERE}"
    return Finding(check="recording", state="warn", detail=f"{what}: nothing writes it", fix=fix)


def _energy(recording: Recording, generation: Generation, names: frozenset[str]) -> Iterator[Finding]:
    """Check the counters of pods in the last minutes."""
    metric, end_s = generation.metrics(names)[0], recording.end_s
    samples = recording.samples([Selector(metric=metric)], start_s=end_s - _SAMPLED_S, end_s=end_s)
    pods = samples.series.filter(~pl.col(generation.pod_label).is_in(PSEUDO_PODS))
    points = samples.points.join(pods.select("series_id"), on="series_id").sort("series_id", "ts")
    largest_j = float(points["value"].max() or 0.0)  # type: ignore[arg-type]  # values are floats
    if not largest_j:
        yield Finding(
            check="energy", state="fail", detail=f"{metric} has no energy in the last {_SAMPLED_S / 60:g} minutes"
        )
        return
    yield Finding(check="energy", state="ok", detail=f"{metric} counts up to {largest_j:.3g} J in {len(pods)} series")
    gaps = points.select(pl.col("ts").diff().over("series_id").drop_nulls())["ts"]
    if not gaps.is_empty():
        yield Finding(check="scrapes", state="ok", detail=f"a sample every {float(gaps.median()):.0f} s")  # type: ignore[arg-type]
