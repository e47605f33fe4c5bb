"""`workload_specs`: which template of which workload was in force in the hour, and which pods it made."""

from collections import Counter
from collections.abc import Iterator

import dagster as dg
import polars as pl

from podpower.specs.observing import observe
from podpower.specs.table import rehashed, specs_table
from podpower_assets import metadata
from podpower_assets.partitions import HOUR_S, HOURLY, hour_start_s
from podpower_assets.policies import COMMON, FAILED_BEFORE, deciding
from podpower_assets.resources import Source, Tables

NAME = "workload_specs"
MAX_REJECTED_SHARE = 0.2


@dg.asset(
    **COMMON,
    name=NAME,
    group_name="specs",
    kinds={"kubernetes", "polars", "parquet"},
    partitions_def=HOURLY,
    code_version="1",
    automation_condition=FAILED_BEFORE,
    check_specs=[
        dg.AssetCheckSpec(
            "specs_are_readable", asset=NAME, blocking=True, description="At most a fifth of the specs cannot be read."
        )
    ],
    description="Pod templates in force in the hour, without credentials, each with its hash and the pods it made.",
)
def workload_specs(
    context: dg.AssetExecutionContext, source: Source, tables: Tables
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """Fold the hour's objects into observations."""
    specs, rejected_all = 0, 0
    with deciding(), source.opened() as sources:
        for hour in context.partition_keys:
            start_s = hour_start_s(hour)
            events = sources.objects.events(start_s=start_s, end_s=start_s + HOUR_S)
            observations, rejected = observe(events, start_s=start_s, end_s=start_s + HOUR_S, cluster=sources.cluster)
            table = specs_table(observations)
            tables.write(NAME, hour, table)
            specs, rejected_all = specs + len(table), rejected_all + len(rejected)
            reasons = Counter(r.detail for r in rejected)
            damaged = len(sources.damaged)
            said = {**metadata.table_metadata(table), "rejected": len(rejected), "damaged_lines": damaged}
            if rejected:
                said["rejected_objects"] = metadata.counts(reasons, of="reason")
            sources.damaged.clear()
            context.add_asset_metadata(said, partition_key=hour)
    yield dg.MaterializeResult(
        check_results=[
            dg.AssetCheckResult(
                check_name="specs_are_readable",
                passed=rejected_all <= MAX_REJECTED_SHARE * (specs + rejected_all),
                metadata={"specs": specs, "rejected": rejected_all},
            )
        ]
    )


def specs_of(tables: Tables, hour: str) -> pl.DataFrame | None:
    """The specs of an hour, with hashes of this version; None where it has not been made."""
    stored = tables.read(NAME, hour)
    return None if stored is None else rehashed(stored)
