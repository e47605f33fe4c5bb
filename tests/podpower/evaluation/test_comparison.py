"""A model is only replaced by one that is not worse on the same held-out pods."""

import numpy as np
import polars as pl
import pytest

from podpower.datasets.training_set import TrainingSet
from podpower.evaluation.comparison import compare_known, compare_unknown, find_label_shift, without
from podpower.training.train import train

HOUR_S = 3600.0


@pytest.fixture(scope="module")
def cluster(make_rows):
    """Sixty workloads over six hours; the last is held out."""
    return make_rows(workloads=60, hours=6)


@pytest.fixture(scope="module")
def held_out(cluster):
    return TrainingSet.of(cluster.filter(pl.col("ts") > 5 * HOUR_S)).pods()


@pytest.fixture(scope="module")
def past(cluster):
    return cluster.filter(pl.col("ts") <= 5 * HOUR_S)


@pytest.fixture(scope="module")
def champion(past):
    return train(past.filter(pl.col("ts") <= 4 * HOUR_S))


def times(rows, factor):
    return rows.with_columns(pl.col("avg_power_w", "energy_step_j") * factor)


def shuffled(rows, seed=0):
    """The labels of each workload given to another one."""
    names = rows["workload_name"].unique(maintain_order=True).to_list()
    swapped = np.random.default_rng(seed).permutation(names).tolist()
    labels = rows.select("ts", workload_name=pl.col("workload_name").replace(names, swapped), avg_power_w="avg_power_w",
                         energy_step_j="energy_step_j")  # fmt: skip
    return rows.drop("avg_power_w", "energy_step_j").join(labels, on=["ts", "workload_name"], how="left")


def test_a_model_of_more_of_the_same_is_no_worse(champion, past, held_out):
    candidate = train(past)
    assert compare_known(champion, candidate, held_out).verdict in {"no worse", "better"}
    assert compare_unknown(champion, candidate, held_out).verdict in {"no worse", "better"}


def test_a_model_that_knows_more_workloads_is_better(make_rows, past, held_out):
    newcomer = train(past.filter(pl.col("workload_name").str.slice(1).cast(int) < 8))
    grown = train(past)
    result = compare_unknown(newcomer, grown, held_out)
    assert result.verdict == "better"
    assert result.difference < 0
    assert result.high < 0


def test_a_deliberately_worse_model_is_refused(champion, past, held_out):
    worse = train(times(past, pl.when(pl.col("workload_name").str.ends_with("3")).then(9.0).otherwise(1.0)))
    assert compare_known(champion, worse, held_out).verdict == "worse"


def test_shuffled_labels_are_refused(champion, past, held_out):
    candidate = train(shuffled(past))
    assert compare_known(champion, candidate, held_out).verdict == "worse"
    assert compare_unknown(champion, candidate, held_out).verdict == "worse"


def test_a_day_of_zeros_is_refused(champion, past, held_out):
    """One workload still draws something: a day of nothing but zeros does not even train."""
    candidate = train(times(past, pl.when(pl.col("workload_name") == "w0").then(1.0).otherwise(0.0)))
    assert compare_known(champion, candidate, held_out).verdict == "worse"
    assert compare_unknown(champion, candidate, held_out).verdict == "worse"


def test_outliers_of_a_megawatt_are_refused(champion, past, held_out):
    spiked = past.with_columns(
        pl.when(pl.int_range(pl.len()) % 40 == 0).then(1e6).otherwise("energy_step_j").alias("energy_step_j"),
    ).drop("avg_power_w")
    assert compare_known(champion, train(spiked), held_out).verdict == "worse"


def test_a_comparison_is_paired_and_has_an_interval(champion, past, held_out):
    candidate = train(past)
    result = compare_known(champion, candidate, held_out)
    assert result.workloads == 60
    assert result.low <= result.difference <= result.high
    assert result.difference == pytest.approx(result.candidate_error - result.champion_error)
    assert "over 60 workloads" in str(result)
    swapped = compare_known(candidate, champion, held_out)
    assert swapped.difference == pytest.approx(-result.difference)


def test_nothing_of_a_left_out_workload_remains(champion, held_out):
    part = held_out.take(np.arange(7))
    rest = without(champion, part)
    assert not set(rest.index.workloads) & set(part.entries.workloads)
    assert not set(rest.index.spec_hashes) & set(part.entries.spec_hashes)
    assert len(rest.index) == len(champion.index) - 7
    assert without(champion, held_out) is None


def test_workloads_that_nobody_knows_cannot_be_compared_on(champion, make_rows):
    strangers = make_rows(workloads=3, seed=9).with_columns(_spec_hash="9" + pl.col("_spec_hash").str.slice(1))
    result = compare_known(champion, champion, TrainingSet.of(strangers).pods())
    assert result.verdict == "unknown"
    assert "nothing to compare" in str(result)


def test_a_handful_of_workloads_decides_nothing(champion, past, held_out):
    worse = train(times(past, pl.when(pl.col("workload_name").str.ends_with("3")).then(9.0).otherwise(1.0)))
    named = [workload[2] in {"w3", "w13", "w23", "w33"} for workload in held_out.entries.workloads]
    result = compare_known(champion, worse, held_out.take(np.array(named)[held_out.entry]))
    assert result.verdict == "unknown"
    assert "only 4 workloads to compare on" in str(result)


def test_labels_that_change_everywhere_at_once_have_shifted(champion, cluster):
    young = cluster.filter(pl.col("ts") > 5 * HOUR_S)
    assert not find_label_shift(champion, TrainingSet.of(young).pods()).shifted
    for changed in (times(young, 0.0), times(young, 30.0), shuffled(young)):
        shift = find_label_shift(champion, TrainingSet.of(changed).pods())
        assert shift.shifted
        assert "promote by hand" in str(shift)


@pytest.mark.parametrize(
    ("last_digits", "factor", "shifted"),
    [
        pytest.param("12", 9.0, False, id="a fifth, ninefold"),
        pytest.param("123", 100.0, True, id="three tenths, a hundredfold"),
        pytest.param("1234", 100.0, True, id="two fifths, a hundredfold"),
        pytest.param("1234", 0.0, True, id="two fifths to zero"),
        pytest.param("1234", 2.6, False, id="two fifths, less than threefold"),
        pytest.param("12345678", 2.6, True, id="four fifths, less than threefold"),
    ],
)
def test_a_quarter_of_the_workloads_is_enough_where_they_change_by_more_than_threefold(
    champion, cluster, last_digits, factor, shifted
):
    young = cluster.filter(pl.col("ts") > 5 * HOUR_S)
    some = pl.col("workload_name").str.slice(-1).is_in(list(last_digits))
    changed = times(young, pl.when(some).then(factor).otherwise(1.0))
    assert find_label_shift(champion, TrainingSet.of(changed).pods()).shifted is shifted
