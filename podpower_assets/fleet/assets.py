"""`fleet_summary`: measured and predicted watts of all clusters in one small file beside the models."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import dagster as dg
import polars as pl
from polars import selectors as cs

from podpower import settings
from podpower.checks import CheckResult
from podpower.clusters import configured_clusters
from podpower.errors import PodpowerError
from podpower.fleet.budgets import Budgets, read_budgets
from podpower.fleet.checks import FLEET_CHECKS, every_cluster_is_there, sums_add_up
from podpower.fleet.folding import ClusterState
from podpower.fleet.hours import CLUSTER, WORKLOAD, ClusterHour, hour_table
from podpower.fleet.observed import Observed
from podpower.fleet.publishing import publish
from podpower.fleet.summary import DAYS
from podpower.fleet.words import model_status
from podpower.hours import DAY_S, HOUR_S
from podpower.model.predictor import Predictor
from podpower_assets import metadata, sparklines
from podpower_assets.checks import check_specs
from podpower_assets.clusters import FIRST, Cluster
from podpower_assets.labels.assets import NAME as LABELS
from podpower_assets.labels.jobs import NAME as JOBS
from podpower_assets.partitions import AssetPartition, Partitions, hour_key, hour_start_s
from podpower_assets.per_partition import Partition, per_partition
from podpower_assets.policies import COMMON, translate_errors
from podpower_assets.resources import Models, Source, Tables
from podpower_assets.specs.assets import NAME as SPECS
from podpower_assets.specs.assets import specs_of
from podpower_assets.upstream import Upstream

NAME = "fleet_summary"
UPSTREAM = (SPECS, LABELS, JOBS)
_LOOKED_AT = 3  # hours whose verdicts show the last error


def upstream_of(clusters: Sequence[Cluster]) -> Upstream:
    """Return the tables that an hour is made from, whatever their checks: one cluster must not leave out the others."""
    keys = (cluster.key(name) for cluster in clusters for name in _tables_of(cluster))
    return Upstream(unchecked=tuple(keys))


def fleet_summary(clusters: Sequence[Cluster], partitions: Partitions) -> dg.AssetsDefinition:
    """Return the asset, one for all clusters."""
    upstream = upstream_of(clusters)

    @dg.asset(
        **COMMON,
        name=NAME,
        group_name=FIRST.group,
        kinds={"polars", "json"},
        partitions_def=partitions.hours,
        code_version="1",
        deps=upstream.unchecked,
        check_specs=check_specs(dg.AssetKey(NAME), partitions.hours, table=True, warning=FLEET_CHECKS),
        description=(
            "What each hour adds to the fleet summary, and the summary of the last 30 days, `fleet.json` beside the "
            "models, which service and dashboards show. One cluster without tables leaves the others in it."
        ),
    )
    def asset(context: dg.AssetExecutionContext, source: Source, tables: Tables, models: Models) -> Iterator[Any]:
        """Sum up each hour of the run; publish all stored hours after the last one."""
        with translate_errors():
            fleet = _Fleet(clusters, source, tables, models, last=context.partition_keys[-1])
            yield from per_partition(context, tables, upstream, fleet.sum_up)

    return asset


def _tables_of(cluster: Cluster) -> tuple[str, ...]:
    return UPSTREAM if cluster.has_meter else (SPECS,)


class _Fleet:
    """Tables of all clusters, and the served model, for a run whose `last` hour publishes."""

    def __init__(
        self, clusters: Sequence[Cluster], source: Source, tables: Tables, models: Models, *, last: str
    ) -> None:
        given = settings.read()
        self._clusters, self._source, self._tables, self._last = clusters, source, tables, last
        self._store = models.open()
        self._budgets = read_budgets(path) if (path := given.places.budgets_file) else Budgets()
        served = self._store.last_loaded()
        self._predictor = None if served is None else Predictor(*served[1], version=served[0])
        self._configured = {one.prefix: one.name for one in configured_clusters(given)}
        self._names: dict[Cluster, str] = {}
        self._errors: dict[str, str] = {}
        self._reached_s: dict[str, float | None] = {}

    def sum_up(self, hour: str) -> Partition:
        """Return what an hour adds to the summary."""
        parts = [self._cluster_hour(cluster, hour) for cluster in self._clusters]
        table = hour_table(parts, self._predictor, start_s=hour_start_s(hour), now_s=time.time())
        found = table.filter(pl.col("level") == CLUSTER)
        check = every_cluster_is_there([part.cluster for part in parts], found["cluster"].to_list())
        return Partition(
            table=table,
            metadata=_metadata(table),
            checks=lambda: [check, self._published(table) if hour == self._last else sums_add_up(table)],
            unread=[
                AssetPartition(cluster.key(name), hour)
                for cluster, part in zip(self._clusters, parts, strict=True)
                for name, table in {SPECS: part.specs, LABELS: part.labels, JOBS: part.jobs}.items()
                if table is None
            ],
        )

    def _published(self, table: pl.DataFrame) -> CheckResult:
        """Publish the stored hours, which the last one of the run is among by now, and return the check of its sums."""
        model = self._predictor and model_status(self._store, self._predictor.version, self._predictor.model)
        summary, size_bytes = publish(
            self._store.root,
            self._hours,
            now_s=time.time(),
            budgets=self._budgets,
            states={name: self._state(cluster, name) for cluster, name in self._names.items()},
            model=model,
        )
        return sums_add_up(table, summary, size_bytes=size_bytes)

    def _cluster_hour(self, cluster: Cluster, hour: str) -> ClusterHour:
        """Return what is stored of an hour of a cluster. What cannot be read of one cluster is its error."""
        own, start_s = self._tables.of(cluster), hour_start_s(hour)
        errors: list[str] = []
        tables: dict[str, Any] = {}
        with _noted(errors):
            tables = {"specs": specs_of(own, hour)}
            if cluster.has_meter:
                tables |= {"labels": own.scan(LABELS, hour), "jobs": own.scan(JOBS, hour)}
        seen, budgets_w = Observed(), dict[str, float]()
        with _noted(errors):
            source = self._source.of(cluster)
            seen = source.observed()
            budgets_w = source.budgets_w(start_s=start_s, end_s=start_s + HOUR_S)
        name = self._configured.get(cluster.name) or cluster.name or seen.cluster or _cluster_in(tables) or "cluster"
        self._names[cluster], self._errors[name], self._reached_s[name] = name, "".join(errors[:1]), seen.reached_s
        gaps = [gap for gap in seen.gaps if gap.start_s < start_s + HOUR_S and gap.end_s > start_s]
        return ClusterHour(
            has_meter=cluster.has_meter,
            cluster=name,
            gaps=gaps,
            journal_reached_s=seen.reached_s,
            budgets_w=budgets_w,
            **tables,
        )

    def _state(self, cluster: Cluster, name: str) -> ClusterState:
        """Return the state of a cluster: its error is that of the newest hour of which there is a verdict."""
        error = self._errors[name] or _error_of(self._tables.of(cluster), [hour_key(time.time()), *self._newest()])
        idle = self._source.of(cluster).idle() if cluster.has_meter else None
        return ClusterState(journal_reached_s=self._reached_s[name], last_error=error or None, idle=idle)

    def _newest(self) -> list[str]:
        """Return the newest stored hours, newest first, and the one after them, which can have failed."""
        stored = self._tables.partitions(NAME)[-_LOOKED_AT:]
        return [hour_key(hour_start_s(stored[-1]) + HOUR_S), *reversed(stored)] if stored else []

    def _hours(self) -> Iterator[pl.DataFrame]:
        """Yield the stored hours of the last 30 days."""
        stored = self._tables.partitions(NAME)
        first = hour_key(hour_start_s(stored[-1]) - DAYS * DAY_S + HOUR_S) if stored else ""
        for hour in stored:
            if hour >= first and (table := self._tables.read_if_whole(NAME, hour)) is not None:
                yield table


@contextmanager
def _noted(errors: list[str]) -> Iterator[None]:
    """Add the error of the block to a list."""
    try:
        yield
    except PodpowerError as failure:
        errors.append(str(failure))


def _cluster_in(tables: Mapping[str, Any]) -> str:
    """Return the name that a cluster's tables have for it; "" where they have none."""
    for table in (tables.get("specs"), tables.get("labels")):
        if table is not None:
            names = table.lazy().select(pl.col("cluster").drop_nulls().first()).collect()["cluster"]
            if len(names) and names[0]:
                return str(names[0])
    return ""


def _error_of(tables: Tables, hours: Sequence[str]) -> str:
    """Return why tables of the first of these hours that has a verdict were not made; "" where they were."""
    for hour in hours:
        verdicts = {name: tables.verdict(name, hour) for name in UPSTREAM}
        if any(verdicts.values()):
            errors = (f"{name} of {hour}: {one.error}" for name, one in verdicts.items() if one and one.error)
            return next(errors, "")
    return ""


def _metadata(table: pl.DataFrame) -> dict[str, Any]:
    clusters, workloads = (table.filter(pl.col("level") == level) for level in (CLUSTER, WORKLOAD))
    # A sum of nothing known is not 0.
    sums = clusters.select(
        pl.when(pl.col(name).is_not_null().any()).then(pl.col(name).sum())
        for name in ("measured_w", "predicted_w", "pods")
    )
    shown = clusters.select("cluster", "pods", "measured_w", "predicted_w")
    return {
        **{name: value for name, value in sums.row(0, named=True).items() if value is not None},
        "measured_workloads": sparklines.distribution(workloads["measured_w"].drop_nulls(), unit="W"),
        "clusters": metadata.records(shown.with_columns(cs.float().round(1)).rows(named=True)),
    }
