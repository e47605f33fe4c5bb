"""Energy of whole pods against the truth: random lives, resets, exporter restarts and scrapes."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podpower.labels import LabelRequest, Labels, label_ended_pods, label_jobs
from podpower.sources.protocols import MetricSamples
from podpower.specs.table import SPECS_SCHEMA
from tests.podpower.labels.runs import Exporter, InMemory, Run, merged, random_exporter, random_runs, scraped

START_S, SPAN_S = 1767258000.0, 3 * 3600.0


def specs_of(runs: list[Run]) -> pl.DataFrame:
    pods = [
        {"pod": r.name, "uid": r.uid, "from_s": r.start_s, "to_s": r.end_s, "node": "n", "outcome": "succeeded"}
        for r in runs
    ]
    row = {
        "namespace": "runs", "workload_kind": "CronJob", "workload_name": "run", "_spec_hash": "h", "request": "",
        "pods": pods,
    }  # fmt: skip
    return pl.DataFrame([row], schema=SPECS_SCHEMA)


def labels_of(
    samples: MetricSamples,
    runs: list[Run],
    *,
    start_s: float = START_S,
    end_s: float = START_S + SPAN_S,
    **given: object,
) -> Labels:
    return label_jobs(InMemory(whole=samples), specs_of(runs), LabelRequest(start_s=start_s, end_s=end_s), **given)  # type: ignore[arg-type]


def outside(table: pl.DataFrame, runs: list[Run]) -> list[tuple[object, ...]]:
    """Pods whose energy is off by more than 2 % and more than the share that is reported as unknown."""
    truth = pl.DataFrame({"pod_uid": [r.uid for r in runs], "true_j": [r.total_j for r in runs]})
    both = table.join(truth, on="pod_uid").drop_nulls("total_energy_j")
    error = (pl.col("total_energy_j") / pl.col("true_j") - 1).abs()
    wrong = both.filter(error > pl.max_horizontal(pl.lit(0.02), 1 - pl.col("known_share")))
    return wrong.select("pod", "duration_s", "total_energy_j", "true_j", "known_share").rows()


@given(
    seed=st.integers(0, 2**32),
    scrape_s=st.sampled_from([5.0, 10.0, 15.0, 30.0, 60.0]),
    restarts=st.floats(0.0, 4.0),
    kepler=st.sampled_from(["0.9", "0.10"]),
)
@settings(max_examples=40, deadline=None, derandomize=True)  # see the weak spots in docs/explanation/labels.md
def test_energy_is_right_within_two_percent_or_the_unknown_share(
    seed: int, scrape_s: float, restarts: float, kepler: str
) -> None:
    rng = np.random.default_rng(seed)
    exporter = random_exporter(
        rng, node="n", start_s=START_S, span_s=SPAN_S, scrape_s=scrape_s, restarts_an_hour=restarts
    )
    runs = random_runs(rng, count=30, span_s=SPAN_S - 120.0, lives_s=(20.0, 7200.0), exporter=exporter)
    table = labels_of(scraped(runs, exporter, kepler=kepler), runs).table
    assert sorted(table["pod_uid"]) == sorted(r.uid for r in runs)
    assert outside(table, runs) == []
    unknown = table.filter(pl.col("total_energy_j").is_null())
    assert set(unknown["reason"]) <= {"never_sampled", "short_lived"}


def steady(watts: float, *, begin: float = 0.0, life: float = 600.0, resets: tuple[float, ...] = ()) -> Run:
    power = np.full(int(life // 60) + 1, watts)
    start_s = START_S + begin
    return Run(
        name="p", uid="u", start_s=start_s, end_s=start_s + life, power_w=power,
        resets=tuple(START_S + at for at in resets),
    )  # fmt: skip


def exporter(*, every: float = 30.0, first: float = -600.0, last: float = 3600.0, restarts: tuple[float, ...] = (),
             without: tuple[float, float] = (0.0, 0.0)) -> Exporter:  # fmt: skip
    times = np.arange(first, last, every)
    times = times[(times < without[0]) | (times >= without[1])]
    return Exporter(node="n", scrapes=START_S + times, restarts=START_S + np.array(restarts))


def only(labels: Labels) -> dict[str, object]:
    assert len(labels.table) == 1
    return labels.table.row(0, named=True)


def unseen(run: Run, scrapes: Exporter, **given: object) -> dict[str, object]:
    """The row of a pod whose objects nobody saw."""
    request = LabelRequest(start_s=START_S - 300, end_s=START_S + 3600)
    return only(label_jobs(InMemory(whole=scraped([run], scrapes, kepler="0.10")), None, request))


def test_a_run_is_measured_from_its_first_to_its_last_sample() -> None:
    run = steady(2.0, begin=7.0, life=100.0)
    row = unseen(run, exporter(every=15.0))
    # 8 s of its life before the first sample at 15 s, whose value counts; the last sample is at 105 s.
    assert row["start_s"] == START_S
    assert row["end_s"] == START_S + 105
    assert row["total_energy_j"] == pytest.approx(2.0 * 98)
    assert row["known_share"] == 1.0


def test_pods_whose_end_no_object_shows_are_counted_in_a_warning() -> None:
    samples = scraped([steady(2.0, begin=7.0, life=100.0)], exporter(every=15.0), kepler="0.10")
    source = InMemory(whole=samples)
    after, until = (LabelRequest(start_s=START_S - 300, end_s=START_S + s) for s in (3600, 90))
    told, still_running = (" ".join(label_jobs(source, None, request).report.warnings) for request in (after, until))
    assert "no object shows the end of 1 of 1 pods" in told
    assert "no object shows the end" not in still_running


def test_start_and_end_come_from_the_objects_and_the_rest_is_estimated() -> None:
    run = steady(2.0, begin=7.0, life=100.0)
    row = only(labels_of(scraped([run], exporter(every=15.0), kepler="0.10"), [run]))
    assert (row["start_s"], row["end_s"], row["duration_s"]) == (START_S + 7, START_S + 107, 100.0)
    assert row["total_energy_j"] == pytest.approx(200.0)
    assert row["known_share"] == pytest.approx(0.98)
    assert (row["workload_kind"], row["workload_name"], row["outcome"]) == ("CronJob", "run", "succeeded")


def test_the_first_value_of_a_new_exporter_is_history() -> None:
    run = steady(2.0, begin=-500.0, life=1000.0)
    row = unseen(run, exporter(first=10.0))
    assert row["start_s"] == START_S + 10
    assert row["total_energy_j"] == pytest.approx(2.0 * 480)


def test_a_pod_of_one_sample_has_its_value() -> None:
    row = unseen(steady(3.0, begin=10.0, life=25.0), exporter())
    assert row["total_energy_j"] == pytest.approx(3.0 * 20)
    assert (row["duration_s"], row["known_share"]) == (30.0, 1.0)


def test_a_pod_of_one_sample_of_a_new_exporter_is_not_known() -> None:
    row = unseen(steady(3.0, begin=10.0, life=25.0), exporter(first=30.0))
    assert row["total_energy_j"] is None
    assert (row["reason"], row["known_share"]) == ("short_lived", 0.0)


def test_a_pod_that_no_scrape_saw_was_never_sampled() -> None:
    run = steady(3.0, begin=31.0, life=20.0)
    other = Run(**{**vars(steady(1.0)), "name": "other", "uid": "o"})
    table = labels_of(scraped([run, other], exporter(), kepler="0.10"), [run, other]).table
    row = table.filter(pl.col("pod") == "p").row(0, named=True)
    assert (row["total_energy_j"], row["avg_power_w"], row["reason"]) == (None, None, "never_sampled")
    assert (row["duration_s"], row["known_share"], row["workload_name"]) == (20.0, 0.0, "run")


def test_a_restarted_container_or_exporter_loses_little_and_reports_it() -> None:
    for run, scrapes in (
        (steady(2.0, begin=1.0, resets=(311.0,)), exporter()),
        (steady(2.0, begin=1.0), exporter(restarts=(310.0,), without=(310.0, 350.0))),
    ):
        row = unseen(run, scrapes)
        assert row["total_energy_j"] == pytest.approx(2.0 * 599, rel=0.01)
        assert row["avg_power_w"] == pytest.approx(2.0, rel=0.02)
        assert 0.95 < float(str(row["known_share"])) < 1.0


def test_a_gap_that_the_counter_goes_through_loses_nothing() -> None:
    row = unseen(steady(2.0, life=1800.0), exporter(without=(300.0, 1200.0)))
    assert row["total_energy_j"] == pytest.approx(2.0 * 1770)
    assert row["known_share"] == 1.0


def test_a_name_that_is_used_again_is_another_pod() -> None:
    first, second = steady(2.0, life=600.0), steady(8.0, begin=640.0, life=600.0)
    second = Run(**{**vars(second), "uid": "v"})
    samples = merged([scraped([run], exporter(), kepler="0.9") for run in (first, second)])
    table = labels_of(samples, [first, second]).table
    assert table["pod_uid"].to_list() == ["u", "v"]
    assert table["total_energy_j"].to_list() == pytest.approx([1200.0, 4800.0], rel=0.02)


def test_without_objects_a_name_that_is_used_again_keeps_both_uids_over_later_pieces() -> None:
    first, second = steady(2.0, life=600.0), steady(8.0, begin=601.0, life=2900.0)
    second = Run(**{**vars(second), "uid": "v"})
    samples = merged([scraped([run], exporter(), kepler="0.10") for run in (first, second)])
    request = LabelRequest(start_s=START_S, end_s=START_S + SPAN_S, owner_source="prom")
    table = label_jobs(InMemory(whole=samples), None, request).table
    assert table["pod_uid"].to_list() == ["u", "v"]
    assert table["total_energy_j"].to_list() == pytest.approx([1140.0, 23032.0])  # up to their last samples


class Partial(InMemory):
    """Samples of which some can be missing between 300 and 500 seconds."""

    def samples(self, *args: object, **given: object) -> MetricSamples:
        found = super().samples(*args, **given)  # type: ignore[arg-type]
        ranges = ((START_S + 300, START_S + 500),)
        return MetricSamples(series=found.series, points=found.points, partial_ranges=ranges)


def partly_seen(run: Run, scrapes: Exporter) -> dict[str, object]:
    request = LabelRequest(start_s=START_S - 300, end_s=START_S + 3600)
    return only(label_jobs(Partial(whole=scraped([run], scrapes, kepler="0.10")), None, request))


def test_a_partial_answer_is_estimated_and_reported() -> None:
    row = partly_seen(steady(2.0, begin=1.0, life=1000.0), exporter())
    assert row["total_energy_j"] == pytest.approx(2.0 * 989, rel=0.005)
    assert row["known_share"] == pytest.approx(1 - 210 / 990)


def test_a_pod_whose_only_interval_is_in_a_partial_answer_has_that_reason() -> None:
    row = partly_seen(steady(2.0, begin=310.0, life=60.0), exporter(first=330.0))
    assert (row["total_energy_j"], row["reason"]) == (None, "partial_answer")


def test_a_pod_that_ends_between_two_windows_is_in_the_second_one_only() -> None:
    run = steady(2.0, begin=7.0, life=593.0)
    source = InMemory(whole=scraped([run], exporter(), kepler="0.10"))
    windows = [LabelRequest(start_s=START_S + at, end_s=START_S + at + 600) for at in (0, 600)]
    assert [len(label_ended_pods(source, specs_of([run]), window).table) for window in windows] == [0, 1]


@pytest.mark.parametrize("kepler", ["0.9", "0.10"])
def test_a_later_pod_of_the_same_name_that_nobody_saw_is_not_the_earlier_one(kepler: str) -> None:
    first, second = steady(2.0, life=600.0), steady(8.0, begin=1000.0, life=600.0)
    second = Run(**{**vars(second), "uid": "v"})
    samples = merged([scraped([run], exporter(), kepler=kepler) for run in (first, second)])
    table = labels_of(samples, [first]).table
    assert table["outcome"].to_list() == ["succeeded", None]
    assert table["total_energy_j"].to_list() == pytest.approx([1200.0, 4800.0], rel=0.06)


def test_energy_after_a_reset_covers_at_most_nine_tenths_of_the_seconds_between_the_samples() -> None:
    run = steady(1.0, life=335.0, resets=(305.0,))
    run.power_w[5:] = 10.0  # 250 J from 305 to 330 s: the mean power of 1 W would need 250 s for them
    row = unseen(run, exporter())
    # The pod begins between the scrapes at -30 and 0 s: 360 s, of which 27 of the 30 around the reset count as known.
    assert row["known_share"] == pytest.approx(357 / 360)
    assert row["total_energy_j"] == pytest.approx(550 + 3 * 550 / 357)


def test_the_first_value_after_a_gap_of_the_exporter_is_history() -> None:
    row = unseen(steady(2.0, begin=400.0, life=800.0), exporter(without=(300.0, 600.0)))
    assert row["start_s"] == START_S + 600
    assert row["total_energy_j"] == pytest.approx(2.0 * 570)
    assert row["known_share"] == 1.0


def test_a_partial_answer_at_the_end_of_a_life_is_estimated() -> None:
    row = partly_seen(steady(2.0, begin=1.0, life=450.0), exporter())
    # Samples at 30 to 450 s; the first value counts from 0 s on, and 300 to 450 s are not known.
    assert (row["end_s"], row["known_share"]) == (START_S + 450, pytest.approx(300 / 450))
    assert row["total_energy_j"] == pytest.approx(2.0 * 299 * 450 / 300)


def test_intervals_that_only_touch_a_partial_answer_are_known() -> None:
    row = partly_seen(steady(2.0, begin=0.0, life=1000.0), exporter(every=50.0))
    # Samples at 0 to 950 s, the first of a counter that begins there; 300 to 500 s are not known.
    assert row["known_share"] == pytest.approx(1 - 200 / 1000)


def test_the_first_value_of_a_container_that_begins_later_adds_to_the_pod() -> None:
    run = steady(2.0, begin=1.0, resets=(311.0,))
    request = LabelRequest(start_s=START_S - 300, end_s=START_S + 3600)
    row = only(label_jobs(InMemory(whole=scraped([run], exporter(), kepler="0.9")), None, request))
    # From 300 to 311 s nothing is known; the new container's counter has the 38 J of the 19 s until 330 s.
    assert row["known_share"] == pytest.approx(589 / 600, abs=1e-3)
    assert row["total_energy_j"] == pytest.approx((1198 - 22) * 600 / 589, rel=1e-3)


def test_samples_after_the_end_of_the_range_measure_its_last_seconds() -> None:
    run = steady(2.0, begin=7.0, life=1000.0)
    samples = scraped([run], exporter(), kepler="0.10")
    row = only(labels_of(samples, [run], end_s=START_S + 615))
    assert row["end_s"] == START_S + 615
    assert row["total_energy_j"] == pytest.approx(2.0 * 608)
    assert row["known_share"] == pytest.approx(1.0)


def test_without_counters_of_nodes_the_other_pods_show_when_the_exporter_was_scraped() -> None:
    run = steady(2.0, begin=7.0, life=593.0)
    other = Run(**{**vars(steady(1.0, begin=-500.0, life=2000.0)), "name": "other", "uid": "o"})
    whole = scraped([run, other], exporter(), kepler="0.10")
    of_pods = whole.series.filter(~pl.col("metric").str.starts_with("kepler_node_"))
    source = InMemory(whole=MetricSamples(series=of_pods, points=whole.points))
    request = LabelRequest(start_s=START_S + 600, end_s=START_S + 1200)
    row = only(label_ended_pods(source, specs_of([run]), request))
    # The value of the sample at 30 s counts, because `other` was scraped at 0 s; 570 to 600 s are not seen.
    assert row["known_share"] == pytest.approx((570 - 7) / 593)
    assert row["total_energy_j"] == pytest.approx(2.0 * 593)
