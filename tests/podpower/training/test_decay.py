import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podpower.training.decay import HOUR_S, Periods, choose_half_life, errors_ahead, smoothed
from podpower.training.train import train


def periods(*entries):
    lengths = [len(entry) for entry in entries]
    return Periods(
        power_w=np.concatenate(entries).astype(float),
        seconds=np.full(sum(lengths), HOUR_S),
        times_s=np.concatenate([np.arange(n) * HOUR_S for n in lengths]),
        starts=np.cumsum([0, *lengths]),
    )


def test_without_fading_it_is_the_plain_mean_so_far():
    mean, seconds = smoothed(periods([1, 2, 6], [10]), np.inf)
    assert mean.tolist() == [1, 1.5, 3, 10]
    assert seconds.tolist() == [HOUR_S, 2 * HOUR_S, 3 * HOUR_S, HOUR_S]


def test_an_hour_that_is_a_half_life_older_counts_half():
    mean, _ = smoothed(periods([1, 4]), HOUR_S)
    assert mean[1] == pytest.approx((0.5 * 1 + 4) / 1.5)


@given(st.lists(st.lists(st.floats(0, 1e3), min_size=1, max_size=9), min_size=1, max_size=4), st.sampled_from([1, 3]))
def test_no_window_knows_of_those_after_it(entries, horizon):
    made = periods(*entries)
    at, errors = errors_ahead(made, 6 * HOUR_S, horizon)
    assert len(at) == sum(max(0, len(entry) - horizon) for entry in entries)
    assert np.isfinite(errors).all()


def test_noise_is_remembered_long_and_changes_are_not():
    rng = np.random.default_rng(1)
    noise = periods(*[np.exp(rng.normal(size=60) * 0.3) for _ in range(20)])
    changed = periods(*[np.repeat(np.exp(rng.normal(size=6) * 2), 10) for _ in range(20)])
    assert choose_half_life(noise) > 24 * HOUR_S
    assert choose_half_life(changed) <= 6 * HOUR_S


def test_a_cluster_that_changed_is_believed_anew(make_rows, own_queries):
    """Every workload draws four times as much since six hours."""
    rows = make_rows(workloads=12, hours=24)
    grown = pl.when(pl.col("ts") > 18 * HOUR_S).then(4.0).otherwise(1.0)
    model = train(rows.with_columns(pl.col("avg_power_w", "energy_step_j") * grown))
    before = train(rows)
    ratio = model.predict(own_queries(model)).power_w / before.predict(own_queries(before)).power_w
    assert np.median(ratio) > 3
