"""Asset checks from the pure checks of podpower."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg

from podpower.checks import CheckResult, Value
from podpower_assets import metadata


def check_specs(
    asset: dg.AssetKey, *, blocking: Mapping[str, str] | None = None, warning: Mapping[str, str] | None = None
) -> list[dg.AssetCheckSpec]:
    """Return specs of checks by name and description; a failed blocking one stops what is downstream in the run."""
    return [
        dg.AssetCheckSpec(name, asset=asset, blocking=stops, description=description)
        for stops, checks in ((True, blocking or {}), (False, warning or {}))
        for name, description in checks.items()
    ]


def check_results(results: Iterable[CheckResult]) -> list[dg.AssetCheckResult]:
    """Return Dagster's form of check results; counts and records become tables."""
    return [
        dg.AssetCheckResult(
            check_name=result.name,
            passed=result.passed,
            description=result.description or None,
            severity=dg.AssetCheckSeverity.WARN if result.warning else dg.AssetCheckSeverity.ERROR,
            metadata={name: _shown(value) for name, value in result.values.items()},
        )
        for result in results
    ]


def _shown(value: Value) -> Any:
    if isinstance(value, Mapping):
        return metadata.counts(value, of="reason")
    if isinstance(value, Sequence) and not isinstance(value, str):
        return metadata.records(value)
    return value
