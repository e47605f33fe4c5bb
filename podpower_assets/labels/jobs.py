"""`job_labels`: the energy of the pods that ended in the hour, over their whole lives."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import dagster as dg

from podpower.collector.opening import Sources
from podpower.hours import HOUR_S
from podpower.labels import LabelRequest, label_ended_pods
from podpower.labels.checks import MOST_ENDED_PODS_ARE_KNOWN, most_ended_pods_are_known
from podpower_assets import metadata, sparklines
from podpower_assets.automation import Remake
from podpower_assets.checks import check_specs
from podpower_assets.clusters import Cluster
from podpower_assets.lineage import PROMETHEUS
from podpower_assets.partitions import Partitions, hour_start_s
from podpower_assets.per_partition import Partition, per_partition
from podpower_assets.policies import COMMON, EXPORT, translate_errors
from podpower_assets.resources import Source, Tables
from podpower_assets.specs.assets import NAME as SPECS
from podpower_assets.specs.assets import require_specs
from podpower_assets.upstream import Upstream

NAME = "job_labels"


def job_labels(cluster: Cluster, partitions: Partitions) -> dg.AssetsDefinition:
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
            warning={MOST_ENDED_PODS_ARE_KNOWN: "At least half of the pods that ended have a known energy."},
        ),
        description="Joules of each pod that succeeded, failed or was deleted in the hour, from its start to its end.",
    )
    def asset(context: dg.AssetExecutionContext, source: Source, tables: Tables) -> Iterator[Any]:
        """Label the pods that ended in each hour."""
        own = tables.of(cluster)
        with translate_errors(), source.of(cluster).opened() as sources:
            yield from per_partition(context, own, upstream, partial(_label_hour, sources, own))

    return asset


def _label_hour(sources: Sources, tables: Tables, hour: str) -> Partition:
    """Return the labels of the pods that ended in the hour."""
    start_s = hour_start_s(hour)
    request = LabelRequest(start_s=start_s, end_s=start_s + HOUR_S, exclude_namespaces=sources.exclude_namespaces)
    labels = label_ended_pods(sources.metrics, require_specs(tables, hour), request)
    report = labels.report
    known = {
        "ended_pods": report.rows,
        "known": report.known,
        "total_energy_j": report.total_energy_j,
        "energy_of_pods": sparklines.distribution(labels.table["total_energy_j"].drop_nulls(), unit="J"),
        "label_source": report.label_source or "none",
        "outcomes": metadata.counts(dict(labels.table["outcome"].value_counts().iter_rows()), of="outcome"),
        "null_reasons": metadata.counts(report.null_reasons, of="reason"),
        "warnings": metadata.bullets(report.warnings),
    }
    return Partition(table=labels.table, metadata=known, checks=lambda: [most_ended_pods_are_known([report])])
