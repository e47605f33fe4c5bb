"""`fleet_summary`: measured and predicted watts of all clusters in one small file beside the models."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
import polars as pl

from podpower import settings
from podpower.checks import CheckResult
from podpower.clusters import configured_clusters
from podpower.errors import PodpowerError
from podpower.fleet.budgets import Budgets, read_budgets
from podpower.fleet.checks import FLEET_CHECKS, every_cluster_is_there, sums_add_up
from podpower.fleet.folding import ClusterState
from podpower.fleet.hours import CLUSTER, ClusterHour, hour_table
from podpower.fleet.observed import Observed
from podpower.fleet.publishing import publish
from podpower.fleet.summary import DAYS, FleetSummary
from podpower.fleet.words import model_status
from podpower.hours import DAY_S, HOUR_S
from podpower.model.predictor import Predictor
from podpower_assets import metadata
from podpower_assets.checks import check_results, check_specs
from podpower_assets.clusters import Cluster
from podpower_assets.labels.assets import NAME as LABELS
from podpower_assets.labels.jobs import NAME as JOBS
from podpower_assets.partitions import Partitions, hour_key, hour_start_s
from podpower_assets.policies import COMMON, translate_errors
from podpower_assets.resources import Models, Source, Tables
from podpower_assets.specs.assets import NAME as SPECS
from podpower_assets.specs.assets import specs_of

NAME = "fleet_summary"
UPSTREAM = (SPECS, LABELS, JOBS)


def fleet_summary(clusters: Sequence[Cluster], partitions: Partitions) -> dg.AssetsDefinition:
    """Return the asset, one for all clusters."""

    @dg.asset(
        **COMMON,
        name=NAME,
        group_name="fleet",
        kinds={"polars", "json"},
        partitions_def=partitions.hours,
        code_version="1",
        deps=[cluster.key(name) for cluster in clusters for name in UPSTREAM],
        check_specs=check_specs(dg.AssetKey(NAME), warning=FLEET_CHECKS),
        description=(
            "What each hour adds to the fleet summary, and the summary of the last 30 days, `fleet.json` beside the "
            "models, which service and dashboards show. One cluster without tables leaves the others in it."
        ),
    )
    def asset(
        context: dg.AssetExecutionContext, source: Source, tables: Tables, models: Models
    ) -> dg.MaterializeResult:
        """Sum up each hour of the run, then publish all hours."""
        with translate_errors():
            fleet = _Fleet(clusters, source, tables, models)
            checks = [fleet.sum_up(hour) for hour in context.partition_keys][-1]
            summary, size_bytes = fleet.publish()
        checks.append(sums_add_up(summary, size_bytes=size_bytes))
        return dg.MaterializeResult(metadata=_metadata(summary, size_bytes), check_results=check_results(checks))

    return asset


class _Fleet:
    """Tables of all clusters, and the served model."""

    def __init__(self, clusters: Sequence[Cluster], source: Source, tables: Tables, models: Models) -> None:
        given = settings.read()
        self._clusters, self._source, self._tables = clusters, source, tables
        self._store = models.open()
        self._budgets = read_budgets(path) if (path := given.places.budgets_file) else Budgets()
        version = self._store.last_loadable()
        self._predictor = None if version is None else Predictor(*self._store.load(version), version=version)
        self._names = {one.prefix: one.name for one in configured_clusters(given)}
        self._states: dict[str, ClusterState] = {}

    def sum_up(self, hour: str) -> list[CheckResult]:
        """Write what an hour adds to the summary; return the result of its check."""
        start_s = hour_start_s(hour)
        self._states = {}
        parts = [self._cluster_hour(cluster, hour) for cluster in self._clusters]
        table = hour_table(parts, self._predictor, start_s=start_s, now_s=time.time())
        self._tables.write(NAME, hour, table)
        found = table.filter(pl.col("level") == CLUSTER)["cluster"].to_list()
        return [every_cluster_is_there([part.cluster for part in parts], found)]

    def publish(self) -> tuple[FleetSummary, int]:
        """Publish the last 30 days of hours, and return the summary and its size in bytes."""
        model = self._predictor and model_status(self._store, self._predictor.version, self._predictor.model)
        return publish(
            self._store.root,
            self._hours,
            now_s=time.time(),
            budgets=self._budgets,
            states=self._states,
            model=model,
        )

    def _cluster_hour(self, cluster: Cluster, hour: str) -> ClusterHour:
        """Return what is stored of an hour of a cluster. What cannot be read of one cluster is its error."""
        own, start_s = self._tables.of(cluster), hour_start_s(hour)
        name, error = self._names.get(cluster.name) or cluster.name, None
        tables: dict[str, Any] = {}
        seen, budgets_w = Observed(), dict[str, float]()
        try:
            tables = {"specs": specs_of(own, hour), "labels": own.scan(LABELS, hour), "jobs": own.scan(JOBS, hour)}
            name = name or _cluster_in(tables)
            source = self._source.of(cluster)
            seen = source.observed()
            budgets_w = source.budgets_w(start_s=start_s, end_s=start_s + HOUR_S)
        except PodpowerError as failure:
            error = str(failure)
        name = name or seen.cluster or "cluster"
        self._states[name] = ClusterState(journal_reached_s=seen.reached_s, last_error=error)
        gaps = [gap for gap in seen.gaps if gap.start_s < start_s + HOUR_S and gap.end_s > start_s]
        return ClusterHour(cluster=name, gaps=gaps, journal_reached_s=seen.reached_s, budgets_w=budgets_w, **tables)

    def _hours(self) -> Iterator[pl.DataFrame]:
        """Yield the stored hours of the last 30 days."""
        stored = self._tables.partitions(NAME)
        first = hour_key(hour_start_s(stored[-1]) - DAYS * DAY_S + HOUR_S) if stored else ""
        for hour in stored:
            if hour >= first and (table := self._tables.read(NAME, hour)) is not None:
                yield table


def _cluster_in(tables: Mapping[str, Any]) -> str:
    """Return the name that a cluster's tables have for it; "" where they have none."""
    for table in (tables["specs"], tables["labels"]):
        if table is not None:
            names = table.lazy().select(pl.col("cluster").drop_nulls().first()).collect()["cluster"]
            if len(names) and names[0]:
                return str(names[0])
    return ""


def _metadata(summary: FleetSummary, size_bytes: int) -> dict[str, Any]:
    rows = [
        {
            "cluster": one.cluster,
            "metered": one.metered,
            "measured_w": one.measured_w,
            "predicted_w": one.predicted_w,
            "kwh": one.kwh,
            "pods": one.pods,
            "gaps": one.gap_count,
            "last_error": one.last_error,
        }
        for one in summary.clusters
    ]
    return {
        "clusters": metadata.records([{k: _text(v) for k, v in row.items()} for row in rows]),
        "namespaces": len(summary.namespaces) + summary.other_namespaces.count,
        "workloads": len(summary.workloads) + summary.other_workloads.count,
        "size_bytes": size_bytes,
        "hours": round((summary.end_s - summary.start_s) / HOUR_S),
        "evaluation": metadata.bullets(summary.model.evaluation if summary.model else []),
    }


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
