import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podpower.model.intervals import MIN_RESIDUALS, Intervals, fit_intervals

NONE = np.zeros(0)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9])
def test_fresh_errors_fall_inside_as_often_as_promised(level):
    """Averaged over many small samples, as conformal prediction promises for any distribution."""
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(300):
        residuals = rng.laplace(size=60) + 0.3
        low, high = fit_intervals({"seen": NONE, "similar": residuals, "prior": NONE}, level=level).bounds["similar"]
        fresh = rng.laplace(size=50) + 0.3
        inside.append(((low <= fresh) & (fresh <= high)).mean())
    assert level - 0.01 <= np.mean(inside) <= level + 0.05


@given(st.lists(st.floats(-20, 20), max_size=50), st.sampled_from([0.5, 0.8, 0.99]))
def test_an_interval_always_holds_the_prediction(residuals, level):
    values = np.array(residuals, dtype=float)
    for low, high in fit_intervals({"seen": values, "similar": values, "prior": values}, level=level).bounds.values():
        assert low <= 0.0 <= high


def test_a_thin_basis_borrows_the_residuals_of_all_unseen():
    thin, rich = np.array([0.1, -0.1]), np.linspace(-3, 3, 5 * MIN_RESIDUALS)
    intervals = fit_intervals({"seen": NONE, "similar": thin, "prior": rich})
    assert intervals.bounds["similar"][1] > 1.0
    assert intervals.bounds["seen"] == intervals.bounds["similar"]


def test_a_higher_level_is_wider():
    residuals = {"seen": NONE, "similar": np.random.default_rng(1).normal(size=200), "prior": NONE}
    narrow, wide = (fit_intervals(residuals, level=level).bounds["similar"] for level in (0.5, 0.9))
    assert wide[0] < narrow[0] < 0 < narrow[1] < wide[1]


def test_without_any_residual_the_interval_is_wide():
    low, high = fit_intervals({"seen": NONE, "similar": NONE, "prior": NONE}).bounds["prior"]
    assert high - low > 2.0


def test_the_state_gives_the_same_intervals():
    intervals = fit_intervals({"seen": NONE, "similar": np.arange(-20.0, 20.0), "prior": NONE})
    assert Intervals.from_state(intervals.state()) == intervals
