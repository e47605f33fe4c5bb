"""`workload_specs`: the pod template of each workload in each hour, and the pods that it made."""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import dagster as dg
import polars as pl

from podpower.collector.opening import Sources
from podpower.errors import InvalidInput
from podpower.hours import HOUR_S
from podpower.specs.checks import HOUR_HAS_SPECS, SPECS_ARE_READABLE, hour_has_specs, specs_are_readable
from podpower.specs.observing import observe
from podpower.specs.table import rehashed, specs_table
from podpower_assets import metadata
from podpower_assets.automation import Remake
from podpower_assets.checks import check_specs
from podpower_assets.clusters import Cluster
from podpower_assets.lineage import JOURNAL
from podpower_assets.partitions import Partitions, hour_start_s, is_over
from podpower_assets.per_partition import Partition, per_partition
from podpower_assets.policies import COMMON, translate_errors
from podpower_assets.resources import Source, Tables
from podpower_assets.upstream import Upstream

NAME = "workload_specs"


def workload_specs(cluster: Cluster, partitions: Partitions) -> dg.AssetsDefinition:
    """Return the asset of a cluster."""
    upstream = Upstream()

    @dg.asset(
        **COMMON,
        key=cluster.key(NAME),
        group_name=cluster.group,
        kinds={"kubernetes", "polars", "parquet"},
        partitions_def=partitions.hours,
        deps=[cluster.key(JOURNAL)],
        code_version="1",
        automation_condition=Remake(upstream=upstream, lookback_days=partitions.lookback_days),
        check_specs=check_specs(
            cluster.key(NAME),
            partitions.hours,
            table=True,
            blocking={
                SPECS_ARE_READABLE: "At most a fifth of the specs cannot be read.",
                HOUR_HAS_SPECS: "Some workload is known in the hour; a warning while the hour runs.",
            },
        ),
        description="Pod templates in force in the hour, without credentials, each with its hash and the pods it made.",
    )
    def asset(context: dg.AssetExecutionContext, source: Source, tables: Tables) -> Iterator[Any]:
        """Fold the objects of each hour into observed specs."""
        with translate_errors(), source.of(cluster).opened() as sources:
            yield from per_partition(context, tables.of(cluster), upstream, partial(_observe_hour, sources))

    return asset


def _observe_hour(sources: Sources, hour: str) -> Partition:
    """Return the specs of the hour."""
    start_s = hour_start_s(hour)
    end_s = start_s + HOUR_S
    events = sources.objects.events(start_s=start_s, end_s=end_s)
    observations, rejected = observe(events, start_s=start_s, end_s=end_s, cluster=sources.cluster)
    known = {
        "specs": len(observations),
        "pods": sum(len(one.pods) for one in observations),
        "rejected": len(rejected),
        "kinds": metadata.listed(Counter(one.request.workload_kind for one in observations)),
        "damaged_lines": len(sources.damaged),
    }
    if gap_seconds := round(sources.gap_seconds(start_s=start_s, end_s=end_s)):
        known["seconds_not_observed"] = gap_seconds
    if rejected:
        known["rejected_objects"] = metadata.counts(Counter(r.detail for r in rejected), of="reason")
    sources.damaged.clear()
    checks = (
        specs_are_readable(specs=len(observations), rejected=len(rejected)),
        hour_has_specs(specs=len(observations), is_over=is_over(hour)),
    )
    return Partition(table=specs_table(observations), metadata=known, checks=lambda: checks)


def require_specs(tables: Tables, hour: str) -> pl.DataFrame:
    """Return the specs of an hour as `specs_of`; InvalidInput where there are none."""
    specs = specs_of(tables, hour)
    if specs is None:
        raise InvalidInput(f"workload_specs of {hour} are missing: materialize them first")
    return specs


def specs_of(tables: Tables, hour: str, *, if_whole: bool = False) -> pl.DataFrame | None:
    """Return the specs of an hour, with hashes of this version; None where there are none or, `if_whole`, where they
    are damaged.
    """
    stored = tables.read_if_whole(NAME, hour) if if_whole else tables.read(NAME, hour)
    return None if stored is None else rehashed(stored)
