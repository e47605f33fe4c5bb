"""Owners of pods at a time: from the objects, else from owner series, else the pod itself."""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal

import polars as pl

from podpower.datasets.renewal import with_version
from podpower.errors import InvalidInput
from podpower.hours import HOUR_S
from podpower.labels.counters import ENDED_AFTER_S
from podpower.sources.protocols import SERIES_SCHEMA, MetricSource, Selector

OwnerSource = Literal["prom", "k8s", "auto"]

OWNERS_SCHEMA = pl.Schema(
    {
        "namespace": pl.String(),
        "pod": pl.String(),
        "from_s": pl.Float64(),
        "to_s": pl.Float64(),
        "workload_kind": pl.String(),
        "workload_name": pl.String(),
        "_spec_hash": pl.String(),
        "spec_hash_version": pl.Int64(),
    }
)
NO_OWNERS = "no owners known: neither objects nor kube_pod_owner; each pod is its own workload"
POD_OWNER = "kube_pod_owner"
# Controllers that are themselves controlled: their metric, and the label that names them.
_ABOVE = {"ReplicaSet": ("kube_replicaset_owner", "replicaset"), "Job": ("kube_job_owner", "job_name")}
OWNER_METRICS = (POD_OWNER, *(metric for metric, _ in _ABOVE.values()))
_POD = ["namespace", "pod"]
_WORKLOAD = ["namespace", "workload_kind", "workload_name"]
_ABOVE_SCHEMA = pl.Schema({name: pl.String() for name in (*_WORKLOAD, "above_kind", "above_name")})

_Hours = tuple[float, float]
_Owners = tuple[pl.DataFrame, tuple[str, ...]]  # OWNERS_SCHEMA, and warnings


class Owning:
    """Give steps their workload: by the objects, else by owner series, which are queried only where needed."""

    def __init__(
        self, source: MetricSource, specs: pl.DataFrame | None, names: frozenset[str], *, owner_source: OwnerSource
    ) -> None:
        """`specs` is the `workload_specs` table, `names` the metrics that exist. InvalidInput for another source."""
        if owner_source not in {"prom", "k8s", "auto"}:
            raise InvalidInput(f"unknown owner source {owner_source!r}: use prom, k8s or auto")
        self._source = source
        self._by_objects = owners_from_specs(specs) if specs is not None and owner_source != "prom" else None
        self._metrics = frozenset() if owner_source == "k8s" else names & frozenset(OWNER_METRICS)
        self._above = pl.DataFrame(schema=_ABOVE_SCHEMA)
        self._queried = False
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._by_series: dict[_Hours, Future[_Owners]] = {}

    def ahead(self, *, start_s: float, end_s: float, step_seconds: float) -> None:
        """Start to query the owners of steps in [start_s, end_s], where only series show them."""
        hours = _hours(start_s, end_s, step_seconds)
        if self._by_objects is None and POD_OWNER in self._metrics and hours not in self._by_series:
            self._by_series[hours] = self._pool.submit(self._from_series, *hours)

    def of(
        self, steps: pl.DataFrame, *, start_s: float, end_s: float, step_seconds: float
    ) -> tuple[pl.DataFrame, tuple[str, ...]]:
        """Return `with_owners` of steps in [start_s, end_s], and warnings."""
        tables = [] if self._by_objects is None else [self._by_objects]
        if not tables and POD_OWNER not in self._metrics:
            return with_owners(steps, owners=[], step_seconds=step_seconds), (NO_OWNERS,)
        warnings: tuple[str, ...] = ()
        if POD_OWNER in self._metrics and not (tables and _all_known(steps, tables[0])):
            by_series, warnings = self._of_hours(_hours(start_s, end_s, step_seconds))
            tables.append(by_series)
        return with_owners(steps, owners=tables, step_seconds=step_seconds), warnings

    def _of_hours(self, hours: _Hours) -> _Owners:
        self._by_series = {known: owners for known, owners in self._by_series.items() if known >= hours}
        if hours not in self._by_series:
            self._by_series[hours] = Future()
            self._by_series[hours].set_result(self._from_series(*hours))
        return self._by_series[hours].result()

    def _from_series(self, start_s: float, end_s: float) -> _Owners:
        """Return OWNERS_SCHEMA of all pods with an owner series in the time, and warnings."""
        # At first with all that can be above them, so that nothing waits for one answer and then for another.
        metrics = [POD_OWNER] if self._queried else [metric for metric in OWNER_METRICS if metric in self._metrics]
        self._queried = True
        found = self._source.series([Selector(metric=m) for m in metrics], start_s=start_s, end_s=end_s)
        by_metric = {metric: found.table.filter(pl.col("metric") == metric) for metric in metrics}
        pods = _direct_owners(by_metric[POD_OWNER]).with_columns(
            pl.lit(start_s).alias("from_s"),
            pl.lit(end_s).alias("to_s"),
            pl.lit(None, pl.String).alias("_spec_hash"),
            pl.lit(None, pl.Int64).alias("spec_hash_version"),
        )
        ambiguous = pods.group_by(_POD).agg(pl.struct("workload_kind", "workload_name").n_unique().alias("n"))
        names = ambiguous.filter(pl.col("n") > 1)
        if len(names):
            pods = pl.concat(
                [pods.join(names, on=_POD, how="anti"), self._lives(pods, names, start_s=start_s, end_s=end_s)]
            )
        pods = pods.unique([*_POD, "workload_kind", "workload_name", "from_s"])
        warnings = self._learn_above(pods, by_metric, start_s=start_s, end_s=end_s)
        pods = pods.join(self._above, on=_WORKLOAD, how="left").with_columns(
            pl.coalesce("above_kind", "workload_kind").alias("workload_kind"),
            pl.coalesce("above_name", "workload_name").alias("workload_name"),
        )
        return pods.select(OWNERS_SCHEMA.names()).cast(OWNERS_SCHEMA), (*found.warnings, *warnings)

    def _lives(self, pods: pl.DataFrame, names: pl.DataFrame, *, start_s: float, end_s: float) -> pl.DataFrame:
        """Pods whose name had several owners, each with the time between its first and last sample."""
        selector = Selector(metric=POD_OWNER, labels={"pod": tuple(names["pod"].unique().sort())})
        samples = self._source.samples([selector], start_s=start_s, end_s=end_s)
        lives = samples.points.group_by("series_id").agg(
            pl.col("ts").min().alias("from_s"), (pl.col("ts").max() + ENDED_AFTER_S).alias("to_s")
        )
        dated = pods.drop("from_s", "to_s").join(lives, on="series_id")
        return dated.join(names, on=_POD, how="semi").select(pods.columns)

    def _learn_above(
        self, pods: pl.DataFrame, by_metric: Mapping[str, pl.DataFrame], *, start_s: float, end_s: float
    ) -> tuple[str, ...]:
        """Learn the controllers of the ReplicaSets and Jobs of these pods, once for each, since they never change: from
        the series of a metric where they are given, else by a query.
        """
        warnings: tuple[str, ...] = ()
        for kind, (metric, label) in _ABOVE.items():
            wanted = pods.filter(pl.col("workload_kind") == kind).select(_WORKLOAD).unique()
            if metric not in self._metrics or not len(wanted.join(self._above, on=_WORKLOAD, how="anti")):
                continue
            table = by_metric.get(metric)
            if table is None:
                found = self._source.series([Selector(metric=metric)], start_s=start_s, end_s=end_s)
                warnings += found.warnings
                table = found.table
            above = _controlled(table).select(
                "namespace",
                pl.lit(kind).alias("workload_kind"),
                pl.col(label).alias("workload_name"),
                pl.when(_is_owned()).then("owner_kind").alias("above_kind"),
                pl.when(_is_owned()).then("owner_name").alias("above_name"),
            )
            known = pl.concat([self._above, above.cast(_ABOVE_SCHEMA), wanted.join(above, on=_WORKLOAD, how="anti")
                .with_columns(pl.lit(None, pl.String).alias(c) for c in ("above_kind", "above_name"))])  # fmt: skip
            self._above = known.unique(_WORKLOAD, keep="first", maintain_order=True)
        return warnings


def _hours(start_s: float, end_s: float, step_seconds: float) -> _Hours:
    """Return the whole hours of steps in [start_s, end_s], whose pieces have their owners in common, with a margin."""
    begins_s, ends_s = start_s // HOUR_S * HOUR_S, -(-end_s // HOUR_S) * HOUR_S
    return begins_s - ENDED_AFTER_S - step_seconds, ends_s


def owners_from_specs(specs: pl.DataFrame) -> pl.DataFrame:
    """Pods of the `workload_specs` table with their lives, in OWNERS_SCHEMA; a counter may outlive its pod a little."""
    exploded = with_version(specs).explode("pods").drop_nulls("pods")
    return exploded.select(
        "namespace",
        pl.col("pods").struct.field("pod"),
        pl.col("pods").struct.field("from_s"),
        pl.col("pods").struct.field("to_s") + ENDED_AFTER_S,
        "workload_kind",
        "workload_name",
        "_spec_hash",
        "spec_hash_version",
    ).cast(OWNERS_SCHEMA)


def _all_known(steps: pl.DataFrame, owners: pl.DataFrame) -> bool:
    pods = steps.select(_POD).unique()
    return len(pods.join(owners, on=_POD, how="anti")) == 0


def _is_owned() -> pl.Expr:
    return pl.col("owner_kind").is_not_null() & ~pl.col("owner_kind").is_in(["", "<none>"])


def _controlled(series: pl.DataFrame) -> pl.DataFrame:
    """Without owners that do not control."""
    return series.filter(pl.col("owner_is_controller").is_null() | (pl.col("owner_is_controller") != "false"))


def _direct_owners(series: pl.DataFrame) -> pl.DataFrame:
    """Pods of kube_pod_owner (SERIES_SCHEMA) and what directly owns them; a pod without owner owns itself."""
    return _controlled(series.select(SERIES_SCHEMA.names())).select(
        "series_id",
        "namespace",
        "pod",
        pl.when(_is_owned()).then("owner_kind").otherwise(pl.lit("Pod")).alias("workload_kind"),
        pl.when(_is_owned()).then("owner_name").otherwise("pod").alias("workload_name"),
    )


def with_owners(steps: pl.DataFrame, *, owners: list[pl.DataFrame], step_seconds: float) -> pl.DataFrame:
    """Return steps (`namespace`, `pod`, `ts`, ...) with the workload of their pod as of the step and its `_spec_hash`.

    The steps of a pod are in order of time, and all stay in their order. The first of `owners` that knows the pod at
    the time decides; a pod that none knows is its own workload.
    """
    found = steps
    columns = ("workload_kind", "workload_name", "_spec_hash", "spec_hash_version")
    for number, table in enumerate(owners):
        names = {c: f"{c}_{number}" for c in columns}
        known = table.sort("from_s").rename({**names, "to_s": "to_s_known"})
        found = found.join_asof(
            known, left_on="ts", right_on="from_s", by=_POD, strategy="backward", check_sortedness=False
        )
        alive = pl.col("to_s_known").is_null() | (pl.col("to_s_known") > pl.col("ts") - step_seconds)
        found = found.with_columns(pl.when(alive).then(name).alias(name) for name in names.values())
        found = found.drop("from_s", "to_s_known")
    kinds = [f"workload_kind_{n}" for n in range(len(owners))]
    merged = found.with_columns(
        pl.coalesce(*kinds, pl.lit("Pod")).alias("workload_kind"),
        pl.coalesce(*(f"workload_name_{n}" for n in range(len(owners))), "pod").alias("workload_name"),
        *(
            pl.coalesce(*(f"{column}_{n}" for n in range(len(owners))), pl.lit(None, dtype=kind)).alias(column)
            for column, kind in (("_spec_hash", pl.String), ("spec_hash_version", pl.Int64))
        ),
    )
    return merged.drop(*(f"{c}_{n}" for c in columns for n in range(len(owners))))
