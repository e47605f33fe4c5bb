"""Sums are of expected watts, and their intervals hold."""

import numpy as np
import pytest

from podpower.model.expected import MeanFactors, fit_mean_factors
from podpower.model.totals import Summand, shared_correlation, total_power

LEVELS = (0.5, 0.8, 0.95)
Z = {0.5: 0.6745, 0.8: 1.2816, 0.95: 1.96}


def summand(median_w=1.0, spread=0.5, *, pods=1.0, image_key="a"):
    intervals = [
        (level, (median_w * np.exp(-Z[level] * spread), median_w * np.exp(Z[level] * spread))) for level in LEVELS
    ]
    expected_w = median_w * np.exp(spread**2 / 2)
    return Summand(power_w=median_w, expected_w=expected_w, intervals=intervals, pods=pods, image_key=image_key)


def test_the_total_is_the_sum_of_expected_watts_and_lies_in_its_interval():
    parts = [summand(watts, image_key=str(watts), pods=watts) for watts in (1.0, 2.0, 5.0)]
    total = total_power(parts)
    assert total.avg_power_w == pytest.approx(sum(part.expected_w * part.pods for part in parts))
    low_w, high_w = total.interval.avg_power_w
    assert 0 < low_w < total.avg_power_w < high_w


def test_the_same_workloads_give_the_same_bits():
    parts = [summand(watts, image_key=str(watts)) for watts in (1.0, 2.0, 5.0)]
    assert total_power(parts) == total_power(parts)


def test_one_workload_has_the_interval_of_its_pods_at_any_level():
    part = summand(2.0, pods=3)
    assert total_power([part]).interval.avg_power_w == pytest.approx([3 * end for end in dict(part.intervals)[0.8]])
    low_w, high_w = total_power([part], level=0.65).interval.avg_power_w
    assert 3 * dict(part.intervals)[0.8][0] < low_w < 3 * dict(part.intervals)[0.5][0]
    assert 3 * dict(part.intervals)[0.5][1] < high_w < 3 * dict(part.intervals)[0.8][1]


def test_nothing_and_what_does_not_run_draw_nothing():
    assert total_power([]).avg_power_w == 0.0
    assert total_power([summand(pods=0.0)]).interval.avg_power_w == (0.0, 0.0)


def relative_width(parts):
    low_w, high_w = total_power(parts, shared=0.02).interval.avg_power_w
    return high_w / low_w


def test_errors_of_many_images_cancel_and_those_of_one_image_do_not():
    alone = relative_width([summand()])
    of_one_image = relative_width([summand(image_key="a") for _ in range(50)])
    of_many_images = relative_width([summand(image_key=str(i)) for i in range(50)])
    assert of_many_images < 0.7 * of_one_image < alone


def test_the_interval_covers_sums_whose_errors_are_shared_as_assumed():
    """Five images of four workloads each, errors of all and of an image in common."""
    rng, shared = np.random.default_rng(0), shared_correlation(20)
    parts = [summand(1.0 + i, 0.8, image_key=str(i % 5)) for i in range(20)]
    low_w, high_w = total_power(parts).interval.avg_power_w
    rest = np.sqrt(1 - shared - 0.5)
    errors = np.sqrt(shared) * rng.normal(size=(4000, 1)) + np.tile(np.sqrt(0.5) * rng.normal(size=(4000, 5)), 4)
    watts = (np.arange(20) + 1) * np.exp(0.8 * (errors + rest * rng.normal(size=(4000, 20))))
    inside = (low_w <= watts.sum(axis=1)) & (watts.sum(axis=1) <= high_w)
    assert 0.72 <= inside.mean() <= 0.88


def test_the_factor_of_means_makes_the_sum_of_left_out_entries_right():
    """A hundred new workloads whose errors are log-normal, and as many familiar ones without error."""
    rng = np.random.default_rng(2)
    median, share = np.exp(rng.normal(size=200)), np.ones(200)
    familiar = np.arange(200) < 100
    measured = np.where(familiar, median, median * np.exp(rng.normal(size=200) * 0.8))
    factors = fit_mean_factors(median, measured, share, familiar)
    assert factors.familiar == pytest.approx(1.0)
    assert (median * factors.of(familiar)).sum() == pytest.approx(measured.sum(), rel=0.05)
    assert MeanFactors.from_state(factors.state()) == factors


def test_one_giant_does_not_raise_all_others():
    median = np.ones(3)
    factors = fit_mean_factors(median, np.array([1.0, 1.0, 1e6]), np.ones(3), np.zeros(3, dtype=bool))
    assert factors.new <= 5.0
