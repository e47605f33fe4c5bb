"""`workload_specs`: the pod template of each workload in each hour, and the pods that it made."""

from collections import Counter

import dagster as dg
import polars as pl

from podpower.collector.opening import Sources
from podpower.hours import HOUR_S
from podpower.specs.checks import SPECS_ARE_READABLE, specs_are_readable
from podpower.specs.observing import observe
from podpower.specs.table import rehashed, specs_table
from podpower_assets import metadata
from podpower_assets.checks import check_results, check_specs
from podpower_assets.clusters import Cluster
from podpower_assets.partitions import Partitions, hour_start_s
from podpower_assets.per_partition import Partition, per_partition
from podpower_assets.policies import COMMON, FAILED_BEFORE, translate_errors
from podpower_assets.resources import Source, Tables

NAME = "workload_specs"


def workload_specs(cluster: Cluster, partitions: Partitions) -> dg.AssetsDefinition:
    """Return the asset of a cluster."""

    @dg.asset(
        **COMMON,
        key=cluster.key(NAME),
        group_name=cluster.group("specs"),
        kinds={"kubernetes", "polars", "parquet"},
        partitions_def=partitions.hours,
        code_version="1",
        automation_condition=FAILED_BEFORE,
        check_specs=check_specs(
            cluster.key(NAME), blocking={SPECS_ARE_READABLE: "At most a fifth of the specs cannot be read."}
        ),
        description="Pod templates in force in the hour, without credentials, each with its hash and the pods it made.",
    )
    def asset(context: dg.AssetExecutionContext, source: Source, tables: Tables) -> dg.MaterializeResult:
        """Fold the objects of each hour into observed specs."""
        with translate_errors(), source.of(cluster).opened() as sources:
            found = per_partition(context, tables.of(cluster), lambda hour: _observe_hour(sources, hour))
        check = specs_are_readable(specs=sum(specs for specs, _ in found), rejected=sum(bad for _, bad in found))
        return dg.MaterializeResult(check_results=check_results([check]))

    return asset


def _observe_hour(sources: Sources, hour: str) -> Partition[tuple[int, int]]:
    """Return the specs of the hour; finds how many there are, and how many cannot be read."""
    start_s = hour_start_s(hour)
    end_s = start_s + HOUR_S
    events = sources.objects.events(start_s=start_s, end_s=end_s)
    observations, rejected = observe(events, start_s=start_s, end_s=end_s, cluster=sources.cluster)
    known = {"rejected": len(rejected), "damaged_lines": len(sources.damaged)}
    if gap_seconds := round(sources.gap_seconds(start_s=start_s, end_s=end_s)):
        known["seconds_not_observed"] = gap_seconds
    if rejected:
        known["rejected_objects"] = metadata.counts(Counter(r.detail for r in rejected), of="reason")
    sources.damaged.clear()
    table = specs_table(observations)
    return Partition(table=table, metadata=known, found=(len(table), len(rejected)))


def specs_of(tables: Tables, hour: str) -> pl.DataFrame | None:
    """Return the specs of an hour, with hashes of this version; None where there are none."""
    stored = tables.read(NAME, hour)
    return None if stored is None else rehashed(stored)
