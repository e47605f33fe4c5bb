"""Asset checks from the pure checks of podpower."""

from collections.abc import Iterable, Mapping

import dagster as dg

from podpower.checks import CheckResult
from podpower_assets import metadata


def check_specs(
    asset: str, *, blocking: Mapping[str, str] | None = None, warning: Mapping[str, str] | None = None
) -> list[dg.AssetCheckSpec]:
    """Return specs of checks by name and description; a failed blocking one stops what is downstream in the run."""
    return [
        dg.AssetCheckSpec(name, asset=asset, blocking=stops, description=description)
        for stops, checks in ((True, blocking or {}), (False, warning or {}))
        for name, description in checks.items()
    ]


def check_results(results: Iterable[CheckResult]) -> list[dg.AssetCheckResult]:
    """Return Dagster's form of check results; counts become tables."""
    return [
        dg.AssetCheckResult(
            check_name=result.name,
            passed=result.passed,
            description=result.description or None,
            severity=dg.AssetCheckSeverity.WARN if result.warning else dg.AssetCheckSeverity.ERROR,
            metadata={
                name: metadata.counts(value, of="reason") if isinstance(value, Mapping) else value
                for name, value in result.values.items()
            },
        )
        for result in results
    ]
