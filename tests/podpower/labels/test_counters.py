"""Counters into joules a step: the increase of each series, and a reason where it is not known."""

import itertools
import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podpower.labels.counters import ENDED_AFTER_S, samples_of
from podpower.labels.counters import Samples as PodSamples
from podpower.labels.intervals import intervals_of
from podpower.labels.windows import steps_of

Samples = list[tuple[float, float]]


def table(
    *series: Samples, start_s: float = 0.0, count: int = 5, step_seconds: float = 60.0,
    partial: tuple[tuple[float, float], ...] = (), sources: tuple[str, ...] = (), beside: Samples | None = None,
) -> pl.DataFrame:  # fmt: skip
    """Steps of one pod with these series, of one exporter unless `sources` names one for each; `beside` is a counter of
    another pod.
    """
    rows = [(number, ts, value) for number, samples in enumerate(series) for ts, value in samples]
    rows += [(len(series), ts, value) for ts, value in beside or ()]
    points = pl.DataFrame(rows, schema={"series_id": pl.UInt64, "ts": pl.Float64, "value": pl.Float64}, orient="row")
    ids = list(range(len(series) + (beside is not None)))
    named = pl.DataFrame(
        {
            "series_id": ids, "series": ids, "namespace": "n",
            "pod": ["p"] * len(series) + ["q"] * (beside is not None),
            "exporter": [*(sources or ["e"] * len(series)), *["e"] * (beside is not None)], "pod_id": None,
        },
        schema_overrides={"series_id": pl.UInt64, "series": pl.UInt64, "pod_id": pl.String},
    )  # fmt: skip
    intervals = intervals_of(samples_of(points, named), partial=partial)
    found = steps_of(intervals, start_s=start_s, steps=count, step_seconds=step_seconds)
    return found.filter(pl.col("pod") == "p")


def steps(*series: Samples, **given: object) -> dict[float, object]:
    """Energy, or the reason, by the end of the step."""
    found = table(*series, **given)  # type: ignore[arg-type]
    return {r["ts"]: r["energy_step_j"] if r["reason"] is None else r["reason"] for r in found.to_dicts()}


def partly(*series: Samples, **given: object) -> dict[float, tuple[float, float]]:
    """Power and known seconds of steps without energy, by the end of the step."""
    found = table(*series, **given).filter(pl.col("energy_step_j").is_null())  # type: ignore[arg-type]
    return {r["ts"]: (r["avg_power_w"], r["known_s"]) for r in found.to_dicts()}


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


def test_a_partial_step_has_the_power_of_its_known_seconds() -> None:
    assert partly(steady(2.0, begin=70, end=200)) == {
        120.0: (pytest.approx(2.0), 50.0),
        240.0: (pytest.approx(2.0), 10.0),
    }
    assert partly(steady(3.0, begin=70, end=100, every=10)) == {120.0: (3.0, 30.0)}


def test_a_step_with_one_sample_has_no_power() -> None:
    assert partly([(70.0, 5.0)]) == {120.0: (None, 0.0)}


def test_a_run_of_ninety_seconds_at_steps_of_a_minute_has_power() -> None:
    found = partly(steady(2.2, begin=12, end=102, every=30), count=3)
    assert found == {60.0: (pytest.approx(2.2), 48.0), 120.0: (pytest.approx(2.2), 42.0)}


def test_power_around_a_reset_comes_from_the_other_seconds() -> None:
    found = partly([*steady(2.0, end=130), *steady(2.0, begin=140, end=400)])
    assert found == {180.0: (pytest.approx(2.0), 40.0)}


def test_an_increase_that_no_node_can_draw_is_not_known() -> None:
    jump = [(ts, value + 9.2e14 * (ts > 130)) for ts, value in steady(2.0)]
    assert steps(jump)[180.0] == "implausible"
    assert partly(jump) == {180.0: (pytest.approx(2.0), 30.0)}
    spike = [(ts, 9.2e14 if ts == 150 else value) for ts, value in steady(2.0)]
    assert partly(spike) == {180.0: (None, 0.0)}
    assert steps(spike)[240.0] == pytest.approx(120.0)


def test_a_partial_answer_makes_only_its_own_time_unknown() -> None:
    found = steps(steady(2.0), partial=((100.0, 130.0),))
    assert {ts: e for ts, e in found.items() if isinstance(e, str)} == {
        120.0: "partial_answer",
        180.0: "partial_answer",
    }
    assert partly(steady(2.0), partial=((100.0, 130.0),)) == {120.0: (2.0, 30.0), 180.0: (2.0, 30.0)}


def test_a_pod_under_two_sources_at_once_counts_once() -> None:
    once = steps(steady(2.0))
    assert steps(steady(2.0), steady(2.0, begin=-53), sources=("a:9102", "b:9103")) == pytest.approx(once)
    later = steps(steady(2.0), steady(2.0, begin=100), sources=("a:9102", "b:9103"))
    assert later[240.0] == pytest.approx(120.0)


def samples_by_source(*found: tuple[str, str, str, str, Samples]) -> PodSamples:
    """Samples of series given as namespace, pod, exporter, pod_id and samples."""
    rows = [(number, ts, value) for number, series in enumerate(found) for ts, value in series[4]]
    ids = {"series_id": pl.UInt64, "series": pl.UInt64}
    series = pl.DataFrame(
        [(number, number, *names[:4]) for number, names in enumerate(found)],
        schema=[*ids, "namespace", "pod", "exporter", "pod_id"],
        schema_overrides=ids,
        orient="row",
    )
    points = pl.DataFrame(rows, schema={"series_id": pl.UInt64, "ts": pl.Float64, "value": pl.Float64}, orient="row")
    return samples_of(points, series)


def test_pods_that_are_scraped_twice_are_named_three_at_most() -> None:
    pods = ["d", "b", "a", "c"]
    twice = [("n", pod, exporter, "", steady(1.0)) for pod in pods for exporter in ("a:1", "b:2")]
    (warning,) = samples_by_source(*twice, ("n", "once", "a:1", "", steady(1.0))).warnings
    assert warning == (
        "4 pods were measured under two values of instance or pod_id at the same time and counted once, "
        "e.g. n/a, n/b, n/c: is Kepler scraped by two jobs?"
    )


def test_a_last_sample_of_an_ended_pod_beside_its_successor_is_no_reason_to_warn() -> None:
    found = samples_by_source(
        ("n", "p", "a:1", "old", steady(1.0, end=60)), ("n", "p", "a:1", "new", steady(1.0, begin=30))
    )
    assert found.warnings == ()
    assert sorted(found.ts) == [ts for ts, _ in steady(1.0)]
    for code, ts in zip(found.series, found.ts, strict=True):
        assert found.pod_ids[found.source_of[code]] == ("old" if ts < 30 else "new")


def test_pods_of_one_name_in_two_namespaces_are_two_pods() -> None:
    found = samples_by_source(("a", "p", "e:1", "x", steady(1.0)), ("b", "p", "e:1", "y", steady(2.0)))
    assert found.pods.rows() == [("a", "p"), ("b", "p")]
    assert found.pod_of.tolist() == [0, 1]
    last = {
        found.pods["namespace"][int(found.pod_of[code])]: value
        for code, value in zip(found.series, found.value, strict=True)
    }
    assert last == {"a": pytest.approx(450.0), "b": pytest.approx(900.0)}
    assert [found.pod_ids[code] for code in found.source_of] == ["x", "y"]


def test_an_exporter_that_gets_another_address_loses_only_the_time_between() -> None:
    found = table(steady(2.0, end=120), steady(2.0, begin=150), sources=("a:9102", "b:9102"))
    assert found["reason"].to_list() == [None, None, "container_changed", None, None]
    assert found["avg_power_w"].to_list() == pytest.approx([2.0] * 5)
    assert found["known_s"].to_list() == [60.0, 60.0, 30.0, 60.0, 60.0]


def test_a_restarted_exporter_resets_counters_that_have_passed_their_old_value_too() -> None:
    old = [*steady(50.0, end=120, at=1e6), *steady(50.0, begin=130)[1:]]
    young = [
        *[(t, v) for t, v in steady(1.0, begin=100, end=120, every=10)],
        *[(t, 30 * (t - 130)) for t, _ in old if t > 130],
    ]
    assert steps(young, beside=old)[180.0] == "counter_reset"


def test_a_container_that_starts_beside_others_loses_nothing() -> None:
    found = table(steady(1.0), steady(2.0, begin=150, at=30.0))
    assert found["energy_step_j"].to_list() == pytest.approx([60.0, 60.0, 60.0 + 30.0 + 60.0, 180.0, 180.0])


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
    assert [found[120.0], found[240.0]] == pytest.approx([120.0, 120.0])


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
