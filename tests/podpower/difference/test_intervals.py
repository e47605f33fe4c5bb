"""The interval of a difference: common errors cancel, and it covers what it promises on held-out workloads."""

import numpy as np
import pytest

from podpower.difference.changes import difference
from podpower.difference.intervals import Pair, difference_ends
from podpower.impact.assessment import Inputs, assess
from podpower.model.totals import Summand
from podpower.specs.selection import Workloads
from tests.podpower.difference.revised import coverage_of, held_out

UNSURE = Summand(
    power_w=1.0, expected_w=1.3, pods=2.0, image_key="acme/app",
    intervals=[(0.5, (0.6, 1.7)), (0.8, (0.3, 3.0)), (0.95, (0.1, 9.0))],
)  # fmt: skip


def scaled(pods):
    return Summand(power_w=1.0, expected_w=1.3, pods=pods, image_key="acme/app", intervals=UNSURE.intervals)


def width(ends):
    return ends[1] - ends[0]


def test_of_more_replicas_only_the_power_of_one_pod_is_uncertain():
    ends = difference_ends([Pair(old=UNSURE, new=scaled(3.0), correlation=1.0)], count=1, shared=0.05)
    assert ends.pairs_w[0] == pytest.approx((0.3, 3.0), rel=0.15)  # one pod more, its own interval
    assert ends.pairs_w[0][0] > 0  # more pods cannot draw less


def test_the_same_on_both_sides_differs_by_nothing():
    ends = difference_ends([Pair(old=UNSURE, new=UNSURE, correlation=1.0)], count=1, shared=0.05)
    assert ends.pairs_w[0] == pytest.approx((0.0, 0.0), abs=1e-9)
    assert ends.total_kwh == pytest.approx((0.0, 0.0), abs=1e-9)


def test_the_interval_is_narrower_the_more_both_sides_have_in_common():
    widths = [
        width(difference_ends([Pair(old=UNSURE, new=scaled(2.2), correlation=c)], count=1, shared=0.05).pairs_w[0])
        for c in (0.6, 0.8, 0.95, 1.0)
    ]
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < widths[0] / 4


def test_what_is_new_or_gone_has_its_whole_uncertainty():
    added = difference_ends([Pair(old=None, new=UNSURE, correlation=0.0)], count=1, shared=0.05).pairs_w[0]
    removed = difference_ends([Pair(old=UNSURE, new=None, correlation=0.0)], count=1, shared=0.05).pairs_w[0]
    assert added == pytest.approx((0.6, 6.0), rel=0.15)
    assert removed == pytest.approx((-added[1], -added[0]), rel=0.15)


@pytest.fixture(scope="module")
def known_and_held_out():
    return held_out(5)


def test_the_interval_covers_the_differences_of_held_out_workloads(known_and_held_out):
    of = coverage_of(*known_and_held_out)
    assert of.changes >= 115
    assert 0.72 <= of.share <= 0.97  # of 80 %
    assert of.width < 0.6  # both intervals beside each other
    assert of.found.total.delta.total_avg_power_w == pytest.approx(
        of.found.total.new.total_avg_power_w - of.found.total.old.total_avg_power_w
    )


def test_the_interval_of_the_total_covers_random_groups_of_held_out_workloads(known_and_held_out):
    predictor, pairs, watts = known_and_held_out
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(40):
        group = rng.choice(len(pairs), 8, replace=False)
        old, new = (Workloads(requests=[pairs[place][side] for place in group]) for side in (0, 1))
        found = difference(predictor, assess(predictor, old, Inputs()), assess(predictor, new, Inputs()))
        low, high = found.total.delta.total_interval.avg_power_w
        inside.append(low <= 2 * (watts[group, 1] - watts[group, 0]).sum() <= high)
    assert np.mean(inside) >= 0.65
