"""Asset checks from the pure checks of podpower."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)
from dagster._utils.warnings import disable_dagster_warnings

from podpower.checks import CheckResult, Value
from podpower_assets import metadata

TABLE_IS_WHOLE, ENCODER_IS_WHOLE = "table_is_whole", "encoder_is_whole"


def check_specs(
    asset: dg.AssetKey,
    partitions: dg.PartitionsDefinition | None = None,
    *,
    table: bool = False,
    blocking: Mapping[str, str] | None = None,
    warning: Mapping[str, str] | None = None,
) -> list[dg.AssetCheckSpec]:
    """Return specs of checks by name and description, with a result for each of the partitions. A failed blocking one
    stops what is downstream of its partition. `table`: with the check that the table is what was written.
    """
    of_table = {TABLE_IS_WHOLE: "The table is there, and has the bytes that were written."} if table else {}
    with disable_dagster_warnings():  # partitions of checks are a preview: what is relied on here has tests
        return [
            dg.AssetCheckSpec(name, asset=asset, blocking=stops, description=description, partitions_def=partitions)
            for stops, checks in ((True, of_table | {**(blocking or {})}), (False, warning or {}))
            for name, description in checks.items()
        ]


def evaluation(
    result: CheckResult,
    *,
    asset: dg.AssetKey,
    partition: str,
    target: AssetCheckEvaluationTargetMaterializationData,
    blocking: bool,
) -> dg.AssetCheckEvaluation:
    """Return Dagster's form of a check result of one partition; counts and records become tables."""
    return dg.AssetCheckEvaluation(
        asset_key=asset,
        check_name=result.name,
        partition=partition,
        passed=result.passed,
        description=result.description or None,
        severity=_severity(result),
        metadata=_values(result),
        target_materialization_data=target,
        blocking=blocking,
    )


def table_is_whole(digest: str) -> CheckResult:
    """Return the result of the check of a table that was just written."""
    return CheckResult(name=TABLE_IS_WHOLE, passed=True, values={"sha256": digest})


def _severity(result: CheckResult) -> dg.AssetCheckSeverity:
    return dg.AssetCheckSeverity.WARN if result.warning else dg.AssetCheckSeverity.ERROR


def _values(result: CheckResult) -> dict[str, Any]:
    return {name: _shown(value) for name, value in result.values.items()}


def _shown(value: Value) -> Any:
    if isinstance(value, Mapping):
        return metadata.counts(value, of="reason")
    if isinstance(value, Sequence) and not isinstance(value, str):
        return metadata.records(value)
    return value
