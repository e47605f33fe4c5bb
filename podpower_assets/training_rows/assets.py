"""`training_rows`: each label of the hour with its spec's vector."""

from collections import Counter
from collections.abc import Iterator

import dagster as dg

from podpower.datasets.join import join_rows
from podpower.datasets.renewal import renewed
from podpower.errors import InvalidInput
from podpower.labels import with_runs
from podpower.specs.table import renewals
from podpower_assets import metadata
from podpower_assets.features.assets import NAME as FEATURES
from podpower_assets.labels.assets import NAME as LABELS
from podpower_assets.labels.jobs import NAME as JOBS
from podpower_assets.partitions import HOURLY
from podpower_assets.policies import COMMON, FAILED_BEFORE, FOLLOWS_ITS_DEPENDENCIES, deciding
from podpower_assets.resources import Tables
from podpower_assets.specs.assets import NAME as SPECS

NAME = "training_rows"
# Hours from before there were job labels have rows without them.
_NEEDED_DEPS_MISSING = dg.AutomationCondition.any_deps_missing().ignore(dg.AssetSelection.assets(JOBS))


@dg.asset(
    **COMMON,
    name=NAME,
    group_name="training_rows",
    kinds={"polars", "parquet"},
    partitions_def=HOURLY,
    code_version="1",
    deps=[FEATURES, LABELS, JOBS],
    automation_condition=(FOLLOWS_ITS_DEPENDENCIES | FAILED_BEFORE) & ~_NEEDED_DEPS_MISSING,
    check_specs=[
        dg.AssetCheckSpec("one_row_a_label", asset=NAME, blocking=True, description="No label joined twice."),
        dg.AssetCheckSpec("most_labels_join", asset=NAME, description="At least half of the labels have a spec."),
    ],
    description="One row for each label of a step or a run that has a spec, never more.",
)
def training_rows(context: dg.AssetExecutionContext, tables: Tables) -> Iterator[dg.MaterializeResult]:
    """Join each hour."""
    labels_all, joined_all, written, distinct = 0, 0, 0, 0
    unjoined: Counter[str] = Counter()
    with deciding():
        for hour in context.partition_keys:
            features, labels = tables.read(FEATURES, hour), tables.read(LABELS, hour)
            if features is None or labels is None:
                raise InvalidInput(f"features or kepler_labels of {hour} are missing: materialize them first")
            newer = renewals(tables.read(SPECS, hour))
            joined = join_rows(renewed(features, newer), with_runs(renewed(labels, newer), tables.read(JOBS, hour)))
            tables.write(NAME, hour, joined.chunks())
            report = joined.report
            rows, labels_in_rows = _written(tables, hour)
            written, distinct = written + rows, distinct + labels_in_rows
            labels_all, joined_all = labels_all + report.labels, joined_all + report.joined
            unjoined.update(report.unjoined)
            said = {
                **metadata.table_metadata(next(joined.chunks(size=1))),
                "dagster/row_count": report.joined,
                "join_rate": report.join_rate if report.join_rate is not None else 0.0,
                "unjoined": metadata.counts(report.unjoined, of="reason", examples=report.examples),
                "specs_without_labels": report.specs_without_labels,
                "older_spec_hashes": report.older_specs + report.older_labels,
            }
            context.add_asset_metadata(said, partition_key=hour)
    yield dg.MaterializeResult(
        check_results=[
            dg.AssetCheckResult(
                check_name="one_row_a_label",
                passed=written == distinct == joined_all,
                metadata={"labels": labels_all, "joined": joined_all, "rows": written, "labels_in_rows": distinct},
            ),
            dg.AssetCheckResult(
                check_name="most_labels_join",
                passed=joined_all >= labels_all / 2,
                severity=dg.AssetCheckSeverity.WARN,
                metadata={"unjoined": metadata.counts(unjoined, of="reason")},
            ),
        ]
    )


def _written(tables: Tables, hour: str) -> tuple[int, int]:
    """Return the numbers of rows and of different labels in the file of the hour."""
    file = tables.file(NAME, hour)
    with file.readable():
        keys = file.scan().select("namespace", "pod", "ts", "pod_uid").collect()
    return len(keys), keys.n_unique()
