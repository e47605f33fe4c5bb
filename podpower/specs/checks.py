"""Check of an export of specs."""

from podpower.checks import CheckResult

SPECS_ARE_READABLE = "specs_are_readable"
MAX_REJECTED_SHARE = 0.2


def specs_are_readable(*, specs: int, rejected: int) -> CheckResult:
    """At most a fifth of the specs cannot be read."""
    return CheckResult(
        name=SPECS_ARE_READABLE,
        passed=rejected <= MAX_REJECTED_SHARE * (specs + rejected),
        values={"specs": specs, "rejected": rejected},
    )
