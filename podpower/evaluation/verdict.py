"""Verdict on an evaluation in words, with the numbers behind it, and alarms for bias and for intervals that are off."""

from typing import TYPE_CHECKING, Final, Literal

import msgspec

from podpower.evaluation import figures

if TYPE_CHECKING:
    from podpower.evaluation.evaluate import SplitReport
    from podpower.evaluation.scores import Score

FIT_FOR_TOTALS: Final = (0.8, 1.25)  # sum of expected values over sum of labels
GOOD_LOG_R2: Final = 0.5
CONFIDENCE: Final = 0.95  # an honest interval raises a false alarm in one of twenty evaluations
_LEAST_PODS = 5

Grade = Literal["good", "usable", "not usable for totals", "not usable", "unknown"]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Grade of one split, the sentence that explains it, and its alarms."""

    split: str
    grade: Grade
    text: str
    alarms: list[str]

    def __str__(self) -> str:
        return f"{self.split}: {self.text}"


def verdict_of(split: "SplitReport") -> Verdict:
    """Grade a split: "good" explains at least half of the variance of logs without an alarm, "usable" is better than
    the constant, and "not usable for totals" is usable with a biased sum.
    """
    own, constant = split.own, split.scores.get("constant")
    if own.count < _LEAST_PODS or own.log_r2 is None:
        text = f"no verdict: {own.count} held-out pod{'' if own.count == 1 else 's'} with different labels are too few"
        return Verdict(split=split.name, grade="unknown", text=text, alarms=[])
    biased, uncovered = bias(own), miscoverage(own, workloads=split.workloads, level=split.nominal_coverage)
    alarms = [alarm for alarm in (biased, uncovered) if alarm]
    least = constant.log_r2 if constant and constant.log_r2 is not None else 0.0
    grade: Grade = "usable"
    if own.log_r2 <= least:
        grade = "not usable"
    elif biased:
        grade = "not usable for totals"
    elif own.log_r2 >= GOOD_LOG_R2 and not alarms:
        grade = "good"
    shown = (figures.LOG_R2, figures.WAPE, figures.SUM, figures.COVERAGE)
    numbers = ", ".join(f"{figure.name} {figure.of(own)}" for figure in shown if figure.value(own) is not None)
    text = f"{grade}: {numbers}; log R2 of the constant {figures.LOG_R2.text(least)}; {split.workloads} workloads"
    return Verdict(split=split.name, grade=grade, text=text, alarms=[f"{split.name}: {alarm}" for alarm in alarms])


def bias(score: "Score") -> str:
    """Return the alarm of a sum outside FIT_FOR_TOTALS; empty where there is none."""
    low, high = FIT_FOR_TOTALS
    if score.total_ratio is None or low <= score.total_ratio <= high:
        return ""
    return f"the sum of predictions is {score.total_ratio:.2f} times the sum of labels, outside {low:g} to {high:g}"


def miscoverage(score: "Score", *, workloads: int, level: float) -> str:
    """Return the alarm of a coverage outside the binomial bounds of its level over so many workloads; empty where there
    is none.
    """
    if score.coverage is None or workloads < _LEAST_PODS:
        return ""
    low, high = coverage_bounds(workloads, level=level)
    if low <= score.coverage <= high:
        return ""
    too = "narrow" if score.coverage < low else "wide"
    return (
        f"the {level:.0%} intervals hold {score.coverage:.0%} of the labels, outside the {low:.0%} to {high:.0%} that "
        f"chance allows over {workloads} workloads: they are too {too}"
    )


def coverage_bounds(workloads: int, *, level: float) -> tuple[float, float]:
    """Return the shares between which honest intervals of a level cover so many workloads, at CONFIDENCE."""
    from scipy.stats import binom  # noqa: PLC0415  # slow to import

    low, high = binom.interval(CONFIDENCE, workloads, level)
    return float(low) / workloads, float(high) / workloads
