"""Job labels from a source of samples: one row for each life of a pod, independent of steps."""

import polars as pl

from podpower.hours import HOUR_S
from podpower.labels import reasons
from podpower.labels.clock import exporter_clock
from podpower.labels.counters import ENDED_AFTER_S, TS, samples_of
from podpower.labels.exporting import Kepler, Labels, Progress
from podpower.labels.intervals import intervals_of
from podpower.labels.kepler import PSEUDO_PODS, Generation, NoMetrics, node_series
from podpower.labels.owners import Owning
from podpower.labels.pieces import PIECE_S, LabelRequest
from podpower.labels.pod_lives import PodLives, lives_of, no_lives
from podpower.labels.reading import joined, prefetched, since_or_last
from podpower.labels.report import LabelReport, ReportBuilder
from podpower.labels.table import JOBS_SCHEMA, in_jobs_schema
from podpower.sources.protocols import MetricSamples, MetricSource, Selector

# Samples from before a pod's end are read for at most so long; what a pod drew before is estimated.
LOOK_BACK_S = 7 * 86_400.0
_REMEMBERED_S = 86_400.0  # of a series without samples for so long nothing is bridged
_NAMED_PODS = 500  # more are not listed in a query
_LONGEST_PIECE_S = 6 * HOUR_S
_PODS_AT_ONCE = 10_000
_WORKLOAD = ("workload_kind", "workload_name", "_spec_hash", "spec_hash_version")
_POD = ("namespace", "pod")


class JobExport:
    """Job labels of one range. `only` (LIVES_SCHEMA) restricts them to some pods."""

    def __init__(
        self,
        source: MetricSource,
        specs: pl.DataFrame | None,
        request: LabelRequest,
        *,
        only: pl.DataFrame | None = None,
    ) -> None:
        """InvalidInput for a request that cannot be met; Unavailable where Kepler's series are missing."""
        self._source, self._request, self._only = source, request, only
        self._kepler = Kepler(source, request)
        objects = no_lives() if specs is None or request.owner_source == "prom" else lives_of(specs)
        self._lives = objects if only is None else only
        self._pod_lives = [
            PodLives(lives=self._lives, start_s=request.start_s, end_s=request.end_s) for _ in self._kepler.generations
        ]
        self._owning = Owning(source, None, self._kepler.names, owner_source=request.owner_source)
        self._owners: list[pl.DataFrame] = []

    def labels(self, progress: Progress | None = None) -> Labels:
        """Read all samples and return the labels; `progress` gets pieces done and in all."""
        pieces = self._pieces()
        margin_s = ENDED_AFTER_S
        wanted = ((self._selectors(begin, end), begin, end) for begin, end in pieces)
        kept: MetricSamples | None = None
        for number, samples in enumerate(prefetched(self._source, wanted)):
            begin_s, end_s = pieces[number]
            whole = samples if kept is None else joined(kept, samples)
            self._add(whole, after_s=float("-inf") if kept is None else begin_s, end_s=end_s)
            kept = since_or_last(whole, end_s - margin_s, at_least=end_s - _REMEMBERED_S)
            if progress:
                progress(number + 1, len(pieces))
        table = self._table()
        return Labels(table=table, report=self._report(table))

    def _pieces(self) -> list[tuple[float, float]]:
        """Return ranges in order of time with a margin on both sides; longer ones where few pods are requested."""
        begin_s, end_s = self._request.start_s - ENDED_AFTER_S, self._request.end_s + ENDED_AFTER_S
        pieces = []
        while begin_s < end_s:
            length_s = PIECE_S
            if self._only is not None:
                alive = max(len(self._alive(begin_s, begin_s + _LONGEST_PIECE_S)), 1)
                length_s = min(max(PIECE_S * _PODS_AT_ONCE / alive, PIECE_S), _LONGEST_PIECE_S)
            pieces.append((begin_s, min(begin_s + length_s, end_s)))
            begin_s += length_s
        return pieces

    def _alive(self, begin_s: float, end_s: float) -> pl.Series:
        """Return names of the requested pods that run in the range."""
        ended = pl.col("to_s").is_not_null() & (pl.col("to_s") + ENDED_AFTER_S < begin_s)
        return self._lives.filter((pl.col("from_s") <= end_s) & ~ended)["pod"].unique().sort()

    def _selectors(self, begin_s: float, end_s: float) -> list[Selector]:
        """Return selectors of all pods or, by name, of the requested ones; and of nodes, which show scrapes."""
        clock = self._kepler.node_selectors
        if self._only is None:
            return [*self._kepler.selectors, *clock]
        alive = self._alive(begin_s, end_s)
        if len(alive) > _NAMED_PODS or not clock:
            return [*self._kepler.selectors, *clock]
        named = {"pod_name": tuple(alive)}
        pods = [Selector(metric=s.metric, labels={**s.labels, **named}) for s in self._kepler.selectors]
        return [*pods, *clock] if len(alive) else clock

    def _add(self, samples: MetricSamples, *, after_s: float, end_s: float) -> None:
        self._kepler.report.warn(*samples.warnings)
        for lives, generation in zip(self._pod_lives, self._kepler.generations, strict=True):
            fragments = self._of_generation(lives, generation, samples, after_s=after_s)
            unknown = fragments.filter((pl.col("life") < 0) & ~pl.col("pod").is_in(PSEUDO_PODS))
            if self._only is None and len(unknown):
                begin_s = float(unknown["last_s"].min())  # type: ignore[arg-type]
                pods = unknown.select(*_POD, pl.col("last_s").alias(TS)).sort(TS)
                owned, warnings = self._owning.of(
                    pods, start_s=begin_s, end_s=end_s, step_seconds=self._request.step_seconds
                )
                self._kepler.report.warn(*warnings)
                self._owners.append(owned.select(*_POD, TS, *_WORKLOAD))

    def _of_generation(
        self, lives: PodLives, generation: Generation, samples: MetricSamples, *, after_s: float
    ) -> pl.DataFrame:
        series = self._kepler.series(samples, generation)
        counted = samples_of(samples.points, series)
        self._kepler.report.warn(*counted.warnings)
        clock = exporter_clock(samples.points, node_series(samples.series, generation), counted)
        intervals = intervals_of(counted, partial=samples.partial_ranges, clock=clock)
        return lives.add(intervals, after_s=after_s)

    def _table(self) -> pl.DataFrame:
        per_generation = [lives.table().with_columns(rank=number) for number, lives in enumerate(self._pod_lives)]
        found = pl.concat(per_generation).filter(~pl.col("pod").is_in(PSEUDO_PODS))
        if len(per_generation) > 1:  # where both measured a pod, the one that knows more of it
            ranked = found.sort(-pl.col("known_share"), "rank", maintain_order=True)
            found = ranked.unique([*_POD, "life"], keep="first", maintain_order=True)
        if self._only is not None:
            found = found.filter(pl.col("life") >= 0)
        whole = pl.concat([found, self._never_sampled(found)], how="diagonal")
        return self._named(whole.filter(self._request.included))

    def _never_sampled(self, found: pl.DataFrame) -> pl.DataFrame:
        """Return lives in the range that no sample is of."""
        request = self._request
        ended_s = pl.col("to_s").fill_null(request.end_s)
        lives = self._pod_lives[0].lives.with_columns(pl.col("life").cast(pl.Int64))
        missing = lives.join(found.select("life"), on="life", how="anti").filter(
            (pl.col("from_s") < request.end_s) & (ended_s > request.start_s)
        )
        return missing.select(
            *_POD,
            "uid",
            "life",
            pl.col("from_s").clip(request.start_s, request.end_s).alias("start_s"),
            ended_s.clip(request.start_s, request.end_s).alias("end_s"),
            pl.lit(0.0).alias("known_share"),
            pl.lit(reasons.NEVER_SAMPLED).alias("reason"),
        ).with_columns((pl.col("end_s") - pl.col("start_s")).alias("duration_s"))

    def _warn_of_unknown_ends(self, found: pl.DataFrame) -> None:
        sampled = found.filter(pl.col("total_energy_j").is_not_null())
        ended = sampled.filter((pl.col("life") < 0) & (pl.col("end_s") < self._request.end_s))
        if len(ended):
            self._kepler.report.warn(
                f"no object shows the end of {len(ended)} of {len(sampled)} pods: their energy is that up to the last "
                "sample, and what they drew until the next scrape is not counted"
            )

    def _named(self, found: pl.DataFrame) -> pl.DataFrame:
        """Add owner and template: those of the objects, else of owner series, else the pod itself."""
        lives = self._pod_lives[0].lives.select(pl.col("life").cast(pl.Int64), *_WORKLOAD, "outcome")
        named = found.join(lives, on="life", how="left", maintain_order="left")
        self._warn_of_unknown_ends(found)
        owners = pl.concat(self._owners) if self._owners else None
        if owners is not None:
            # A scrape of kube-state-metrics can miss a pod; another piece then knows its owner.
            known = owners.sort(pl.col("workload_kind") != "Pod", TS).group_by(*_POD, maintain_order=True)
            last = known.agg(pl.col(*_WORKLOAD).last().name.suffix("_series"))
            named = named.join(last, on=list(_POD), how="left", maintain_order="left").with_columns(
                pl.coalesce(column, f"{column}_series").alias(column) for column in _WORKLOAD
            )
        request = self._request
        table = named.with_columns(
            pl.col("workload_kind").fill_null("Pod"),
            pl.col("workload_name").fill_null(pl.col("pod")),
            pl.lit(request.energy).alias("energy"),
            pl.lit(self._source.cluster).alias("cluster"),
            pl.lit(self._kepler.label_source).alias("label_source"),
            pl.col("uid").alias("pod_uid"),
        )
        return in_jobs_schema(table)

    def _report(self, table: pl.DataFrame) -> LabelReport:
        self._kepler.report.count(table, column="total_energy_j")
        return self._kepler.report.report(label_source=self._kepler.label_source)


def label_jobs(
    source: MetricSource, specs: pl.DataFrame | None, request: LabelRequest, *, progress: Progress | None = None
) -> Labels:
    """Return one row for each life of a pod in [start_s, end_s]: its energy from first to last sample, and how much of
    it is measured (`known_share`).
    """
    return JobExport(source, specs, request).labels(progress)


def label_ended_pods(source: MetricSource, specs: pl.DataFrame, request: LabelRequest) -> Labels:
    """Return the job labels of the pods of `specs` that ended in [start_s, end_s), over their whole lives.

    Where Kepler has no series, none of them was ever sampled.
    """
    lives = lives_of(specs).filter(request.included)
    ended = lives.filter((pl.col("to_s") >= request.start_s) & (pl.col("to_s") < request.end_s))
    if ended.is_empty():
        nothing = ReportBuilder(generation="none", energy=request.energy).report()
        return Labels(table=pl.DataFrame(schema=JOBS_SCHEMA), report=nothing)
    began_s = max(float(ended["from_s"].min() or request.start_s), request.end_s - LOOK_BACK_S)  # type: ignore[arg-type]
    whole = LabelRequest(
        start_s=min(began_s, request.start_s),
        end_s=request.end_s,
        step_seconds=request.step_seconds,
        energy=request.energy,
        owner_source=request.owner_source,
        exclude_namespaces=request.exclude_namespaces,
    )
    try:
        return JobExport(source, specs, whole, only=ended).labels()
    except NoMetrics as error:
        return _unsampled(ended, whole, cluster=source.cluster, warning=str(error))


def _unsampled(lives: pl.DataFrame, request: LabelRequest, *, cluster: str | None, warning: str) -> Labels:
    """Job labels of pods in a time without Kepler."""
    start = pl.col("from_s").clip(request.start_s, request.end_s)
    table = lives.with_columns(
        pl.lit(cluster).alias("cluster"),
        start.alias("start_s"),
        pl.col("to_s").alias("end_s"),
        (pl.col("to_s") - start).alias("duration_s"),
        pl.lit(0.0).alias("known_share"),
        pl.lit(request.energy).alias("energy"),
        pl.col("uid").alias("pod_uid"),
        pl.lit(reasons.NEVER_SAMPLED).alias("reason"),
    )
    report = ReportBuilder(generation="none", energy=request.energy)
    report.warn(warning)
    table = in_jobs_schema(table)
    report.count(table, column="total_energy_j")
    return Labels(table=table, report=report.report())
