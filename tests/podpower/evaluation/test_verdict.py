"""A verdict has the numbers behind it; bias and dishonest intervals raise an alarm."""

import msgspec
import pytest

from podpower.evaluation.evaluate import EvaluationReport
from podpower.evaluation.report import render
from podpower.evaluation.results import MODEL, PodResult, SplitReport
from podpower.evaluation.scores import Score
from podpower.evaluation.verdict import coverage_bounds, independent_workloads, verdict_of


def split(*, workloads=50, log_r2=0.7, total_ratio=1.0, coverage=0.8, constant=-0.05):
    pods = [
        PodResult(
            namespace="shop", workload_kind="Deployment", workload_name=f"w{n}", pod=None, image_key=None,
            basis="similar", measured=1.0 + n, predicted=1.0, low=0.5, high=2.0,
        )
        for n in range(workloads)
    ]  # fmt: skip
    own = Score(count=workloads, wape=0.4, log_r2=log_r2, total_ratio=total_ratio, coverage=coverage)
    return SplitReport(
        name="unseen workloads",
        folds=1,
        folds_in_all=1,
        nominal_coverage=0.8,
        scores={MODEL: own, "constant": Score(count=workloads, log_r2=constant)},
        by_basis={},
        pods=pods,
    )


@pytest.mark.parametrize(
    ("values", "grade", "alarms"),
    [
        ({}, "good", []),
        ({"log_r2": 0.3}, "usable", []),
        ({"log_r2": -0.1}, "not usable", []),
        ({"total_ratio": 0.38}, "not usable for totals", ["the sum of predictions is 0.38 times the sum of labels"]),
        ({"total_ratio": 1.3}, "not usable for totals", ["1.30 times"]),
        ({"coverage": 0.5}, "usable", ["the 80% intervals hold 50% of the labels"]),
        ({"coverage": 1.0}, "usable", ["too wide"]),
        ({"log_r2": None}, "unknown", []),
        ({"workloads": 3}, "unknown", []),
    ],
)
def test_a_verdict_grades_and_alarms(values, grade, alarms):
    verdict = verdict_of(split(**values))
    assert verdict.grade == grade
    assert len(verdict.alarms) == len(alarms)
    for alarm, expected in zip(verdict.alarms, alarms, strict=True):
        assert expected in alarm
    if grade != "unknown":
        assert "log R2" in str(verdict)
        assert "sum" in str(verdict)


def test_a_verdict_is_in_plain_words():
    text = str(verdict_of(split(total_ratio=1.18, coverage=0.84)))
    assert "the sum is 18 % too high" in text
    assert "84% of labels are in their 80% interval" in text
    assert "the sum is right" in str(verdict_of(split(total_ratio=1.001)))


def test_few_workloads_allow_more():
    low, high = coverage_bounds(10, level=0.8)
    assert (low, high) == (0.5, 1.0)
    low, high = coverage_bounds(1000, level=0.8)
    assert 0.77 < low < 0.79 < 0.81 < high < 0.83
    assert verdict_of(split(workloads=10, coverage=0.5)).alarms == []


def test_intervals_are_known_only_as_well_as_their_residuals():
    """One fold of many: 82 % of 5,000 is within chance for intervals of 2,000 residuals, though not for exact ones."""
    exact = split(workloads=5000, coverage=0.818)
    assert "outside the 79% to 81%" in verdict_of(exact).alarms[0]
    sampled = msgspec.structs.replace(exact, residuals=2000, folds=1, folds_in_all=10)
    assert independent_workloads(sampled) == 1429  # 1 / (1 / 2000 + 1 / 5000)
    assert verdict_of(sampled).alarms == []
    wide = msgspec.structs.replace(sampled, scores=split(coverage=0.84).scores)
    assert "over 5000 workloads, which say as much as 1429" in verdict_of(wide).alarms[0]


def test_workloads_held_out_in_turn_are_the_residuals_themselves():
    whole = msgspec.structs.replace(split(workloads=400), residuals=390, folds=10, folds_in_all=10)
    assert independent_workloads(whole) == 390
    assert independent_workloads(msgspec.structs.replace(whole, residuals=2000)) == 400


def test_workloads_of_one_image_say_little_more_than_one():
    """Twenty images of ten workloads each, in or out of their intervals together."""
    whole = split(workloads=200, coverage=0.7)
    pods = [
        msgspec.structs.replace(pod, image_key=f"image-{n // 10}", measured=1.0 if n // 10 < 14 else 9.0)
        for n, pod in enumerate(whole.pods)
    ]
    together = msgspec.structs.replace(whole, pods=pods)
    assert 15 <= independent_workloads(together) <= 20
    assert verdict_of(whole).alarms
    assert not verdict_of(together).alarms
    alone = [msgspec.structs.replace(pod, image_key=f"image-{n}") for n, pod in enumerate(pods)]
    assert independent_workloads(msgspec.structs.replace(whole, pods=alone)) == pytest.approx(200, abs=2)


def test_a_report_starts_with_its_verdict_and_alarms():
    report = EvaluationReport(
        target="energy_step_j", unit="J", step_seconds=60.0, splits=[split(total_ratio=0.38)], notes=[]
    )
    page = render(report)
    assert page.index("not usable for totals") < page.index("<table")
    assert "0.38 times the sum of labels" in page
    plain = report.to_dict()
    assert next(iter(plain)) == "verdicts"
    assert plain["verdicts"][0]["grade"] == "not usable for totals"
    assert msgspec.json.encode(plain)
