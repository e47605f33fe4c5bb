from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podpower.model.intervals import (
    LEVELS,
    SOURCES,
    UNKNOWN_WIDENING,
    Intervals,
    Widening,
    fit_intervals,
    fit_widening,
    isotonic,
)

NONE = np.zeros(0)
ONE = Widening(remote=(0.0,), expected=(1.0,))


def fitted(**residuals):
    return fit_intervals(dict.fromkeys(SOURCES, NONE) | residuals, widening=ONE, typical=1.0)


def test_a_known_spec_elsewhere_errs_as_software_that_is_known_elsewhere():
    rng = np.random.default_rng(0)
    new, known = rng.normal(size=200) * 2.0, rng.normal(size=200) * 0.5
    residuals = dict.fromkeys(SOURCES, NONE) | {"similar": new}
    bounds = fit_intervals(residuals, widening=ONE, typical=2.0, familiar=known).bounds[0.8]
    low, high = bounds["elsewhere"]
    assert max(-low, high) < 0.6 * bounds["similar"][1]
    none_known = fit_intervals(residuals, widening=ONE, typical=2.0, familiar=NONE).bounds[0.8]
    assert none_known["elsewhere"] == none_known["revised"]  # both borrow from all unseen


@pytest.mark.parametrize("level", LEVELS)
def test_fresh_errors_fall_inside_as_often_as_promised(level):
    """Averaged over many small samples, as conformal prediction promises for any distribution."""
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(300):
        low, high = fitted(similar=rng.laplace(size=60) + 0.3).bounds[level]["similar"]
        fresh = rng.laplace(size=50) + 0.3
        inside.append(((low <= fresh) & (fresh <= high)).mean())
    assert level - 0.02 <= np.mean(inside) <= level + 0.05


@given(st.lists(st.floats(-20, 20), max_size=50))
def test_an_interval_always_holds_the_prediction_and_the_narrower_ones(residuals):
    values = np.array(residuals, dtype=float)
    bounds = fitted(**dict.fromkeys(SOURCES, values)).bounds
    for source in SOURCES:
        ends = [bounds[level][source] for level in LEVELS]
        assert all(low <= 0.0 <= high for low, high in ends)
        assert all(wide[0] <= narrow[0] and narrow[1] <= wide[1] for narrow, wide in pairwise(ends))


def test_a_thin_basis_borrows_the_residuals_of_all_unseen():
    thin, rich = np.array([0.1, -0.1]), np.linspace(-3, 3, 100)
    assert fitted(similar=thin, prior=rich).bounds[0.8]["similar"][1] > 1.0
    assert fitted(similar=np.tile(thin, 100), prior=rich).bounds[0.8]["similar"][1] < 0.2


def test_load_that_only_rose_may_as_well_fall():
    """Hours of one morning all err to one side; those of the night will err to the other."""
    rising = np.linspace(0.1, 0.5, 50)
    low, high = fitted(seen=rising).bounds[0.8]["seen"]
    assert low == -high
    assert high == pytest.approx(np.quantile(rising, 0.8), abs=0.02)


def test_what_is_assumed_is_forgotten_smoothly():
    """The more workloads are known, the less a guess of their scatter counts; no jump where it is given up."""
    widths = []
    for count in (0, 1, 2, 4, 8, 16, 32, 64, 128):
        low, high = fitted(prior=np.resize([-0.2, 0.2], count).astype(float)).bounds[0.8]["prior"]
        widths.append(high - low)
    assert widths[0] > 4.0  # a factor of ten either way
    assert widths[-1] < 0.5
    assert all(later <= earlier + 1e-9 for earlier, later in pairwise(widths))


def test_errors_that_grow_with_distance_widen_the_interval():
    rng = np.random.default_rng(2)
    remote = rng.uniform(0, 4, size=600)
    widening = fit_widening(remote, rng.normal(size=600) * (0.2 + remote))
    near, far = widening.at(np.array([0.2, 3.8]))
    assert near < 0.6
    assert far > 2.0
    assert (np.diff(widening.at(np.linspace(0, 9, 50))) >= 0).all()


def test_few_residuals_do_not_widen_with_distance():
    assert fit_widening(NONE, NONE) == UNKNOWN_WIDENING
    few = fit_widening(np.array([0.0, 1.0, 2.0]), np.array([0.1, -0.1, 4.0]))
    assert len(set(few.expected)) == 1


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=20))
def test_pooling_gives_a_rising_sequence_with_the_same_mean(values):
    array = np.array(values)
    rising = isotonic(array, np.ones(len(array)))
    assert (np.diff(rising) >= -1e-9).all()
    assert rising.mean() == pytest.approx(array.mean(), abs=1e-9)


def test_the_state_gives_the_same_intervals():
    intervals = fitted(similar=np.arange(-20.0, 20.0))
    assert Intervals.from_state(intervals.state()) == intervals
