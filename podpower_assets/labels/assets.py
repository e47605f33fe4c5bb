"""`kepler_labels`: watts and joules of each pod in each minute of the hour, null with a reason where unknown."""

from typing import Any

import dagster as dg

from podpower.errors import Unavailable
from podpower.hours import HOUR_S
from podpower.labels import LabelRequest, label_windows, no_labels
from podpower.labels.checks import (
    ENERGY_IS_NOT_ALL_ZERO,
    MOST_STEPS_ARE_KNOWN,
    PODS_ADD_UP,
    energy_is_not_all_zero,
    most_steps_are_known,
    pods_add_up_to_their_nodes,
    ratio_records,
)
from podpower.labels.kepler import NoMetrics
from podpower.labels.report import NO_GENERATION, LabelReport
from podpower.sources.protocols import MetricSource
from podpower_assets import metadata
from podpower_assets.checks import check_results, check_specs
from podpower_assets.clusters import Cluster
from podpower_assets.partitions import Partitions, hour_start_s
from podpower_assets.per_partition import Partition, per_partition
from podpower_assets.policies import COMMON, FAILED_BEFORE, FOLLOWS_ITS_DEPENDENCIES, translate_errors
from podpower_assets.resources import Source, Tables
from podpower_assets.specs.assets import NAME as SPECS
from podpower_assets.specs.assets import specs_of

NAME = "kepler_labels"
STEP_SECONDS = 60.0


def kepler_labels(cluster: Cluster, partitions: Partitions) -> dg.AssetsDefinition:
    """Return the asset of a cluster."""

    @dg.asset(
        **COMMON,
        key=cluster.key(NAME),
        group_name=cluster.group("labels"),
        kinds={"prometheus", "polars", "parquet"},
        partitions_def=partitions.hours,
        code_version="1",
        deps=[cluster.key(SPECS)],
        automation_condition=FOLLOWS_ITS_DEPENDENCIES | FAILED_BEFORE,
        check_specs=check_specs(
            cluster.key(NAME),
            blocking={ENERGY_IS_NOT_ALL_ZERO: "Kepler finds hardware counters: some energy is above 0 J."},
            warning={
                MOST_STEPS_ARE_KNOWN: "At least half of the steps are known.",
                PODS_ADD_UP: "Pods and pseudo-pods add up to 0.8 to 1.1 of their nodes' own counters, in each hour and "
                "zone where nodes have such counters.",
            },
        ),
        description="Dynamic energy of each pod in each minute, from per-series increases; owners as of the step.",
    )
    def asset(context: dg.AssetExecutionContext, source: Source, tables: Tables) -> dg.MaterializeResult:
        """Label each hour."""
        several = len(context.partition_keys) > 1
        own = tables.of(cluster)
        with translate_errors(), source.of(cluster).opened() as sources:
            reports = per_partition(
                context, own, lambda hour: _label_hour(sources.metrics, own, hour, may_be_empty=several)
            )
            if all(report.generation == NO_GENERATION for report in reports):
                raise Unavailable(reports[0].warnings[0])
        checks = (energy_is_not_all_zero, most_steps_are_known, pods_add_up_to_their_nodes)
        return dg.MaterializeResult(check_results=check_results(check(reports) for check in checks))

    return asset


def _label_hour(samples: MetricSource, tables: Tables, hour: str, *, may_be_empty: bool) -> Partition[LabelReport]:
    """Return the labels of the hour; none, if `may_be_empty`, where Kepler has no series: it may be newer."""
    start_s = hour_start_s(hour)
    request = LabelRequest(start_s=start_s, end_s=start_s + HOUR_S, step_seconds=STEP_SECONDS)
    try:
        labels = label_windows(samples, specs_of(tables, hour), request)
    except NoMetrics as error:
        if not may_be_empty:
            raise
        labels = no_labels(str(error))
    return Partition(table=labels.table, metadata=_metadata(labels.report), found=labels.report)


def _metadata(report: LabelReport) -> dict[str, Any]:
    return {
        "kepler": report.generation,
        "energy": report.energy,
        "pods": report.pods,
        "known_steps": report.known,
        "partly_known_steps": report.partly_known,
        "label_source": report.label_source or "none",
        "node_ratios": metadata.records(ratio_records(report.node_ratios)),
        "total_energy_j": report.total_energy_j,
        "excluded_pseudo_pods": report.excluded_pseudo_pods,
        "null_reasons": metadata.counts(report.null_reasons, of="reason"),
        "warnings": metadata.bullets(report.warnings),
    }
