"""From a source of samples to the labels table: windows (one row a pod and step) and jobs (one row a pod).

A range is gone through in pieces, so that memory does not grow with its length: while one piece is counted the next is
fetched, and every sample is fetched once.
"""

import math
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import polars as pl

from podpower.errors import InvalidInput
from podpower.labels import reasons
from podpower.labels.counters import ENDED_AFTER_S, ENERGY, REASON, TS, clean, pod_energy, step_energy
from podpower.labels.jobs import Jobs
from podpower.labels.kepler import PSEUDO_PODS, Energy, Generation, detect, pod_series
from podpower.labels.owners import OwnerSource, Owning
from podpower.labels.report import LabelReport, Tally
from podpower.labels.table import JOBS_SCHEMA, WINDOWS_SCHEMA
from podpower.sources.protocols import MetricSamples, MetricSource, Selector

PIECE_S = 1200.0
NO_IDLE = "this Kepler attributes no idle energy to pods: total is the same as dynamic"
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Labels:
    """The labels table (docs/reference/file-formats.md) and what to know about it."""

    table: pl.DataFrame
    report: LabelReport


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is asked of an export: energy of each pod in steps of [start_s, end_s], edges at start_s + k * step."""

    start_s: float
    end_s: float
    step_seconds: float = 60.0
    energy: Energy = "dynamic"
    owner_source: OwnerSource = "auto"

    def __post_init__(self) -> None:
        step = self.step_seconds
        if not (step > 0 and math.isfinite(step) and self.end_s - self.start_s >= step):
            raise InvalidInput(f"no whole step of {step:g} s between start and end: give a longer range")

    def pieces(self) -> list[tuple[float, int]]:
        """Start and number of steps of each piece."""
        total = int((self.end_s - self.start_s + 1e-6) // self.step_seconds)
        at_once = max(1, int(PIECE_S // self.step_seconds))
        return [
            (self.start_s + first * self.step_seconds, min(at_once, total - first))
            for first in range(0, total, at_once)
        ]


class WindowExport:
    """Window labels piece by piece: iterate once, then `report` tells of all of them."""

    def __init__(self, source: MetricSource, specs: pl.DataFrame | None, asked: Asked) -> None:
        """InvalidInput for what cannot be asked; Unavailable where Kepler's series are missing."""
        self._source, self._asked = source, asked
        self._names = source.metric_names(start_s=asked.start_s, end_s=asked.end_s)
        self._generations = detect(self._names)
        self._selectors = [s for g in self._generations for s in g.selectors(self._names, energy=asked.energy)]
        self._owning = Owning(source, specs, self._names, owner_source=asked.owner_source)
        self.tally = Tally(generation=" and ".join(g.name for g in self._generations), energy=asked.energy)
        if asked.energy == "total" and not any(g.has_idle for g in self._generations):
            self.tally.warn(NO_IDLE)

    @property
    def report(self) -> LabelReport:
        """Counts of the pieces so far."""
        return self.tally.report()

    def pieces(self, progress: Progress | None = None) -> Iterator[pl.DataFrame]:
        """Tables in WINDOWS_SCHEMA, one for each piece of time in order; `progress` is told pieces done and in all."""
        pieces = self._asked.pieces()
        for done, (piece, samples) in enumerate(zip(pieces, self._fetched(pieces), strict=True), start=1):
            table = self._labelled(samples, start_s=piece[0], steps=piece[1])
            self.tally.count(table, column=ENERGY)
            yield table
            if progress:
                progress(done, len(pieces))

    def _fetched(self, pieces: list[tuple[float, int]]) -> Iterator[MetricSamples]:
        """Samples of each piece and its margins. Those of the margins are kept, not fetched again."""
        step, margin_s = self._asked.step_seconds, ENDED_AFTER_S + self._asked.step_seconds
        ends = [start + steps * step + margin_s for start, steps in pieces]
        begins = [pieces[0][0] - margin_s, *(end + 1e-3 for end in ends[:-1])]
        kept = None
        for number, new in enumerate(_prefetched(self._source, self._selectors, list(zip(begins, ends, strict=True)))):
            whole = new if kept is None else _joined(kept, new)
            yield whole
            if number + 1 < len(pieces):
                kept = _since(whole, pieces[number + 1][0] - margin_s)

    def _labelled(self, samples: MetricSamples, *, start_s: float, steps: int) -> pl.DataFrame:
        asked = self._asked
        stepped = self._stepped(samples, start_s=start_s, steps=steps)
        if samples.partial:
            stepped = stepped.with_columns(
                pl.lit(None, dtype=pl.Float64).alias(ENERGY), pl.lit(reasons.PARTIAL_ANSWER).alias(REASON)
            )
        end_s = start_s + steps * asked.step_seconds
        owned, said = self._owning.of(stepped, start_s=start_s, end_s=end_s, step_seconds=asked.step_seconds)
        self.tally.warn(*samples.warnings, *said)
        table = owned.with_columns(
            (pl.col(ENERGY) / asked.step_seconds).alias("avg_power_w"),
            pl.lit(asked.step_seconds).alias("step_seconds"),
            pl.lit(asked.energy).alias("energy"),
            pl.lit(self._source.cluster).alias("cluster"),
        )
        return table.select(WINDOWS_SCHEMA.names()).cast(WINDOWS_SCHEMA).sort("namespace", "pod", TS)

    def _stepped(self, samples: MetricSamples, *, start_s: float, steps: int) -> pl.DataFrame:
        """Energy of pods; where two generations measured a step, the newest that knows it."""
        per_generation = [
            self._of_generation(samples, generation, start_s=start_s, steps=steps) for generation in self._generations
        ]
        if len(per_generation) == 1:
            return per_generation[0]
        ranked = pl.concat(table.with_columns(rank=number) for number, table in enumerate(per_generation))
        best = ranked.sort(pl.col(ENERGY).is_null(), "rank").unique(["namespace", "pod", TS], keep="first")
        return best.drop("rank")

    def _of_generation(
        self, samples: MetricSamples, generation: Generation, *, start_s: float, steps: int
    ) -> pl.DataFrame:
        series = pod_series(samples.series, generation, energy=self._asked.energy)
        pseudo = series["pod"].is_in(PSEUDO_PODS)
        self.tally.exclude(series.filter(pseudo)["pod"].n_unique())
        series = series.filter(~pseudo)
        points = clean(samples.points.join(series.select("series_id", "series"), on="series_id").drop("series_id"))
        per_series = step_energy(points, start_s=start_s, steps=steps, step_seconds=self._asked.step_seconds)
        pods = series.select("series", "namespace", "pod").unique("series")
        return pod_energy(per_series.join(pods, on="series"))


def no_labels(warning: str) -> Labels:
    """The labels of a time of which nothing is known, and why."""
    tally = Tally(generation="none", energy="dynamic")
    tally.warn(warning)
    return Labels(table=pl.DataFrame(schema=WINDOWS_SCHEMA), report=tally.report())


def label_windows(source: MetricSource, specs: pl.DataFrame | None, asked: Asked) -> Labels:
    """Energy of each pod in each step. `specs` is the `workload_specs` table: owners and templates as objects tell.

    Unavailable where Kepler's series are missing. The whole table is in memory: `WindowExport` gives it in pieces.
    """
    export = WindowExport(source, specs, asked)
    table = pl.concat(export.pieces()).sort("namespace", "pod", TS)
    return Labels(table=table, report=export.report)


def label_jobs(
    source: MetricSource, specs: pl.DataFrame | None, asked: Asked, *, progress: Progress | None = None
) -> Labels:
    """One row a pod: all the energy it is known to have used, its time, and mean power.

    The partial first and last steps of a pod's life are left out of energy and time alike; any other unknown step
    makes the total null.
    """
    export = WindowExport(source, specs, asked)
    jobs = Jobs()
    for table in export.pieces(progress):
        jobs.add(table)
    table = jobs.table().select(JOBS_SCHEMA.names()).cast(JOBS_SCHEMA)
    return Labels(table=table, report=export.tally.of_jobs(table))


def _prefetched(
    source: MetricSource, selectors: list[Selector], spans: list[tuple[float, float]]
) -> Iterator[MetricSamples]:
    """Samples of each span in order; the next one is on its way while one is being used."""
    with ThreadPoolExecutor(max_workers=1) as pool:

        def fetch(number: int) -> "Future[MetricSamples]":
            return pool.submit(source.samples, selectors, start_s=spans[number][0], end_s=spans[number][1])

        coming = fetch(0)
        for number in range(len(spans)):
            here = coming.result()
            if number + 1 < len(spans):
                coming = fetch(number + 1)
            yield here


def _joined(first: MetricSamples, second: MetricSamples) -> MetricSamples:
    series = pl.concat([first.series, second.series]).unique("series_id", keep="first", maintain_order=True)
    return MetricSamples(
        series=series,
        points=pl.concat([first.points, second.points]),
        warnings=tuple(dict.fromkeys((*first.warnings, *second.warnings))),
        partial=first.partial or second.partial,
    )


def _since(samples: MetricSamples, ts: float) -> MetricSamples:
    points = samples.points.filter(pl.col("ts") >= ts)
    series = samples.series.join(points.select("series_id").unique(), on="series_id", how="semi")
    return MetricSamples(series=series, points=points, partial=samples.partial)
