"""`kepler_labels`: watts and joules of each pod and minute of the hour, null with a reason where not known."""

from collections import Counter
from collections.abc import Iterator

import dagster as dg

from podpower.errors import Unavailable
from podpower.labels import LabelRequest, label_windows, no_labels
from podpower.labels.kepler import NoMetrics
from podpower.labels.nodes import NodeRatio, failed_ratios
from podpower_assets import metadata
from podpower_assets.partitions import HOUR_S, HOURLY, hour_start_s
from podpower_assets.policies import COMMON, FAILED_BEFORE, FOLLOWS_ITS_DEPENDENCIES, deciding
from podpower_assets.resources import Source, Tables
from podpower_assets.specs.assets import NAME as SPECS
from podpower_assets.specs.assets import specs_of

NAME = "kepler_labels"
STEP_SECONDS = 60.0
SUMS = "pods_add_up_to_their_nodes"


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
            "energy_is_not_all_zero",
            asset=NAME,
            blocking=True,
            description="Kepler finds hardware counters: some energy is above 0 J.",
        ),
        dg.AssetCheckSpec("most_steps_are_known", asset=NAME, description="At least half of the steps are known."),
        dg.AssetCheckSpec(
            SUMS,
            asset=NAME,
            description="Pods and pseudo-pods add up to 0.8 to 1.1 of their nodes' own counters, in each hour and zone "
            "where nodes have such counters.",
        ),
    ],
    description="Dynamic energy of each pod in each minute, from per-series increases; owners as of the step.",
)
def kepler_labels(context: dg.AssetExecutionContext, source: Source, tables: Tables) -> Iterator[dg.MaterializeResult]:
    """Label each hour."""
    rows, known, zero_hours = 0, 0, 0
    reasons: Counter[str] = Counter()
    silent: list[str] = []
    ratios: list[NodeRatio] = []
    with deciding(), source.opened() as sources:
        for hour in context.partition_keys:
            start_s = hour_start_s(hour)
            asked = LabelRequest(start_s=start_s, end_s=start_s + HOUR_S, step_seconds=STEP_SECONDS)
            try:
                labels = label_windows(sources.metrics, specs_of(tables, hour), asked)
            except NoMetrics as error:
                if len(context.partition_keys) == 1:
                    raise
                silent.append(str(error))  # Kepler may be younger than the range
                labels = no_labels(str(error))
            tables.write(NAME, hour, labels.table)
            report = labels.report
            rows, known, zero_hours = rows + report.rows, known + report.known, zero_hours + report.all_zero
            reasons.update(report.null_reasons)
            ratios += report.node_ratios
            said = {
                **metadata.table_metadata(labels.table),
                "kepler": report.generation, "energy": report.energy, "pods": report.pods, "known_steps": report.known,
                "partly_known_steps": report.partly_known, "label_source": report.label_source or "none",
                "node_ratios": metadata.records([_shown(ratio) for ratio in report.node_ratios]),
                "total_energy_j": report.total_energy_j, "excluded_pseudo_pods": report.excluded_pseudo_pods,
                "null_reasons": metadata.counts(report.null_reasons, of="reason"),
                "warnings": dg.MetadataValue.md("\n".join(f"- {w}" for w in report.warnings) or "none"),
            }  # fmt: skip
            context.add_asset_metadata(said, partition_key=hour)
        if len(silent) == len(context.partition_keys):
            raise Unavailable(silent[0])
    yield dg.MaterializeResult(
        check_results=[
            dg.AssetCheckResult(
                check_name="energy_is_not_all_zero", passed=zero_hours == 0, metadata={"hours_of_zeros": zero_hours}
            ),
            dg.AssetCheckResult(
                check_name="most_steps_are_known",
                passed=known >= rows / 2,
                severity=dg.AssetCheckSeverity.WARN,
                metadata={
                    "steps": rows,
                    "known": known,
                    "hours_without_kepler": len(silent),
                    "null_reasons": metadata.counts(reasons, of="reason"),
                },
            ),
            dg.AssetCheckResult(
                check_name=SUMS,
                passed=not failed_ratios(ratios),
                severity=dg.AssetCheckSeverity.WARN,
                metadata={
                    "compared": len(ratios),
                    "failed": metadata.records(list(map(_shown, failed_ratios(ratios)))),
                },
            ),
        ]
    )


def _shown(ratio: NodeRatio) -> dict[str, str | float | int | None]:
    return {"hour": ratio.hour, "zone": ratio.zone, "pods_over_nodes": round(ratio.ratio, 3)}
