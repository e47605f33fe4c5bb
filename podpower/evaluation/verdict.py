"""Verdict on an evaluation in words, with the numbers behind it, and alarms for bias and for intervals that are off."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Final, Literal

import msgspec
import numpy as np

from podpower.evaluation import figures

if TYPE_CHECKING:
    from podpower.evaluation.results import SplitReport
    from podpower.evaluation.scores import Score

FIT_FOR_TOTALS: Final = (0.8, 1.25)  # sum of expected values over sum of labels
GOOD_LOG_R2: Final = 0.5
CONFIDENCE: Final = 0.95  # an honest interval raises a false alarm in one of twenty evaluations
_LEAST_PODS = 5

_DONE: Final = "none: predictions of this model, their totals and their intervals can be used as they are."
_NARROW: Final = (
    "look at the workloads that are farthest outside their interval, and label more hours of them before you rely on "
    "intervals."
)
# What to do about each grade, the worst first.
_STEPS: Final[dict[str, str]] = {
    "not usable": "label more workloads, and more different ones (`podpower label`, or more days of `podpower up`): a "
    "constant predicts as well as this model.",
    "not usable for totals": "use predictions of single workloads and do not add them up; label those that add most to "
    "the error, which are listed below.",
    "unknown": "record more workloads, at least five of each split (`podpower record`, or a day more of `podpower "
    "up`).",
}

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
    biased, uncovered = bias(own), miscoverage(split)
    alarms = [alarm for alarm in (biased, uncovered) if alarm]
    least = constant.log_r2 if constant and constant.log_r2 is not None else 0.0
    grade: Grade = "usable"
    if own.log_r2 <= least:
        grade = "not usable"
    elif biased:
        grade = "not usable for totals"
    elif own.log_r2 >= GOOD_LOG_R2 and not alarms:
        grade = "good"
    text = f"{grade}: {'; '.join(_in_words(own, least))}; {split.workloads} workloads"
    return Verdict(split=split.name, grade=grade, text=text, alarms=[f"{split.name}: {alarm}" for alarm in alarms])


def _in_words(own: "Score", constant: float) -> list[str]:
    """Return the figures of a score as phrases, those that people count in first."""
    found = []
    if own.wape is not None:
        found.append(f"errors are {own.wape:.0%} of what was measured (WAPE {figures.WAPE.of(own)})")
    if own.total_ratio is not None:
        more = 100 * (own.total_ratio - 1)
        off = f"{abs(more):.0f} % too {'high' if more > 0 else 'low'}" if abs(more) >= 0.5 else "right"
        found.append(f"the sum is {off}")
    if own.coverage is not None:
        found.append(f"{own.coverage:.0%} of labels are in their 80% interval")
    return [*found, f"log R2 {figures.LOG_R2.of(own)}, of a constant {figures.LOG_R2.text(constant)}"]


def next_step(verdicts: "Sequence[Verdict]") -> str:
    """Return what to do about the worst grade of an evaluation, in one sentence."""
    grades = {verdict.grade for verdict in verdicts}
    narrow = any("too narrow" in alarm for verdict in verdicts for alarm in verdict.alarms)
    for grade, step in _STEPS.items():
        if grade in grades:
            return step
    return _NARROW if narrow else _DONE


def bias(score: "Score") -> str:
    """Return the alarm of a sum outside FIT_FOR_TOTALS; empty where there is none."""
    low, high = FIT_FOR_TOTALS
    if score.total_ratio is None or low <= score.total_ratio <= high:
        return ""
    return f"the sum of predictions is {score.total_ratio:.2f} times the sum of labels, outside {low:g} to {high:g}"


def miscoverage(split: "SplitReport") -> str:
    """Return the alarm of a coverage outside the binomial bounds of its level over so many workloads; empty where there
    is none.
    """
    workloads, level, covered = split.workloads, split.nominal_coverage, split.own.coverage
    if covered is None or workloads < _LEAST_PODS:
        return ""
    independent = independent_workloads(split)
    low, high = coverage_bounds(independent, level=level)
    if low <= covered <= high:
        return ""
    too = "narrow" if covered < low else "wide"
    over = f"{workloads} workloads" + (f", which say as much as {independent}" if independent < workloads else "")
    return (
        f"the {level:.0%} intervals hold {covered:.0%} of the labels, outside the {low:.0%} to {high:.0%} that "
        f"chance allows over {over}: they are too {too}"
    )


def independent_workloads(split: "SplitReport") -> int:
    """Return how many independent workloads, under intervals that are known exactly, would say as much about coverage.

    Fewer than there are, for two reasons. Workloads of one image err alike: their number is divided by the design
    effect, the variance of the coverage with images as clusters over that of independent workloads (Kish, "Survey
    Sampling", 1965, section 5.4). And the intervals come from residuals, of which a large training samples some: given
    these, the true coverage of a split-conformal interval is itself random, with the variance of as many workloads
    (Vovk, "Conditional validity of inductive conformal predictors", ACML 2012). Where all workloads are held out in
    turn, they are those residuals, so that only the sampling counts.
    """
    variance, whole = design_effect(split) / split.workloads, split.folds == split.folds_in_all
    if split.residuals:
        sampled = 1.0 / split.residuals
        variance = max(variance, sampled) if whole else variance + sampled
    return max(1, round(1.0 / variance))


def design_effect(split: "SplitReport") -> float:
    """Return the factor by which workloads of one image scatter the coverage more than independent ones would; at
    least 1.
    """
    inside, images = defaultdict[tuple[str | None, ...], list[bool]](list), dict[tuple[str | None, ...], str | None]()
    for pod in split.pods:
        if pod.low is not None and pod.high is not None:
            inside[pod.workload[:4]].append(pod.low <= pod.measured <= pod.high)
            images[pod.workload[:4]] = pod.image_key
    shares = {workload: sum(held) / len(held) for workload, held in inside.items()}
    mean = sum(shares.values()) / len(shares) if shares else 0.0
    of_images = defaultdict[object, float](float)
    for workload, share in shares.items():
        of_images[images[workload] or workload] += share - mean
    independent = _sum_of_squares([share - mean for share in shares.values()])
    return max(1.0, _sum_of_squares(of_images.values()) / independent) if len(of_images) > 1 and independent else 1.0


def _sum_of_squares(values: Collection[float]) -> float:
    """Return the sum of the squares of deviations, as if as many degrees of freedom were left as there are values."""
    return sum(value**2 for value in values) * len(values) / (len(values) - 1)


def coverage_bounds(workloads: int, *, level: float) -> tuple[float, float]:
    """Return the shares between which honest intervals of a level cover so many workloads, at CONFIDENCE."""
    from scipy.special import bdtr  # noqa: PLC0415  # a quarter of the time that scipy.stats takes to import

    cumulated = bdtr(np.arange(workloads + 1), workloads, level)
    low, high = np.searchsorted(cumulated, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low) / workloads, float(high) / workloads
