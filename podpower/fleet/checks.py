"""Checks of the fleet summary."""

import polars as pl

from podpower.checks import CheckResult
from podpower.fleet.hours import CLUSTER, MOST_ROWS, NAMESPACE
from podpower.fleet.summary import MAX_BYTES, FleetSummary

EVERY_CLUSTER_IS_THERE, SUMS_ADD_UP = "every_cluster_is_there", "sums_add_up"
FLEET_CHECKS = {
    EVERY_CLUSTER_IS_THERE: "The hour has a row of every configured cluster.",
    SUMS_ADD_UP: "Namespaces of the hour add up to their clusters, within one percent; after the last hour of a run, "
    "those of the published summary and what it does not list do, too.",
}
_TOLERANCE = 0.01  # watts in the file have four digits
_WATTS = ("measured_w", "predicted_w")


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


def sums_add_up(hour: pl.DataFrame, summary: FleetSummary | None = None, *, size_bytes: int = 0) -> CheckResult:
    """Pass where the namespaces of an hour's table add up to its clusters and, given the summary that was published
    with it, of `size_bytes`, its namespaces and the others do.

    Of an hour with more than MOST_ROWS namespaces only the largest are known: they must not exceed the clusters.
    """
    values, differing = _hour_sums(hour)
    if summary is not None:
        published, differing_too = _published_sums(summary)
        values |= published | {"size_bytes": float(size_bytes), "most_bytes": float(MAX_BYTES)}
        differing += differing_too
    return CheckResult(
        name=SUMS_ADD_UP,
        passed=not differing,
        description=f"{', '.join(differing)} of namespaces differ from those of clusters" if differing else "",
        values=values,
        warning=True,
    )


def _hour_sums(hour: pl.DataFrame) -> tuple[dict[str, float], list[str]]:
    """Return the watts of an hour's clusters and namespaces, and the names of those that differ."""
    sums = {level: hour.filter(pl.col("level") == level).select(*_WATTS).sum() for level in (CLUSTER, NAMESPACE)}
    cut_off = hour.filter(pl.col("level") == NAMESPACE).height >= MOST_ROWS
    values: dict[str, float] = {}
    differing = []
    for name in _WATTS:
        whole, listed = (float(sums[level][name][0]) for level in (CLUSTER, NAMESPACE))
        values |= {name: whole, f"{name}_of_namespaces": listed}
        if _differ(whole, max(whole, listed) if cut_off else listed):
            differing.append(name)
    return values, differing


def _published_sums(summary: FleetSummary) -> tuple[dict[str, float], list[str]]:
    """Return the watts of the published clusters and namespaces, and the names of those that differ."""
    values: dict[str, float] = {}
    differing = []
    for name in _WATTS:
        whole = sum(getattr(one, name) or 0.0 for one in summary.clusters)
        listed = sum(getattr(one, name) or 0.0 for one in [*summary.namespaces, summary.other_namespaces])
        values |= {f"published_{name}": whole, f"published_{name}_of_namespaces": listed}
        if _differ(whole, listed):
            differing.append(f"published {name}")
    return values, differing


def _differ(whole: float, listed: float) -> bool:
    return abs(whole - listed) > _TOLERANCE * abs(whole)
