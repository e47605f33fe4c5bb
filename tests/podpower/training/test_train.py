from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from podpower.datasets.training_set import TrainingSet
from podpower.errors import InvalidInput
from podpower.model.scale import from_log, to_log
from podpower.training.train import train, train_examples


def test_the_model_names_what_it_was_trained_on(rows):
    model = train(rows)
    assert model.training_size == {
        "rows": len(rows),
        "rows_left_out": 0,
        "examples": 80,
        "specs": 40,
        "workloads": 40,
    }
    assert (model.target, model.step_seconds, model.energy) == ("energy_step_j", 60.0, "dynamic")
    assert model.encoder_fingerprint == "f" * 64
    assert model.trained_at.endswith("+00:00")
    assert model.metrics["left_out_entries"] == 40
    assert model.metrics["left_out_log_r2"] > 0.5
    assert model.notes == ()


def test_the_model_names_the_source_of_its_labels_and_hours_that_do_not_add_up(rows):
    ratio = pl.when(pl.col("ts") < rows["ts"].median()).then(0.97).otherwise(1.6)
    model = train(rows.with_columns(label_source=pl.lit("Kepler 0.9 all components, dynamic"), node_ratio=ratio))
    assert model.label_source == "Kepler 0.9 all components, dynamic"
    assert model.notes == (
        "labels: Kepler 0.9 all components, dynamic",
        "labels: pods add up to 1.60 of their nodes in the worst of 1 hours outside 0.8 to 1.1",
    )
    assert train(rows).label_source is None


def test_training_twice_gives_the_same_predictions(rows, queries, known_vectors):
    one, other = train(rows), train(rows.sample(fraction=1.0, shuffle=True, seed=3))
    asked = queries(known_vectors(one)[:10] + 0.01)
    np.testing.assert_allclose(one.predict(asked).power_w, other.predict(asked).power_w, rtol=1e-6)


def _revision(rows):
    """A second spec of each workload, with the vector and the power of the first."""
    return rows.with_columns(_spec_hash=pl.lit("e") + pl.col("_spec_hash").str.slice(1))


def _namesake(rows):
    """A second workload of each spec, with its vector and its power."""
    return rows.with_columns(workload_name=pl.col("workload_name") + "-canary", pod=pl.col("pod") + "-canary")


@pytest.mark.parametrize("twin", [_revision, _namesake])
def test_left_out_entries_are_predicted_without_their_own_workload_and_spec(make_rows, twin):
    """Power is noise, so that only the twin of an entry could predict it: left out together, nothing does."""
    count = 40
    watts = np.exp(np.random.default_rng(5).normal(size=count) * 2)
    vectors = np.random.default_rng(6).normal(size=(count, 24)).astype(np.float32).tolist()  # all far apart
    rows = make_rows(workloads=count, watts=watts)
    of_workload = rows["workload_name"].str.slice(1).cast(pl.Int64).to_list()
    rows = rows.with_columns(
        pl.Series("features", [vectors[i] for i in of_workload], dtype=pl.List(pl.Float32)),
        image_key=pl.lit(None, dtype=pl.String),
    )
    model = train(pl.concat([rows, twin(rows)]))
    assert model.metrics["left_out_entries"] == 2 * count
    assert model.metrics["left_out_log_r2"] < 0.1


def test_a_workload_with_two_specs_counts_once(make_rows):
    rows = make_rows(workloads=20)
    revision = rows.filter(pl.col("workload_name") == "w0").with_columns(
        _spec_hash=pl.lit("e" * 64), energy_step_j=pl.lit(90.0), avg_power_w=pl.lit(1.5)
    )
    alone = train_examples(TrainingSet.of(rows).examples())
    both = train_examples(TrainingSet.of(pl.concat([rows, revision])).examples())
    # Each workload counts once, so a second revision with its own error changes the loss, not the number of groups.
    assert both.training_size["workloads"] == alone.training_size["workloads"] == 20
    assert both.metrics["left_out_entries"] == 21
    assert both.index.share.sum() == pytest.approx(20.0)


def test_rows_that_are_noise_alone_are_answered_by_the_prior(make_rows, queries, known_vectors):
    """Power that has nothing to do with vectors: the best metric is the one that hardly listens to neighbours."""
    watts = np.exp(np.random.default_rng(5).normal(size=60) * 2)
    model = train(make_rows(workloads=60, watts=watts))
    predicted = model.predict(queries(known_vectors(model) + 0.05)).power_w
    prior = from_log(model.prior.at(np.array([np.nan]), ["Deployment"]))[0]
    assert np.abs(np.log(predicted / prior)).mean() < 0.7 * np.abs(np.log(watts / prior)).mean()
    assert model.metrics["left_out_log_r2"] < 0.1


def test_neighbors_bounds_how_many_are_averaged(rows):
    assert train(rows, neighbors=3).neighbours == 3
    with pytest.raises(InvalidInput, match="at least 1, not 0"):
        train(rows, neighbors=0)


def test_an_index_entry_is_the_weighted_mean_of_its_windows(make_rows):
    examples = TrainingSet.of(make_rows(workloads=3, hours=3)).examples()
    index = train_examples(examples).index
    assert len(index) == 3
    assert index.power_w[0] == pytest.approx(np.average(examples.power_w[:3], weights=examples.seconds[:3]), rel=0.01)


def test_one_workload_trains_with_a_note_and_assumed_errors(make_rows, queries, own_queries, known_vectors):
    model = train(make_rows(workloads=1, watts=[5.0]))
    assert "one workload only" in model.notes[0]
    new = model.predict(queries(known_vectors(model) + 9))
    low, high = new.interval()
    assert new.basis.tolist() == ["prior"]
    assert 0.08 < new.power_w[0] < 5.0  # between the physical estimate of a typical pod and the one label
    assert high[0] / low[0] > 50
    seen = model.predict(own_queries(model))
    assert seen.power_w[0] == pytest.approx(5.0, rel=0.05)


def test_one_label_trains_and_is_hardly_trusted(make_rows, queries, known_vectors):
    model = train(make_rows(workloads=1).head(1))
    estimates = model.predict(queries(known_vectors(model) + 1.0))
    low, high = estimates.interval()
    assert np.isfinite(estimates.power_w).all()
    assert (high / np.maximum(low, 1e-3) > 30).all()


@pytest.mark.parametrize(("watts", "left_out"), [(1e6, 5), (19_000.0, 0)], ids=["above the limit", "below it"])
def test_rare_labels_of_many_kilowatts_leave_every_prediction_finite(
    make_rows, queries, known_vectors, watts, left_out
):
    rows = make_rows(workloads=12)
    spiked = rows.with_columns(
        energy_step_j=pl.when(pl.int_range(pl.len()) % 30 == 0).then(watts * 60).otherwise("energy_step_j")
    ).drop("avg_power_w")
    model = train(spiked)
    assert model.training_size["rows_left_out"] == left_out
    estimates = model.predict(queries(known_vectors(model)))
    for values in (estimates.power_w, estimates.low_w, estimates.high_w):
        assert np.isfinite(values).all()
    assert (estimates.low_w <= estimates.power_w).all()
    assert (estimates.power_w <= estimates.high_w).all()


def test_the_largest_labels_that_are_trained_on_leave_every_prediction_finite(make_rows, queries, own_queries):
    """One step in thirty at 19 kW, just below what no pod can draw."""
    spike_w = 19_000.0
    rows = make_rows(workloads=12)
    spiked = rows.with_columns(
        energy_step_j=pl.when(pl.int_range(pl.len()) % 30 == 0).then(spike_w * 60).otherwise("energy_step_j")
    ).drop("avg_power_w")
    model = train(spiked)
    assert model.training_size["rows_left_out"] == 0
    estimates = model.predict(own_queries(model))
    assert estimates.power_w.max() > 100 * rows["avg_power_w"].max()  # the spikes were learned
    for values in (estimates.power_w, estimates.low_w, estimates.high_w):
        assert np.isfinite(values).all()
    assert (estimates.low_w <= estimates.power_w).all()
    assert (estimates.power_w <= estimates.high_w).all()


def test_two_workloads_train(make_rows, queries, known_vectors):
    model = train(make_rows(workloads=2))
    assert np.isfinite(model.predict(queries(known_vectors(model))).high_w).all()


def test_constant_labels_train(make_rows, queries, known_vectors):
    rows = make_rows(workloads=8).with_columns(avg_power_w=pl.lit(2.0), energy_step_j=pl.lit(120.0))
    model = train(rows)
    assert "all labels are the same" in model.notes[0]
    known = model.predict(queries(known_vectors(model)))
    assert known.power_w == pytest.approx(2.0, rel=0.05)
    low, high = known.interval()
    assert (high / low > 10).all()  # a new workload may well draw something else


def test_all_labels_zero_are_refused_with_the_likely_cause(make_rows):
    with pytest.raises(InvalidInput, match="without hardware counters"):
        train(make_rows(workloads=3, watts=[0.0, 0.0, 0.0]))


def test_some_labels_zero_are_labels(make_rows, own_queries):
    model = train(make_rows(workloads=4, watts=[0.0, 0.0, 5.0, 5.0]))
    seen = model.predict(own_queries(model, slice(1)))
    assert (seen.power_w[0], seen.low_w.max()) == (0.0, 0.0)


def test_jobs_predict_their_total(make_rows, queries, own_queries, known_vectors):
    jobs = (
        make_rows(workloads=30)
        .group_by("workload_name", maintain_order=True)
        .first()
        .drop("ts", "energy_step_j", "step_seconds")
        .with_columns(start_s=pl.lit(100.0), duration_s=pl.lit(200.0), total_energy_j=pl.col("avg_power_w") * 200)
    )
    model = train(jobs, target="total_energy_j")
    seen = model.predict(own_queries(model))
    np.testing.assert_allclose(seen.total_energy_j, seen.power_w * 200)
    new = model.predict(queries(known_vectors(model) + 0.01))
    ratio = new.total_energy_j / seen.total_energy_j
    assert (ratio > 0.2).all()
    assert (ratio < 5).all()


def test_a_calm_workload_has_a_narrower_interval_than_a_bursty_one(make_rows, own_queries):
    rows = make_rows(workloads=20, hours=8)
    burst = pl.when(pl.col("ts") % 7200 > 3600).then(3.0).otherwise(0.4)
    bursty = pl.col("workload_name") == "w4"
    rows = rows.with_columns(
        pl.when(bursty).then(pl.col(column) * burst).otherwise(pl.col(column))
        for column in ("avg_power_w", "energy_step_j")
    )
    model = train(rows)
    seen = model.predict(own_queries(model))
    low, high = seen.interval()
    factors = dict(zip(model.index.names, high / low, strict=True))
    assert factors.pop("w4") > 3
    assert max(factors.values()) < 1.3


def test_intervals_of_the_seen_hold_a_new_hour(make_rows, queries):
    """Hours of each workload scatter by its own amount; the ninth hour is new."""
    rng = np.random.default_rng(8)
    rows = make_rows(workloads=60, hours=9)
    scatter = {f"w{i}": rng.uniform(0.02, 0.8) for i in range(60)}
    hours = [
        np.exp(rng.normal() * scatter[name])
        for name, _ in rows.select("workload_name", (pl.col("ts") - 1) // 3600).unique(maintain_order=True).iter_rows()
    ]
    factor = pl.DataFrame({"factor": np.repeat(hours, 6)})
    rows = rows.hstack(factor).with_columns(pl.col("avg_power_w", "energy_step_j") * pl.col("factor"))
    model = train(rows.filter(pl.col("ts") <= 8 * 3600))
    new = TrainingSet.of(rows.filter(pl.col("ts") > 8 * 3600)).examples()
    entries = new.entries
    low, high = model.predict(queries(entries.vectors, entries.spec_hashes, entries.workloads)).interval()
    power_w = np.bincount(new.entry, weights=new.power_w) / np.bincount(new.entry)
    inside = (low <= power_w) & (power_w <= high)
    assert 0.65 <= inside.mean() <= 0.95


def width(model, own_queries):
    low, high = model.predict(own_queries(model)).interval()
    return high / low


def test_a_steady_workload_has_a_useful_interval_in_its_first_hour(make_rows, own_queries):
    """One window of each workload shows no spread, several show little, a second hour more; none is taken for all."""
    steady = make_rows(workloads=8, hours=3, watts=[6.0] * 8, every_s=60.0)
    rows = steady.with_columns(avg_power_w=pl.col("energy_step_j") / 60.0)
    for minutes in (5, 50, 110, 170):
        widths = width(train(rows.filter(pl.col("ts") <= minutes * 60)), own_queries)
        assert (widths <= 2.0).all()
        assert (widths > 1.001).all()


def test_a_second_cluster_is_known_by_its_factor_from_a_few_pods(make_rows, queries):
    """Forty workloads here; there the same software draws twice as much, and three workloads of it were measured."""
    here = make_rows(workloads=40)
    there = here.with_columns(
        cluster=pl.lit("d"),
        workload_name=pl.col("workload_name") + "-there",
        avg_power_w=pl.col("avg_power_w") * 2,
        energy_step_j=pl.col("energy_step_j") * 2,
    )
    few = there.filter(pl.col("workload_name").is_in(["w1-there", "w10-there", "w20-there"]))
    model = train(pl.concat([here, few]))
    new = TrainingSet.of(there.join(few.select("workload_name").unique(), on="workload_name", how="anti")).pods()
    asked = new.queries()
    named = model.predict(asked).power_w
    elsewhere = model.predict(replace(asked, clusters=["c"] * len(asked))).power_w
    assert 0.5 * np.log(2) < model.cluster_effects["d"] < 1.1 * np.log(2)
    assert np.abs(np.log(named / new.power_w)).mean() < 0.7 * np.abs(np.log(elsewhere / new.power_w)).mean()
    np.testing.assert_allclose(to_log(named) - to_log(elsewhere), model.cluster_effects["d"], rtol=1e-6)


def test_clusters_that_draw_alike_have_no_effect(make_rows):
    here = make_rows(workloads=40)
    there = here.with_columns(cluster=pl.lit("d"), workload_name=pl.col("workload_name") + "-there")
    assert abs(train(pl.concat([here, there])).cluster_effects["d"]) < 0.05
    assert train(here).cluster_effects == {}
