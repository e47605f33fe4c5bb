"""Checks of the fleet summary."""

from podpower.checks import CheckResult
from podpower.fleet.summary import MAX_BYTES, FleetSummary

EVERY_CLUSTER_IS_THERE, SUMS_ADD_UP = "every_cluster_is_there", "sums_add_up"
FLEET_CHECKS = {
    EVERY_CLUSTER_IS_THERE: "The hour has a row of every configured cluster.",
    SUMS_ADD_UP: "Namespaces and what is not listed add up to their clusters, within one percent.",
}
_TOLERANCE = 0.01  # watts in the file have four digits


def every_cluster_is_there(configured: list[str], found: list[str]) -> CheckResult:
    """Pass where an hour has a row of every configured cluster."""
    missing = sorted(set(configured) - set(found))
    return CheckResult(
        name=EVERY_CLUSTER_IS_THERE,
        passed=not missing,
        description=f"no tables of {', '.join(missing)}" if missing else "",
        values={"clusters": len(configured), "missing": ", ".join(missing) or "none"},
        warning=True,
    )


def sums_add_up(summary: FleetSummary, *, size_bytes: int) -> CheckResult:
    """Pass where the listed parts and the others add up to the whole."""
    values: dict[str, float] = {}
    for name in ("measured_w", "predicted_w"):
        whole = sum(getattr(one, name) or 0.0 for one in summary.clusters)
        listed = [*summary.namespaces, summary.other_namespaces]
        values[name] = whole
        values[f"{name}_of_namespaces"] = sum(getattr(one, name) or 0.0 for one in listed)
    differing = [
        name
        for name in ("measured_w", "predicted_w")
        if abs(values[name] - values[f"{name}_of_namespaces"]) > _TOLERANCE * values[name]
    ]
    return CheckResult(
        name=SUMS_ADD_UP,
        passed=not differing,
        description=f"{', '.join(differing)} of namespaces differ from those of clusters" if differing else "",
        values={**values, "size_bytes": size_bytes, "most_bytes": MAX_BYTES},
        warning=True,
    )
