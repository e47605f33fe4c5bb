"""`training_rows`: each label of the hour with the vector of its spec."""

import dagster as dg

from podpower.datasets.checks import (
    MOST_LABELS_JOIN,
    ONE_ROW_A_LABEL,
    RowCounts,
    count_rows,
    most_labels_join,
    one_row_a_label,
)
from podpower.datasets.join import JoinReport, join_rows
from podpower.datasets.renewal import renewed
from podpower.errors import InvalidInput
from podpower.labels import with_runs
from podpower.specs.table import renewals
from podpower_assets import metadata
from podpower_assets.checks import check_results, check_specs
from podpower_assets.clusters import Cluster
from podpower_assets.features.assets import NAME as FEATURES
from podpower_assets.labels.assets import NAME as LABELS
from podpower_assets.labels.jobs import NAME as JOBS
from podpower_assets.partitions import Partitions
from podpower_assets.per_partition import Partition, per_partition
from podpower_assets.policies import COMMON, FAILED_BEFORE, FOLLOWS_ITS_DEPENDENCIES, translate_errors
from podpower_assets.resources import Tables
from podpower_assets.specs.assets import NAME as SPECS

NAME = "training_rows"


def _needed_deps_missing(cluster: Cluster) -> dg.AutomationCondition:
    """Hours from before there were job labels have rows without them."""
    return dg.AutomationCondition.any_deps_missing().ignore(dg.AssetSelection.assets(cluster.key(JOBS)))


def training_rows(cluster: Cluster, partitions: Partitions) -> dg.AssetsDefinition:
    """Return the asset of a cluster."""

    @dg.asset(
        **COMMON,
        key=cluster.key(NAME),
        group_name=cluster.group("training_rows"),
        kinds={"polars", "parquet"},
        partitions_def=partitions.hours,
        code_version="1",
        deps=[cluster.key(name) for name in (FEATURES, LABELS, JOBS)],
        automation_condition=(FOLLOWS_ITS_DEPENDENCIES | FAILED_BEFORE) & ~_needed_deps_missing(cluster),
        check_specs=check_specs(
            cluster.key(NAME),
            blocking={ONE_ROW_A_LABEL: "Every stored row has a label, and no two rows have the same."},
            warning={MOST_LABELS_JOIN: "At least half of the labels have a spec."},
        ),
        description="One row for each label of a step or a run that has a spec, never more.",
    )
    def asset(context: dg.AssetExecutionContext, tables: Tables) -> dg.MaterializeResult:
        """Join the labels of each hour to its vectors."""
        own = tables.of(cluster)
        with translate_errors():
            reports = per_partition(context, own, lambda hour: _join_hour(own, hour))
            counts = [_count_hour(own, hour) for hour in context.partition_keys]
        return dg.MaterializeResult(check_results=check_results([one_row_a_label(counts), most_labels_join(reports)]))

    return asset


def _join_hour(tables: Tables, hour: str) -> Partition[JoinReport]:
    """Return the rows of the hour."""
    features, labels = tables.read(FEATURES, hour), tables.read(LABELS, hour)
    if features is None or labels is None:
        raise InvalidInput(f"features or kepler_labels of {hour} are missing: materialize them first")
    newer = renewals(tables.read(SPECS, hour))
    joined = join_rows(renewed(features, newer), with_runs(renewed(labels, newer), tables.read(JOBS, hour)))
    report = joined.report
    known = {
        "dagster/row_count": report.joined,
        "dagster/column_schema": metadata.schema_of(next(joined.chunks(size=1))),
        "join_rate": report.join_rate,
        "unjoined": metadata.counts(report.unjoined, of="reason", examples=report.examples),
        "specs_without_labels": report.specs_without_labels,
        "older_spec_hashes": report.older_specs + report.older_labels,
    }
    return Partition(table=joined.chunks(), metadata=known, found=report)


def _count_hour(tables: Tables, hour: str) -> RowCounts:
    """Count the rows of the hour as they are stored, against its labels."""
    labels, file = with_runs(tables.file(LABELS, hour).read(), tables.read(JOBS, hour)), tables.file(NAME, hour)
    with file.readable():
        return count_rows(file.scan(), labels)
