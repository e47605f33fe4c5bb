import math
from collections.abc import Iterator

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from polars.testing import assert_frame_equal

from podpower.datasets.hash_versions import HASH_VERSION
from podpower.datasets.tables import RowsInMemory
from podpower.datasets.training_set import TrainingSet
from podpower.errors import InvalidInput
from podpower.training.train import train


def test_steps_of_one_hour_become_one_weighted_example(make_rows):
    rows = make_rows(workloads=2, hours=3)
    examples = TrainingSet.of(rows).examples()
    assert len(examples) == 6
    assert examples.seconds.tolist() == [6 * 60.0] * 6
    first = rows.filter((pl.col("workload_name") == "w0") & (pl.col("ts") <= 3600))
    assert examples.power_w[0] == pytest.approx(first["energy_step_j"].mean() / 60)
    assert examples.entries.workloads[0] == ("default", "Deployment", "w0")
    assert examples.step_seconds == 60.0
    assert examples.energy == "dynamic"


def test_a_step_that_ends_on_the_hour_belongs_to_the_hour_before(make_rows):
    rows = make_rows(workloads=1, hours=2)
    assert rows["ts"].max() == 7200.0
    assert TrainingSet.of(rows).examples().seconds.tolist() == [360.0, 360.0]


def test_labels_of_one_hour_are_cut_finer(make_rows):
    assert len(TrainingSet.of(make_rows(workloads=1, hours=1, every_s=60.0)).examples()) == 6


def test_power_comes_from_energy_where_it_is_null(make_rows):
    rows = make_rows(workloads=2)
    without = rows.with_columns(avg_power_w=pl.lit(None, pl.Float64))
    np.testing.assert_allclose(TrainingSet.of(without).examples().power_w, TrainingSet.of(rows).examples().power_w)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "label is null"),
        (math.nan, "label is not finite"),
        (math.inf, "label is not finite"),
        (-1.0, "label is negative"),
        (6e7, "label is over 20 kW a pod"),
        (1e308, "label is over 20 kW a pod"),
    ],
)
def test_unusable_labels_are_counted_and_left_out(make_rows, value, reason):
    rows = make_rows(workloads=2).drop("avg_power_w").with_row_index()
    spoilt = rows.with_columns(
        energy_step_j=pl.when(pl.col("index") == 3).then(pl.lit(value, pl.Float64)).otherwise("energy_step_j")
    )
    examples = TrainingSet.of(spoilt).examples()
    assert examples.left_out == {reason: 1}
    assert examples.seconds.sum() == (len(rows) - 1) * 60.0


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "time is not known"),
        (math.nan, "time is not known"),
        (1.7e12, "time is not in Unix seconds"),
    ],
)
def test_labels_without_a_usable_time_are_counted_and_left_out(make_rows, value, reason):
    rows = make_rows(workloads=2).with_row_index()
    spoilt = rows.with_columns(ts=pl.when(pl.col("index") == 3).then(pl.lit(value, pl.Float64)).otherwise("ts"))
    training_set = TrainingSet.of(spoilt)
    assert training_set.left_out == {reason: 1}
    assert training_set.range_s == TrainingSet.of(rows).range_s


def test_labels_that_have_no_time_at_all_are_of_one_time(make_rows):
    assert TrainingSet.of(make_rows(workloads=2).with_columns(ts=pl.lit(None, pl.Float64))).range_s == (0.0, 0.0)


@pytest.mark.parametrize("value", [-1.0, 0.0, math.nan, math.inf])
def test_an_impossible_estimate_is_none(make_rows, value):
    rows = make_rows(workloads=2).with_columns(physical_power_w=pl.lit(value))
    assert np.isnan(TrainingSet.of(rows).entries.physical_power_w).all()


def test_rows_without_a_spec_are_counted_and_left_out(make_rows):
    rows = make_rows(workloads=3).with_columns(
        features=pl.when(pl.col("workload_name") == "w1").then(None).otherwise("features")
    )
    examples = TrainingSet.of(rows).examples()
    assert examples.left_out == {"no spec": 12}
    assert {workload[2] for workload in examples.entries.workloads} == {"w0", "w2"}


def test_zero_is_a_label(make_rows):
    examples = TrainingSet.of(make_rows(workloads=2, watts=[0.0, 5.0])).examples()
    assert examples.power_w[0] == 0.0
    assert examples.left_out == {}


def test_static_pods_are_workloads_of_their_own(make_rows):
    rows = make_rows(workloads=2).with_columns(workload_kind=pl.lit("Node"), workload_name=pl.lit("n1"))
    assert set(TrainingSet.of(rows).examples().entries.workloads) == {
        ("default", "Pod", "w0-0"),
        ("default", "Pod", "w1-0"),
    }


def test_names_that_are_missing_do_not_stop_training(make_rows):
    rows = make_rows(workloads=3).with_columns(
        workload_kind=pl.lit("Node"),
        pod=pl.when(pl.col("workload_name") == "w0").then(None).otherwise("pod"),
        namespace=pl.when(pl.col("workload_name") == "w1").then(None).otherwise("namespace"),
    )
    assert set(TrainingSet.of(rows).examples().entries.workloads) == {
        ("default", "Node", "w0"),
        ("", "Pod", "w1-0"),
        ("default", "Pod", "w2-0"),
    }


def test_pods_are_averaged_over_all_their_time(make_rows):
    rows = make_rows(workloads=2, hours=3, pods=2)
    pods = TrainingSet.of(rows).pods()
    assert sorted(pods.pods) == ["w0-0", "w0-1", "w1-0", "w1-1"]
    assert pods.seconds.tolist() == [18 * 60.0] * 4


def test_jobs_give_total_energy_and_power_by_their_duration(make_rows):
    jobs = (
        make_rows(workloads=3)
        .group_by("workload_name", maintain_order=True)
        .first()
        .drop("ts", "energy_step_j", "avg_power_w", "step_seconds")
        .with_columns(start_s=pl.lit(100.0), duration_s=pl.lit(50.0), total_energy_j=pl.lit(500.0))
    )
    training_set = TrainingSet.of(jobs, target="total_energy_j")
    examples = training_set.examples()
    assert examples.total_energy_j.tolist() == [500.0] * 3
    assert examples.power_w.tolist() == [10.0] * 3
    assert training_set.range_s == (100.0, 100.0)


@pytest.mark.parametrize(
    ("change", "target", "message"),
    [
        (lambda r: r, "watts", "energy_step_j, avg_power_w, total_energy_j"),
        (lambda r: r, "total_energy_j", "these rows have energy_step_j, avg_power_w"),
        (lambda r: r.drop("features"), "energy_step_j", "lack the columns features"),
        (lambda r: r.drop("energy_step_j", "avg_power_w"), "energy_step_j", "no label"),
        (lambda r: r.clear(), "energy_step_j", "there are no rows"),
        (
            lambda r: r.with_columns(avg_power_w=None, energy_step_j=pl.lit(None, pl.Float64)),
            "energy_step_j",
            r"label is null \(12 rows\)",
        ),
        (lambda r: r.with_columns(pl.col("energy_step_j").cast(pl.String)), "energy_step_j", "must hold numbers"),
        (
            lambda r: r.with_columns(encoder_fingerprint=pl.col("ts").cast(pl.String)),
            "energy_step_j",
            "mix 12 encoders' vectors",
        ),
        (
            lambda r: r.drop("avg_power_w").with_columns(step_seconds=pl.col("ts")),
            "energy_step_j",
            "mix 12 step lengths",
        ),
        (
            lambda r: r.with_columns(energy=pl.when(pl.col("ts") > 3600).then(pl.lit("total")).otherwise("energy")),
            "energy_step_j",
            "mix 2 kinds of energy",
        ),
        (
            lambda r: r.with_columns(
                features=pl.when(pl.col("ts") > 3600).then(pl.col("features").list.head(3)).otherwise("features")
            ),
            "energy_step_j",
            "one length",
        ),
        (
            lambda r: r.with_columns(features=pl.lit([math.nan] * 24, pl.List(pl.Float32))),
            "energy_step_j",
            "not finite",
        ),
        (lambda r: r.with_columns(features=pl.lit("x")), "energy_step_j", "lists of numbers"),
    ],
    ids=[
        "unknown target", "absent target", "no features", "no label column", "empty", "all null", "strings",
        "two encoders", "two steps", "two energies", "two lengths", "nan features", "no lists",
    ],
)  # fmt: skip
def test_wrong_rows_are_rejected_with_what_would_be_right(make_rows, change, target, message):
    with pytest.raises(InvalidInput, match=message):
        TrainingSet.of(change(make_rows(workloads=1)), target=target).examples()


def test_parts_of_the_time_are_aggregated_as_if_they_had_been_read_alone(make_rows):
    rows = make_rows(workloads=4, hours=4)
    early = pl.col("ts") <= 2 * 3600
    part, alone = TrainingSet.of(rows).where(early).examples(), TrainingSet.of(rows.filter(early)).examples()
    assert part.entries.workloads == alone.entries.workloads
    for name in ("entry", "first_s", "last_s", "power_w", "seconds"):
        np.testing.assert_array_equal(getattr(part, name), getattr(alone, name))
    only = TrainingSet.of(rows).where(pl.col("pod") == "w2-0").pods()
    assert only.entries.workloads == [("default", "Deployment", "w2")]
    with pytest.raises(InvalidInput, match="no labels in this part"):
        TrainingSet.of(rows).where(pl.col("ts") < 0).examples()


def test_the_order_of_rows_does_not_show(make_rows):
    rows = make_rows(workloads=3, hours=3, pods=2)
    here, there = TrainingSet.of(rows), TrainingSet.of(rows.sample(fraction=1.0, shuffle=True, seed=2))
    for a, b in ((here.examples(), there.examples()), (here.pods(), there.pods())):
        assert a.pods == b.pods
        np.testing.assert_array_equal(a.power_w, b.power_w)
        np.testing.assert_array_equal(a.entries.vectors, b.entries.vectors)


def test_of_many_some_are_taken_evenly(make_rows):
    pods = TrainingSet.of(make_rows(workloads=9)).pods()
    assert pods.at_most(3).pods == [pods.pods[0], pods.pods[4], pods.pods[8]]
    assert pods.at_most(9) is pods


def test_a_partial_step_counts_by_its_known_seconds(make_rows):
    rows = make_rows(workloads=1, hours=1).with_row_index().with_columns(known_s=pl.lit(60.0))
    first = pl.col("index") == 0
    partial = rows.with_columns(
        energy_step_j=pl.when(~first).then("energy_step_j"),
        avg_power_w=pl.when(first).then(100.0).otherwise("avg_power_w"),
        known_s=pl.when(first).then(15.0).otherwise("known_s"),
    )
    examples = TrainingSet.of(partial).examples()
    assert examples.left_out == {}
    assert examples.seconds.sum() == 60.0 * (len(rows) - 1) + 15.0
    rest = rows["avg_power_w"][1:].sum() * 60.0
    assert (examples.power_w * examples.seconds).sum() == pytest.approx(rest + 1500.0)


def test_spec_hashes_of_an_older_version_are_counted(make_rows):
    rows = make_rows(workloads=3)
    current = rows.with_columns(encoder_fingerprint=pl.lit("e"), spec_hash_version=pl.lit(HASH_VERSION))
    assert TrainingSet.of(current).older_hashes == 0
    one = pl.when(pl.col("workload_name") != "w0").then("spec_hash_version")
    older = TrainingSet.of(current.with_columns(one.alias("spec_hash_version")))
    assert older.older_hashes == 1
    assert train(older).spec_hash_version == 1
    foreign = current.drop("encoder_fingerprint", "spec_hash_version")  # another system's hashes have no version
    assert TrainingSet.of(foreign).older_hashes == 0


@pytest.mark.parametrize("target", [None, "avg_power_w"])
def test_a_cluster_whose_labels_are_all_zero_is_not_trained_on(make_rows, target):
    metered = make_rows(workloads=4).with_columns(cluster=pl.lit("eu-1"))
    zero = {"cluster": pl.lit("edge"), "avg_power_w": pl.lit(0.0), "energy_step_j": pl.lit(0.0)}
    both = pl.concat([metered, metered.with_columns(**zero)])
    found = TrainingSet.of(both, target=target)
    assert found.left_out == {"all labels of cluster edge are 0: it has no meter": len(metered)}
    assert len(found) == len(metered)
    assert set(found.examples().entries.clusters) == {"eu-1"}
    assert train(found).clusters == ("eu-1",)


def test_zeros_of_the_only_cluster_are_left_to_the_training(make_rows):
    rows = make_rows(workloads=4, watts=[0.0] * 4)
    assert TrainingSet.of(rows).left_out == {}
    with pytest.raises(InvalidInput, match="all labels are zero"):
        train(rows)


class _InBatches:
    """Rows that are read in several batches."""

    def __init__(self, rows: pl.DataFrame, count: int) -> None:
        self._whole, self._size = RowsInMemory(frame=rows), -(-len(rows) // count)

    def batches(self) -> Iterator[pl.DataFrame]:
        (batch,) = self._whole.batches()
        yield from batch.iter_slices(self._size)

    def vectors(self, keys: pl.DataFrame) -> NDArray[np.float32]:
        return self._whole.vectors(keys)


def test_windows_that_are_added_up_several_times_are_those_of_all_rows_at_once(make_rows, monkeypatch) -> None:
    rows = make_rows(workloads=6)
    whole = TrainingSet.of(rows)
    monkeypatch.setattr("podpower.datasets.ten_minutes._PENDING_ROWS", 1)
    assert_frame_equal(TrainingSet.of(_InBatches(rows, 9)).frame, whole.frame)
