"""Window labels from a source of samples: one row for each pod and step.

A range is read in pieces, so that memory does not grow with its length: while one piece is counted the next is
fetched, and every sample is fetched once.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import polars as pl

from podpower.errors import InvalidInput
from podpower.hours import start_of_hour
from podpower.labels.clock import exporter_clock
from podpower.labels.counters import ENDED_AFTER_S, TS, samples_of
from podpower.labels.intervals import intervals_of
from podpower.labels.kepler import (
    BUILD_INFO,
    PSEUDO_PODS,
    ZONE,
    Energy,
    Generation,
    detect,
    node_series,
    pod_series,
)
from podpower.labels.nodes import NodeRatio, NodeSums, failed_ratios, label_source, with_ratios
from podpower.labels.owners import OwnerSource, Owning
from podpower.labels.relabelling import check_labels
from podpower.labels.report import NO_GENERATION, LabelReport, ReportBuilder
from podpower.labels.table import WINDOWS_SCHEMA
from podpower.labels.windows import ENERGY, steps_of
from podpower.sources.protocols import MetricSamples, MetricSource, Selector

PIECE_S = 1200.0
NO_IDLE = "this Kepler attributes no idle energy to pods: total is the same as dynamic"
_SHOWN = 3  # ratios named in warnings
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Labels:
    """The labels table (docs/reference/file-formats.md) and counts of it."""

    table: pl.DataFrame
    report: LabelReport


@dataclass(frozen=True, kw_only=True)
class LabelRequest:
    """An export: energy of each pod in [start_s, end_s], in steps with edges at start_s + k * step."""

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


class Kepler:
    """Kepler's series in a range: generations, selectors, and where the labels come from."""

    def __init__(self, source: MetricSource, request: LabelRequest) -> None:
        """Unavailable where Kepler's series are missing."""
        self.request = request
        self.names = source.metric_names(start_s=request.start_s, end_s=request.end_s)
        self.generations = detect(self.names)
        energy = request.energy
        self.node_selectors = [s for g in self.generations for s in g.node_selectors(self.names, energy=energy)]
        self.selectors = [s for g in self.generations for s in g.selectors(self.names, energy=energy)]
        self.report = ReportBuilder(generation=" and ".join(g.name for g in self.generations), energy=energy)
        if energy == "total" and not any(g.has_modes for g in self.generations):
            self.report.warn(NO_IDLE)
        self._zones: set[str] = set()
        self._versions = self._built(source)

    def series(self, samples: MetricSamples, generation: Generation) -> pl.DataFrame:
        """`pod_series` of the generation, whose pseudo-pods and zones are counted. MissingLabels where pods' series
        lack a label.
        """
        self.report.warn(*check_labels(samples.series, generation, samples.label_names))
        series = pod_series(samples.series, generation, energy=self.request.energy)
        self.report.exclude(series.filter(pl.col("pod").is_in(PSEUDO_PODS))["pod"].n_unique())
        self._zones.update(series[ZONE].unique())
        return series

    @property
    def label_source(self) -> str:
        """The source of the labels, as evidence shows it."""
        return label_source(self.generations, self._zones, self.request.energy, self._versions)

    def _built(self, source: MetricSource) -> str:
        """Return the versions of Kepler that ran in the range, where they are shown."""
        if BUILD_INFO not in self.names:
            return ""
        found = source.series([Selector(metric=BUILD_INFO)], start_s=self.request.start_s, end_s=self.request.end_s)
        return " and ".join(v.removeprefix("v") for v in found.table["version"].drop_nulls().unique().sort())


class WindowExport:
    """Window labels piece by piece: iterate once, then `report` counts all of them."""

    def __init__(self, source: MetricSource, specs: pl.DataFrame | None, request: LabelRequest) -> None:
        """InvalidInput for a request that cannot be met; Unavailable where Kepler's series are missing."""
        self._source, self._request = source, request
        self._kepler = Kepler(source, request)
        self._owning = Owning(source, specs, self._kepler.names, owner_source=request.owner_source)
        self._sums = [NodeSums() for _ in self._kepler.generations]

    @property
    def report(self) -> LabelReport:
        """Counts of the pieces so far."""
        ratios = self.node_ratios()
        failed = failed_ratios(ratios)
        more = f" (and {len(failed) - _SHOWN} more)" if len(failed) > _SHOWN else ""
        warnings = [f"{ratio}{more if number == _SHOWN else ''}" for number, ratio in enumerate(failed[:_SHOWN], 1)]
        return self._kepler.report.report(
            label_source=self._kepler.label_source, node_ratios=tuple(ratios), warnings=tuple(warnings)
        )

    def node_ratios(self) -> list[NodeRatio]:
        """Return the sum of pods over their nodes' counters, by hour and zone."""
        return [
            ratio
            for sums, generation in zip(self._sums, self._kepler.generations, strict=True)
            for ratio in sums.ratios(generation)
        ]

    def pieces(self, progress: Progress | None = None) -> Iterator[pl.DataFrame]:
        """Yield tables in WINDOWS_SCHEMA in the order of time; `progress` gets pieces done and in all.

        The labels of an hour are held until its sums of pods and nodes are known.
        """
        pieces, held = self._request.pieces(), list[pl.DataFrame]()
        for done, (piece, samples) in enumerate(zip(pieces, self._fetched(pieces), strict=True), start=1):
            table = self._labelled(samples, start_s=piece[0], steps=piece[1])
            self._kepler.report.count(table, column=ENERGY)
            held.append(table)
            last = done == len(pieces)
            until_s = float("inf") if last else start_of_hour(piece[0] + piece[1] * self._request.step_seconds)
            if until_s > piece[0]:
                ratios = self.node_ratios()
                yield from (with_ratios(table.filter(pl.col(TS) <= until_s), ratios) for table in held)
                held = [table.filter(pl.col(TS) > until_s)]
            if progress:
                progress(done, len(pieces))

    def _fetched(self, pieces: list[tuple[float, int]]) -> Iterator[MetricSamples]:
        """Yield samples of each piece and its margins. Those of the margins are kept, not fetched again."""
        step, margin_s = self._request.step_seconds, ENDED_AFTER_S + self._request.step_seconds
        ends = [start + steps * step + margin_s for start, steps in pieces]
        begins = [pieces[0][0] - margin_s, *(end + 1e-3 for end in ends[:-1])]
        selectors = [*self._kepler.selectors, *self._kepler.node_selectors]
        wanted = [(selectors, begin, end) for begin, end in zip(begins, ends, strict=True)]
        kept = None
        for number, new in enumerate(prefetched(self._source, wanted)):
            whole = new if kept is None else joined(kept, new)
            yield whole
            if number + 1 < len(pieces):
                kept = since(whole, pieces[number + 1][0] - margin_s)

    def _labelled(self, samples: MetricSamples, *, start_s: float, steps: int) -> pl.DataFrame:
        request = self._request
        end_s = start_s + steps * request.step_seconds
        stepped = self._stepped(samples, start_s=start_s, steps=steps)
        owned, warnings = self._owning.of(stepped, start_s=start_s, end_s=end_s, step_seconds=request.step_seconds)
        self._kepler.report.warn(*samples.warnings, *warnings)
        table = owned.with_columns(
            pl.lit(request.step_seconds).alias("step_seconds"),
            pl.lit(request.energy).alias("energy"),
            pl.lit(self._source.cluster).alias("cluster"),
            pl.lit(self._kepler.label_source).alias("label_source"),
            pl.lit(None, pl.Float64).alias("node_ratio"),
        )
        return table.select(WINDOWS_SCHEMA.names()).cast(WINDOWS_SCHEMA).sort("namespace", "pod", TS)

    def _stepped(self, samples: MetricSamples, *, start_s: float, steps: int) -> pl.DataFrame:
        """Return energy of pods; where two generations measured a step, the newest that knows most of it."""
        per_generation = [
            self._of_generation(samples, generation, sums, start_s=start_s, steps=steps)
            for generation, sums in zip(self._kepler.generations, self._sums, strict=True)
        ]
        if len(per_generation) == 1:
            return per_generation[0]
        ranked = pl.concat(table.with_columns(rank=number) for number, table in enumerate(per_generation))
        best = ranked.sort(pl.col(ENERGY).is_null(), -pl.col("known_s"), "rank")
        return best.unique(["namespace", "pod", TS], keep="first").drop("rank")

    def _of_generation(
        self, samples: MetricSamples, generation: Generation, sums: NodeSums, *, start_s: float, steps: int
    ) -> pl.DataFrame:
        series = self._kepler.series(samples, generation)
        counted = samples_of(samples.points, series)
        self._kepler.report.warn(*counted.warnings)
        end_s = start_s + steps * self._request.step_seconds
        nodes = node_series(samples.series, generation)
        sums.add(counted, series, samples.points, nodes, begin_s=start_s, end_s=end_s)
        clock = exporter_clock(samples.points, nodes, counted)
        intervals = intervals_of(counted, partial=samples.partial_ranges, clock=clock)
        table = steps_of(intervals, start_s=start_s, steps=steps, step_seconds=self._request.step_seconds)
        return table.filter(~pl.col("pod").is_in(PSEUDO_PODS))


def no_labels(warning: str) -> Labels:
    """Return the labels of a time of which nothing is known, with the reason as a warning."""
    report = ReportBuilder(generation=NO_GENERATION, energy="dynamic")
    report.warn(warning)
    return Labels(table=pl.DataFrame(schema=WINDOWS_SCHEMA), report=report.report())


def label_windows(source: MetricSource, specs: pl.DataFrame | None, request: LabelRequest) -> Labels:
    """Return the energy of each pod in each step. `specs` is the `workload_specs` table, which decides owners and
    templates.

    Unavailable where Kepler's series are missing. The whole table is in memory: `WindowExport` yields it in pieces.
    """
    export = WindowExport(source, specs, request)
    table = pl.concat(export.pieces()).sort("namespace", "pod", TS)
    return Labels(table=table, report=export.report)


def prefetched(source: MetricSource, wanted: Sequence[tuple[list[Selector], float, float]]) -> Iterator[MetricSamples]:
    """Yield samples of each selection and range in order; the next one is fetched while one is used."""
    with ThreadPoolExecutor(max_workers=1) as pool:

        def fetch(number: int) -> "Future[MetricSamples]":
            selectors, start_s, end_s = wanted[number]
            return pool.submit(source.samples, selectors, start_s=start_s, end_s=end_s)

        coming = fetch(0)
        for number in range(len(wanted)):
            here = coming.result()
            if number + 1 < len(wanted):
                coming = fetch(number + 1)
            yield here


def joined(first: MetricSamples, second: MetricSamples) -> MetricSamples:
    """Return samples of two ranges as one."""
    series = pl.concat([first.series, second.series]).unique("series_id", keep="first", maintain_order=True)
    return MetricSamples(
        series=series,
        points=pl.concat([first.points, second.points]),
        warnings=tuple(dict.fromkeys((*first.warnings, *second.warnings))),
        partial_ranges=(*first.partial_ranges, *second.partial_ranges),
        label_names={**first.label_names, **second.label_names},
    )


def since(samples: MetricSamples, ts: float) -> MetricSamples:
    """Return the samples at `ts` and later."""
    return _of_points(samples, samples.points.filter(pl.col("ts") >= ts), since_s=ts)


def since_or_last(samples: MetricSamples, ts: float, *, at_least: float) -> MetricSamples:
    """Return the samples at `ts` and later, and the last one of each series that has any after `at_least`."""
    last = pl.col("ts") == pl.col("ts").max().over("series_id")
    kept = (pl.col("ts") >= ts) | (last & (pl.col("ts") >= at_least))
    return _of_points(samples, samples.points.filter(kept & pl.col("value").is_finite()), since_s=ts)


def _of_points(samples: MetricSamples, points: pl.DataFrame, *, since_s: float) -> MetricSamples:
    series = samples.series.join(points.select("series_id").unique(), on="series_id", how="semi")
    ranges = tuple(part for part in samples.partial_ranges if part[1] > since_s)
    return MetricSamples(series=series, points=points, partial_ranges=ranges, label_names=samples.label_names)
