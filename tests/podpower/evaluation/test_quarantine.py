"""Labels far outside a spec's known range are not used until they are released or have stayed there for a day."""

import polars as pl
import pytest

from podpower.datasets.training_set import TrainingSet
from podpower.errors import InvalidInput
from podpower.evaluation.quarantine import find_quarantined
from podpower.registry.quarantine import QuarantineState, Released
from podpower.training.train import train

HOUR_S = 3600.0


@pytest.fixture(scope="module")
def cluster(make_rows):
    """Twelve workloads over two days."""
    return make_rows(workloads=12, hours=48, every_s=1200.0)


@pytest.fixture(scope="module")
def champion(cluster):
    return train(cluster.filter(pl.col("ts") <= 6 * HOUR_S))


def poisoned(rows, watts=5000.0, *, name="w3", after_h=6.0, until_h=48.0):
    at = (pl.col("workload_name") == name) & pl.col("ts").is_between(after_h * HOUR_S, until_h * HOUR_S, "right")
    power = pl.when(at).then(watts).otherwise("avg_power_w")
    return rows.with_columns(power.alias("avg_power_w"), (power * 60.0).alias("energy_step_j"))


def until(rows, hour):
    return TrainingSet.of(rows.filter(pl.col("ts") <= hour * HOUR_S))


def power_of(model, name):
    [row] = [row for row, workload in enumerate(model.index.workloads) if workload[2] == name]
    return float(model.index.power_w[row])


def test_one_workload_at_five_kilowatts_is_named_and_not_learned(champion, cluster):
    training_set = until(poisoned(cluster), 8)
    found = find_quarantined(champion, training_set)
    [spec] = found.specs
    assert (spec.workload, spec.hours) == ("default/Deployment/w3", 2)
    assert spec.since_s == pytest.approx(6 * HOUR_S, abs=HOUR_S)
    assert spec.low_w < power_of(champion, "w3") < spec.high_w
    assert "default/Deployment/w3 (5e+03 W, known" in str(found)
    assert "1 spec is in quarantine" in str(found)
    assert power_of(train(training_set), "w3") > 100.0
    assert power_of(train(found.kept), "w3") == pytest.approx(power_of(champion, "w3"), rel=0.05)
    assert len(found.kept.frame) == len(training_set.frame) - 2 * 3


@pytest.mark.parametrize(("factor", "count"), [(5.0, 0), (1 / 5.0, 0), (40.0, 1), (1 / 1e6, 1)])
def test_more_than_ten_times_either_way_is_far(champion, cluster, factor, count):
    watts = power_of(champion, "w3") * factor  # 10 W: far above the resolution of counters
    assert len(find_quarantined(champion, until(poisoned(cluster, watts), 8)).specs) == count


def test_labels_as_before_are_all_kept(champion, cluster):
    training_set = until(cluster, 8)
    found = find_quarantined(champion, training_set)
    assert found.kept is training_set
    assert str(found) == "no spec is in quarantine"


def test_a_new_spec_has_no_known_range(champion, cluster):
    new = poisoned(cluster).with_columns(
        _spec_hash=pl.when(pl.col("workload_name") == "w3").then(pl.lit("f" * 64)).otherwise("_spec_hash")
    )
    assert find_quarantined(champion, until(new, 8)).specs == []


def test_after_a_day_the_labels_are_used_and_count_as_known(champion, cluster):
    rows = poisoned(cluster)
    found = find_quarantined(champion, until(rows, 29))
    assert ([spec.workload_name for spec in found.specs], found.accepted) == (["w3"], [])
    found = find_quarantined(champion, until(rows, 31))
    assert found.specs == []
    assert [spec.workload_name for spec in found.accepted] == ["w3"]
    assert len(found.kept.frame) == len(until(rows, 31).frame)


def test_a_stay_continues_when_the_champion_is_replaced(champion, cluster):
    """The next champion was trained on the kept labels, which end later."""
    rows = poisoned(cluster)
    first = find_quarantined(champion, until(rows, 12))
    second = train(first.kept)
    assert second.labels_end_s > champion.labels_end_s
    state = QuarantineState(through_s=12 * HOUR_S, count=1, specs=first.specs)
    assert find_quarantined(second, until(rows, 13), before=state).specs[0].since_s == first.specs[0].since_s
    state = QuarantineState(specs=find_quarantined(second, until(rows, 29), before=state).specs)
    assert [spec.workload_name for spec in find_quarantined(second, until(rows, 31), before=state).accepted] == ["w3"]


def test_hours_that_are_made_anew_and_wrong_do_not_count_as_a_stay(cluster):
    """The champion was trained on two days of other labels."""
    later = train(cluster)
    found = find_quarantined(later, TrainingSet.of(poisoned(cluster, after_h=0.0)))
    assert [spec.workload_name for spec in found.specs] == ["w3"]
    assert found.accepted == []


def test_a_spike_that_ended_stays_out(champion, cluster):
    found = find_quarantined(champion, until(poisoned(cluster, until_h=8.0), 12))
    [spec] = found.specs
    assert spec.hours == 2
    assert power_of(train(found.kept), "w3") == pytest.approx(power_of(champion, "w3"), rel=0.05)


def test_what_was_released_is_used_up_to_its_level(champion, cluster):
    [spec] = find_quarantined(champion, until(poisoned(cluster, 300.0), 8)).specs
    fields = ("cluster", "namespace", "workload_kind", "workload_name", "spec_hash")
    key = {name: getattr(spec, name) for name in fields}
    state = QuarantineState(released=[Released(**key, low_w=spec.low_w, high_w=spec.most_w, at="2026-01-01")])
    assert find_quarantined(champion, until(poisoned(cluster, 300.0), 8), before=state).specs == []
    assert len(find_quarantined(champion, until(poisoned(cluster), 8), before=state).specs) == 1


def test_nothing_left_is_an_error_that_names_the_specs(champion, cluster):
    only = cluster.filter((pl.col("workload_name") == "w3") & (pl.col("ts") > 6 * HOUR_S))
    found = find_quarantined(champion, until(poisoned(only), 8))
    with pytest.raises(InvalidInput, match=r"every label is in quarantine \(default/Deployment/w3"):
        found.usable()
