"""Window labels from a source of samples: one row for each pod and step.

A range is read in pieces, so that memory does not grow with its length: while one piece is counted the next ones are
fetched, and every sample is fetched once.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from podpower.hours import start_of_hour
from podpower.labels.clock import exporter_clock
from podpower.labels.counters import TS, samples_of
from podpower.labels.held import HeldTables
from podpower.labels.intervals import intervals_of
from podpower.labels.kepler import (
    BUILD_INFO,
    PSEUDO_PODS,
    ZONE,
    Generation,
    detect,
    node_series,
    pod_series,
)
from podpower.labels.nodes import NodeRatio, NodeSums, failed_ratios, label_source, with_ratios
from podpower.labels.owners import Owning
from podpower.labels.parts import parts_of
from podpower.labels.pieces import LabelRequest, Piece
from podpower.labels.reading import Reading
from podpower.labels.relabelling import check_labels
from podpower.labels.report import NO_GENERATION, LabelReport, ReportBuilder
from podpower.labels.table import WINDOWS_SCHEMA
from podpower.labels.windows import ENERGY, steps_of
from podpower.sources.protocols import MetricSamples, MetricSource, Selector

NO_IDLE = "this Kepler attributes no idle energy to pods: total is the same as dynamic"
_OF_ALL = ("cluster", "step_seconds", "energy", "label_source", "node_ratio")  # columns that one value fills
_SHOWN = 3  # ratios named in warnings
_Named = tuple[pl.DataFrame, pl.DataFrame]  # `pod_series` and `node_series` of one generation
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Labels:
    """The labels table (docs/reference/file-formats.md) and counts of it."""

    table: pl.DataFrame
    report: LabelReport


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
        """Return an iterator of tables in WINDOWS_SCHEMA, those of later pieces later; `progress` gets steps done and
        in all. Fetching begins at once.

        The labels of an hour are held until its sums of pods and nodes are known.
        """
        selectors = [*self._kepler.selectors, *self._kepler.node_selectors]
        return self._labels(Reading(self._source, selectors, self._request, announce=self._announce), progress)

    def _announce(self, piece: Piece) -> None:
        self._owning.ahead(start_s=piece.start_s, end_s=piece.end_s, step_seconds=self._request.step_seconds)

    def _labels(self, reading: Reading, progress: Progress | None) -> Iterator[pl.DataFrame]:
        request, held = self._request, HeldTables()
        ids: pl.Series | None = None
        named: list[_Named] = []
        for piece, samples in reading:
            if ids is None or not ids.equals(samples.series["series_id"]):  # those of most pieces are the same
                ids, named = samples.series["series_id"], self._named(samples)
            for part in parts_of(samples):
                # Pods are compared with their nodes before: the sums are of all pods.
                table = self._labelled(part, named, piece).filter(request.included)
                self._kepler.report.count(table, column=ENERGY)
                held.add(table)
            del samples, part, table  # no longer needed while labels are written
            until_s = float("inf") if piece.is_last else start_of_hour(piece.end_s)
            if until_s > piece.start_s:
                ratios = self.node_ratios()
                for table in held.until(until_s):
                    yield with_ratios(self._whole(table), ratios)
            if progress:
                progress(piece.last_step, request.steps)

    def _named(self, samples: MetricSamples) -> list[_Named]:
        return [
            (self._kepler.series(samples, generation), node_series(samples.series, generation))
            for generation in self._kepler.generations
        ]

    def _labelled(self, samples: MetricSamples, named: Sequence[_Named], piece: Piece) -> pl.DataFrame:
        stepped = self._stepped(samples, named, piece)
        owned, warnings = self._owning.of(
            stepped, start_s=piece.start_s, end_s=piece.end_s, step_seconds=self._request.step_seconds
        )
        self._kepler.report.warn(*samples.warnings, *warnings)
        schema = {name: kind for name, kind in WINDOWS_SCHEMA.items() if name not in _OF_ALL}
        return owned.select(list(schema)).cast(schema)  # type: ignore[arg-type]

    def _whole(self, table: pl.DataFrame) -> pl.DataFrame:
        """Return a table of `_labelled` in WINDOWS_SCHEMA."""
        common = (self._source.cluster, self._request.step_seconds, self._request.energy, self._kepler.label_source)
        columns = [pl.lit(value).alias(name) for name, value in zip(_OF_ALL, (*common, None), strict=True)]
        return table.with_columns(*columns).select(WINDOWS_SCHEMA.names()).cast(WINDOWS_SCHEMA)

    def _stepped(self, samples: MetricSamples, named: Sequence[_Named], piece: Piece) -> pl.DataFrame:
        """Return energy of pods, by pod and time; where two generations measured a step, the newest that knows most of
        it.
        """
        ids = samples.series.select("series_id")
        per_generation = [
            self._of_series(
                samples,
                series.join(ids, on="series_id", how="semi"),
                nodes.join(ids, on="series_id", how="semi"),
                sums,
                piece,
            )
            for (series, nodes), sums in zip(named, self._sums, strict=True)
        ]
        if len(per_generation) == 1:
            return per_generation[0]
        ranked = pl.concat(table.with_columns(rank=number) for number, table in enumerate(per_generation))
        best = ranked.sort(pl.col(ENERGY).is_null(), -pl.col("known_s"), "rank")
        return best.unique(["namespace", "pod", TS], keep="first").drop("rank").sort("namespace", "pod", TS)

    def _of_series(
        self, samples: MetricSamples, series: pl.DataFrame, nodes: pl.DataFrame, sums: NodeSums, piece: Piece
    ) -> pl.DataFrame:
        """Return energy of the pods whose `pod_series` and `node_series` are given."""
        counted = samples_of(samples.points, series)
        self._kepler.report.warn(*counted.warnings)
        sums.add(counted, series, samples.points, nodes, begin_s=piece.start_s, end_s=piece.end_s)
        clock = exporter_clock(samples.points, nodes, counted)
        intervals = intervals_of(counted, partial=samples.partial_ranges, clock=clock)
        table = steps_of(intervals, start_s=piece.start_s, steps=piece.steps, step_seconds=self._request.step_seconds)
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
