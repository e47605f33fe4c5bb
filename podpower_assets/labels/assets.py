"""`kepler_labels`: watts and joules of each pod in each minute of the hour, null with a reason where unknown."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import dagster as dg
import polars as pl

from podpower.collector.opening import Sources
from podpower.hours import HOUR_S
from podpower.labels import LabelRequest, label_windows, no_labels
from podpower.labels.checks import (
    ENERGY_IS_NOT_ALL_ZERO,
    HOUR_HAS_LABELS,
    MOST_STEPS_ARE_KNOWN,
    PODS_ADD_UP,
    energy_is_not_all_zero,
    hour_has_labels,
    most_steps_are_known,
    pods_add_up_to_their_nodes,
    ratio_records,
)
from podpower.labels.kepler import NoMetrics
from podpower.labels.reasons import PARTIAL_ANSWER
from podpower.labels.report import LabelReport
from podpower_assets import metadata, sparklines
from podpower_assets.automation import Remake
from podpower_assets.checks import check_specs
from podpower_assets.clusters import Cluster
from podpower_assets.lineage import PROMETHEUS
from podpower_assets.partitions import Partitions, hour_start_s, is_over
from podpower_assets.per_partition import Partition, per_partition
from podpower_assets.policies import COMMON, EXPORT, MOST_SILENT_MINUTES, translate_errors
from podpower_assets.resources import Source, Tables
from podpower_assets.specs.assets import NAME as SPECS
from podpower_assets.specs.assets import specs_of
from podpower_assets.upstream import Upstream
from podpower_assets.versions import INCOMPLETE

NAME = "kepler_labels"
STEP_SECONDS = 60.0


def kepler_labels(cluster: Cluster, partitions: Partitions) -> dg.AssetsDefinition:
    """Return the asset of a cluster."""
    upstream = Upstream(same=(cluster.key(SPECS),))

    @dg.asset(
        **COMMON,
        key=cluster.key(NAME),
        group_name=cluster.group,
        kinds={"prometheus", "polars", "parquet"},
        partitions_def=partitions.hours,
        code_version="1",
        deps=[cluster.key(SPECS), cluster.key(PROMETHEUS)],
        pool=EXPORT,
        automation_condition=Remake(upstream=upstream, lookback_days=partitions.lookback_days),
        check_specs=check_specs(
            cluster.key(NAME),
            partitions.hours,
            table=True,
            blocking={
                HOUR_HAS_LABELS: "Kepler has series of pods in the hour; a warning while the hour runs.",
                ENERGY_IS_NOT_ALL_ZERO: "Kepler finds hardware counters: some energy is above 0 J.",
            },
            warning={
                MOST_STEPS_ARE_KNOWN: "At least half of the steps are known.",
                PODS_ADD_UP: "Pods and pseudo-pods add up to 0.8 to 1.1 of their nodes' own counters, in each zone "
                "where nodes have such counters.",
            },
        ),
        description="Dynamic energy of each pod in each minute, from per-series increases; owners as of the step.",
    )
    def asset(context: dg.AssetExecutionContext, source: Source, tables: Tables) -> Iterator[Any]:
        """Label each hour."""
        own = tables.of(cluster)
        with translate_errors(), source.of(cluster).opened() as sources:
            yield from per_partition(context, own, upstream, partial(_label_hour, sources, own))

    return asset


def _label_hour(sources: Sources, tables: Tables, hour: str) -> Partition:
    """Return the labels of the hour; none, which a check shows, where Kepler has no series."""
    start_s = hour_start_s(hour)
    request = LabelRequest(
        start_s=start_s,
        end_s=start_s + HOUR_S,
        step_seconds=STEP_SECONDS,
        exclude_namespaces=sources.exclude_namespaces,
    )
    try:
        labels = label_windows(sources.metrics, specs_of(tables, hour), request)
    except NoMetrics as error:
        labels = no_labels(str(error))
    report = labels.report
    checks = (energy_is_not_all_zero, most_steps_are_known, pods_add_up_to_their_nodes)
    results = (hour_has_labels(report, is_over=is_over(hour)), *(check([report]) for check in checks))
    return Partition(table=labels.table, metadata=_metadata(report, labels.table), checks=lambda: results)


def _metadata(report: LabelReport, labels: pl.DataFrame) -> dict[str, Any]:
    watts = labels.group_by("ts").agg(pl.col("avg_power_w").sum()).sort("ts")["avg_power_w"]
    return {
        "known_steps": report.known,
        "pods": report.pods,
        "total_energy_j": report.total_energy_j,
        "power": sparklines.over_time(watts.to_list(), unit="W"),
        "kepler": report.generation,
        "energy": report.energy,
        "partly_known_steps": report.partly_known,
        "label_source": report.label_source or "none",
        "node_ratios": metadata.records(ratio_records(report.node_ratios)),
        "excluded_pseudo_pods": report.excluded_pseudo_pods,
        "null_reasons": metadata.counts(report.null_reasons, of="reason"),
        "warnings": metadata.bullets(report.warnings),
        INCOMPLETE: _incomplete(report, labels),
    }


def _incomplete(report: LabelReport, labels: pl.DataFrame) -> str:
    """Return why the source of samples may have more of the hour later, as one that lags does; else nothing."""
    if partial := report.null_reasons.get(PARTIAL_ANSWER, 0):
        return f"{partial} steps are of partial answers"
    known = labels.filter(pl.col("avg_power_w").is_not_null())["ts"].n_unique()
    silent = round((HOUR_S / STEP_SECONDS - known) * STEP_SECONDS / 60)
    return f"{silent} minutes without a known label" if silent > MOST_SILENT_MINUTES else ""
