"""Counters into joules a step: the increase of each series, and a reason where it is not known."""

import itertools
import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podpower.labels.counters import ENDED_AFTER_S, clean, pod_energy, step_energy

Samples = list[tuple[float, float]]


def steps(*series: Samples, start_s: float = 0.0, count: int = 5, step_seconds: float = 60.0) -> dict[float, object]:
    """Energy, or the reason, by the end of the step, of one pod with these series."""
    rows = [(number, ts, value) for number, samples in enumerate(series) for ts, value in samples]
    schema = {"series": pl.UInt64, "ts": pl.Float64, "value": pl.Float64}
    points = clean(pl.DataFrame(rows, schema=schema, orient="row"))
    found = step_energy(points, start_s=start_s, steps=count, step_seconds=step_seconds)
    pods = pod_energy(found.with_columns(namespace=pl.lit("n"), pod=pl.lit("p")))
    return {r["ts"]: r["energy_step_j"] if r["reason"] is None else r["reason"] for r in pods.to_dicts()}


def steady(watts: float, *, begin: float = -60, end: float = 400, every: float = 30, at: float = 0) -> Samples:
    times = [begin + i * every for i in range(int((end - begin) / every) + 1)]
    return [(t, at + watts * (t - begin)) for t in times]


def test_a_steady_pod_draws_its_power_in_every_step() -> None:
    assert steps(steady(2.0)) == pytest.approx(dict.fromkeys((60.0, 120.0, 180.0, 240.0, 300.0), 120.0))


def test_scrapes_beside_the_edges_are_interpolated() -> None:
    assert steps(steady(2.0, begin=-53)) == pytest.approx(dict.fromkeys((60.0, 120.0, 180.0, 240.0, 300.0), 120.0))


def test_series_are_added_after_their_increases() -> None:
    assert steps(steady(2.0), steady(0.5, at=1e6))[120.0] == pytest.approx(150.0)


def test_order_and_repetition_of_samples_do_not_matter() -> None:
    samples = steady(2.0)
    assert steps([*reversed(samples), *samples]) == steps(samples)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -5.0])
def test_values_that_measure_nothing_are_passed_over(value: float) -> None:
    assert steps([*steady(2.0), (130.0, value)]) == steps(steady(2.0))


def test_the_first_and_the_last_step_of_a_life_are_not_known() -> None:
    found = steps(steady(2.0, begin=70, end=200))
    assert found == {120.0: "first_step", 180.0: pytest.approx(120.0), 240.0: "last_step"}


def test_a_life_inside_one_step_is_short() -> None:
    assert steps(steady(2.0, begin=70, end=100, every=10)) == {120.0: "short_lived"}


def test_one_missed_scrape_is_bridged_and_several_are_a_gap() -> None:
    samples = steady(2.0)
    one = [s for s in samples if s[0] != 120]
    assert steps(one)[120.0] == pytest.approx(120.0)
    several = [s for s in samples if not 90 <= s[0] <= 210]
    assert {ts: e for ts, e in steps(several).items() if isinstance(e, str)} == {
        120.0: "gap",
        180.0: "gap",
        240.0: "gap",
    }


def test_a_gap_between_the_edges_of_a_step_loses_nothing() -> None:
    samples = [s for s in steady(2.0, every=10) if not 125 < s[0] < 175]
    assert steps(samples)[180.0] == pytest.approx(120.0)


def test_after_a_reset_only_its_step_is_unknown() -> None:
    before, after = steady(2.0, end=135), [(t, v) for t, v in steady(2.0, begin=140, end=400)]
    found = steps([*before, *after])
    assert found[180.0] == "counter_reset"
    assert found[120.0] == found[240.0] == pytest.approx(120.0)


def test_a_restarted_container_does_not_lose_what_the_other_used() -> None:
    other = steady(1.0)
    found = steps(other, steady(2.0, end=135), steady(2.0, begin=150))
    assert found[120.0] == found[240.0] == pytest.approx(180.0)
    assert found[180.0] == "container_changed"


def test_a_name_that_comes_back_after_a_while_is_another_life() -> None:
    late = ENDED_AFTER_S + 200
    found = steps([*steady(2.0, end=90), *[(t + late, v) for t, v in steady(2.0, begin=0, end=200)]], count=15)
    assert found[120.0] == "last_step"
    assert 300.0 not in found


@given(
    st.lists(st.floats(1.0, 40.0), min_size=12, max_size=60),
    st.lists(st.floats(0.0, 500.0), min_size=60, max_size=60),
    st.integers(0, 59),
)
def test_what_is_known_is_what_the_counter_counted(gaps: list[float], increases: list[float], reset: int) -> None:
    """Against a plain reading of the counter at the edges, with a reset somewhere."""
    samples, true, shown, ts = [], [], 0.0, -50.0
    counted = 0.0
    for number, gap in enumerate(gaps):
        ts += gap
        before, shown = shown, increases[number] + (0.0 if number == reset else shown)
        # Only a fall shows that a counter began anew: one that has passed its old value is taken to have gone on.
        counted += shown - before if shown >= before else shown
        samples.append((ts, shown))
        true.append((ts, counted))

    def at(edge: float) -> float:
        for (t0, v0), (t1, v1) in itertools.pairwise(true):
            if t0 <= edge <= t1:
                return v0 + (v1 - v0) * (edge - t0) / (t1 - t0)
        raise AssertionError("a known step beyond the samples")

    for end, energy in steps(samples, count=20).items():
        if not isinstance(energy, str):
            assert energy == pytest.approx(at(end) - at(end - 60.0), abs=1e-6)
