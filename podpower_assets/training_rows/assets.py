"""`training_rows`: each label of the hour with the vector of its spec."""

import hashlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import dagster as dg
import polars as pl

from podpower.datasets.checks import (
    MOST_LABELS_JOIN,
    ONE_ROW_A_LABEL,
    RowCounts,
    count_rows,
    most_labels_join,
    one_row_a_label,
)
from podpower.datasets.join import JoinedRows, join_rows
from podpower.datasets.renewal import renewed
from podpower.errors import InvalidInput
from podpower.hours import HOUR_S
from podpower.labels import with_runs
from podpower.specs.table import renewals
from podpower_assets import metadata, sparklines
from podpower_assets.automation import Remake
from podpower_assets.checks import check_specs
from podpower_assets.clusters import Cluster
from podpower_assets.features.assets import NAME as FEATURES
from podpower_assets.labels.assets import NAME as LABELS
from podpower_assets.labels.jobs import NAME as JOBS
from podpower_assets.partitions import Partitions, hour_key, hour_start_s
from podpower_assets.per_partition import Partition, per_partition
from podpower_assets.policies import COMMON, translate_errors
from podpower_assets.resources import Tables
from podpower_assets.specs.assets import NAME as SPECS
from podpower_assets.upstream import Upstream

NAME = "training_rows"


def training_rows(cluster: Cluster, partitions: Partitions) -> dg.AssetsDefinition:
    """Return the asset of a cluster."""
    features, labels, jobs = (cluster.key(name) for name in (FEATURES, LABELS, JOBS))
    upstream = Upstream(same=(features, labels, jobs))

    @dg.asset(
        **COMMON,
        key=cluster.key(NAME),
        group_name=cluster.group,
        kinds={"polars", "parquet"},
        partitions_def=partitions.hours,
        code_version="1",
        deps=[features, labels, jobs],
        # Hours from before there were job labels have rows without them.
        automation_condition=Remake(
            upstream=upstream, lookback_days=partitions.lookback_days, needed=(features, labels)
        ),
        check_specs=check_specs(
            cluster.key(NAME),
            partitions.hours,
            table=True,
            blocking={ONE_ROW_A_LABEL: "Every stored row has a label, and no two rows have the same."},
            warning={MOST_LABELS_JOIN: "At least half of the labels have a spec."},
        ),
        description="One row for each label of a step or a run that has a spec, never more.",
    )
    def asset(context: dg.AssetExecutionContext, tables: Tables) -> Iterator[Any]:
        """Join the labels of each hour to its vectors."""
        own = tables.of(cluster)
        with translate_errors():
            yield from per_partition(context, own, upstream, partial(_join_hour, own))

    return asset


def _join_hour(tables: Tables, hour: str) -> Partition:
    """Return the rows of the hour."""
    features, labels = tables.read(FEATURES, hour), tables.read(LABELS, hour)
    if features is None or labels is None:
        raise InvalidInput(f"features or kepler_labels of {hour} are missing: materialize them first")
    newer = renewals(tables.read(SPECS, hour))
    joined = join_rows(renewed(features, newer), with_runs(renewed(labels, newer), tables.read(JOBS, hour)))
    report = joined.report
    known = {
        "rows": report.joined,
        "join_rate": report.join_rate,
        "specs": joined.spec.n_unique(),
        "power": sparklines.distribution(joined.labels["avg_power_w"].drop_nulls(), unit="W"),
        "dagster/row_count": report.joined,
        "dagster/column_schema": metadata.schema_of(next(joined.chunks(size=1))),
        "unjoined": metadata.counts(report.unjoined, of="reason", examples=report.examples),
        "specs_without_labels": report.specs_without_labels,
        "older_spec_hashes": report.older_specs + report.older_labels,
    }
    return Partition(
        table=joined.chunks(),
        metadata=known,
        checks=lambda: [one_row_a_label([_count_hour(tables, hour)]), most_labels_join([report])],
        new_specs=_new_specs(tables, joined, hour),
    )


def _new_specs(tables: Tables, joined: JoinedRows, hour: str) -> str:
    """Return the number and digest of the specs with labels in this hour and none in the hour before; empty without."""
    before = tables.scan_if_whole(NAME, hour_key(hour_start_s(hour) - HOUR_S))
    known = set[str]() if before is None else set(before.select(pl.col("_spec_hash").unique()).collect().to_series())
    new = sorted(set(joined.features["_spec_hash"].gather(joined.spec.unique())) - known)
    return f"{len(new)}:{hashlib.sha256(' '.join(new).encode()).hexdigest()[:16]}" if new else ""


def _count_hour(tables: Tables, hour: str) -> RowCounts:
    """Count the rows of the hour as they are stored, against its labels."""
    labels, file = with_runs(tables.file(LABELS, hour).read(), tables.read(JOBS, hour)), tables.file(NAME, hour)
    with file.readable():
        return count_rows(file.scan(), labels)
