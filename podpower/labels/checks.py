"""Checks of exported labels, by the reports of one or more exports."""

from collections.abc import Sequence

from podpower.checks import CheckResult, Record, summed
from podpower.labels.nodes import NodeRatio, failed_ratios
from podpower.labels.report import NO_GENERATION, LabelReport

HOUR_HAS_LABELS = "hour_has_labels"
ENERGY_IS_NOT_ALL_ZERO, MOST_STEPS_ARE_KNOWN = "energy_is_not_all_zero", "most_steps_are_known"
MOST_ENDED_PODS_ARE_KNOWN, PODS_ADD_UP = "most_ended_pods_are_known", "pods_add_up_to_their_nodes"
MIN_KNOWN_SHARE = 0.5


def hour_has_labels(report: LabelReport, *, is_over: bool) -> CheckResult:
    """Kepler has series of pods; in an hour that is not over, none is a warning."""
    reason = "; ".join(report.warnings) or "Kepler has no series of pods in this hour"
    return CheckResult(
        name=HOUR_HAS_LABELS,
        passed=report.rows > 0,
        description="" if report.rows else f"no data: {reason}",
        values={"rows": report.rows},
        warning=not is_over,
    )


def energy_is_not_all_zero(reports: Sequence[LabelReport]) -> CheckResult:
    """Kepler finds hardware counters: no export has energy that is 0 J throughout."""
    zero = sum(report.all_zero for report in reports)
    return CheckResult(name=ENERGY_IS_NOT_ALL_ZERO, passed=zero == 0, values={"hours_of_zeros": zero})


def most_steps_are_known(reports: Sequence[LabelReport]) -> CheckResult:
    """At least half of the steps have energy; the reasons of the others are counted."""
    silent = sum(report.generation == NO_GENERATION for report in reports)
    return _most_are_known(MOST_STEPS_ARE_KNOWN, "steps", reports, hours_without_kepler=silent)


def most_ended_pods_are_known(reports: Sequence[LabelReport]) -> CheckResult:
    """At least half of the ended pods have energy; the reasons of the others are counted."""
    return _most_are_known(MOST_ENDED_PODS_ARE_KNOWN, "pods", reports)


def pods_add_up_to_their_nodes(reports: Sequence[LabelReport]) -> CheckResult:
    """Pods and pseudo-pods add up to their nodes' own counters in each hour and zone with such counters."""
    ratios = [ratio for report in reports for ratio in report.node_ratios]
    failed = failed_ratios(ratios)
    return CheckResult(
        name=PODS_ADD_UP,
        passed=not failed,
        values={"compared": len(ratios), "failed": ratio_records(failed)},
        warning=True,
    )


def ratio_records(ratios: Sequence[NodeRatio]) -> list[Record]:
    """Return ratios as records of a table."""
    return [{"hour": r.hour, "zone": r.zone, "pods_over_nodes": round(r.ratio, 3)} for r in ratios]


def _most_are_known(name: str, what: str, reports: Sequence[LabelReport], **values: int) -> CheckResult:
    rows, known = sum(report.rows for report in reports), sum(report.known for report in reports)
    return CheckResult(
        name=name,
        passed=known >= MIN_KNOWN_SHARE * rows,
        values={what: rows, "known": known, **values, "null_reasons": summed(r.null_reasons for r in reports)},
        warning=True,
    )
