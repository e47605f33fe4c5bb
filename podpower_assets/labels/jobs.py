"""`job_labels`: the energy of the pods that ended in the hour, over their whole lives."""

from collections import Counter
from collections.abc import Iterator

import dagster as dg

from podpower.errors import InvalidInput
from podpower.labels import LabelRequest, label_ended_pods
from podpower_assets import metadata
from podpower_assets.partitions import HOUR_S, HOURLY, hour_start_s
from podpower_assets.policies import COMMON, FAILED_BEFORE, FOLLOWS_ITS_DEPENDENCIES, deciding
from podpower_assets.resources import Source, Tables
from podpower_assets.specs.assets import NAME as SPECS
from podpower_assets.specs.assets import specs_of

NAME = "job_labels"


@dg.asset(
    **COMMON,
    name=NAME,
    group_name="labels",
    kinds={"prometheus", "polars", "parquet"},
    partitions_def=HOURLY,
    code_version="1",
    deps=[SPECS],
    automation_condition=FOLLOWS_ITS_DEPENDENCIES | FAILED_BEFORE,
    check_specs=[
        dg.AssetCheckSpec(
            "most_ended_pods_are_known",
            asset=NAME,
            description="At least half of the pods that ended have a known energy.",
        ),
    ],
    description="Joules of each pod that succeeded, failed or was deleted in the hour, from its start to its end.",
)
def job_labels(context: dg.AssetExecutionContext, source: Source, tables: Tables) -> Iterator[dg.MaterializeResult]:
    """Label the pods that ended in each hour."""
    rows, known, reasons = 0, 0, Counter[str]()
    with deciding(), source.opened() as sources:
        for hour in context.partition_keys:
            specs = specs_of(tables, hour)
            if specs is None:
                raise InvalidInput(f"workload_specs of {hour} are missing: materialize them first")
            start_s = hour_start_s(hour)
            request = LabelRequest(start_s=start_s, end_s=start_s + HOUR_S)
            labels = label_ended_pods(sources.metrics, specs, request)
            tables.write(NAME, hour, labels.table)
            report = labels.report
            rows, known = rows + report.rows, known + report.known
            reasons.update(report.null_reasons)
            outcomes = dict(labels.table["outcome"].value_counts().iter_rows())
            shown = {
                **metadata.table_metadata(labels.table),
                "known": report.known, "total_energy_j": report.total_energy_j,
                "label_source": report.label_source or "none",
                "outcomes": metadata.counts(outcomes, of="outcome"),
                "null_reasons": metadata.counts(report.null_reasons, of="reason"),
                "warnings": dg.MetadataValue.md("\n".join(f"- {w}" for w in report.warnings) or "none"),
            }  # fmt: skip
            context.add_asset_metadata(shown, partition_key=hour)
    yield dg.MaterializeResult(
        check_results=[
            dg.AssetCheckResult(
                check_name="most_ended_pods_are_known",
                passed=known >= rows / 2,
                severity=dg.AssetCheckSeverity.WARN,
                metadata={"pods": rows, "known": known, "null_reasons": metadata.counts(reasons, of="reason")},
            )
        ]
    )
