"""Check of an export of specs."""

from podpower.checks import CheckResult

SPECS_ARE_READABLE, HOUR_HAS_SPECS = "specs_are_readable", "hour_has_specs"
MAX_REJECTED_SHARE = 0.2


def specs_are_readable(*, specs: int, rejected: int) -> CheckResult:
    """At most a fifth of the specs cannot be read."""
    return CheckResult(
        name=SPECS_ARE_READABLE,
        passed=rejected <= MAX_REJECTED_SHARE * (specs + rejected),
        values={"specs": specs, "rejected": rejected},
    )


def hour_has_specs(*, specs: int, is_over: bool) -> CheckResult:
    """Some workload is known; in an hour that is not over, none is a warning."""
    description = "" if specs else "no data: no workload is known in this hour"
    return CheckResult(
        name=HOUR_HAS_SPECS, passed=specs > 0, description=description, values={"specs": specs}, warning=not is_over
    )
