import json
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from podpower.datasets.hash_versions import HASH_VERSION
from podpower.datasets.training_set import TrainingSet
from podpower.errors import InvalidInput, Refused
from podpower.model.knn import KnnModel
from podpower.model.scale import FLOOR_W, from_log, to_log
from podpower.model.search import Search
from podpower.training.train import train

UNKNOWN = ("elsewhere", "Deployment", "new")


@pytest.fixture(scope="module")
def model(rows):
    return train(rows)


@pytest.fixture(scope="module")
def known(rows):
    return TrainingSet.of(rows).examples()


@pytest.fixture(scope="module")
def predict_new(queries):
    return lambda model, vectors: model.predict(queries(vectors))


def test_a_spec_with_labels_answers_with_its_own_mean(model, known, queries):
    for position in range(0, len(known), 7):
        entry = known.entry[position]
        own = known.power_w[known.entry == entry]
        entries = known.entries.take(np.array([entry]))
        estimates = model.predict(queries(entries.vectors, entries.spec_hashes, entries.workloads))
        assert estimates.basis.tolist() == ["seen"]
        assert estimates.power_w[0] == pytest.approx(np.mean(own), rel=0.02)
        assert (estimates.low_w[:, 0] <= estimates.power_w[0]).all()
        assert (estimates.power_w[0] <= estimates.high_w[:, 0]).all()


def test_a_seen_spec_in_another_workload_answers_with_the_pooled_mean(make_rows, queries, known_vectors):
    rows = make_rows(workloads=2, watts=[1.0, 3.0]).with_columns(_spec_hash=pl.lit("a" * 64))
    model = train(rows)
    workloads = [("default", "Deployment", "w0"), ("default", "Deployment", "w1"), UNKNOWN]
    asked = queries(known_vectors(model)[[0, 0, 0]], [model.index.spec_hashes[0]] * 3, workloads)
    estimates = model.predict(asked)
    assert estimates.basis.tolist() == ["seen"] * 3
    np.testing.assert_allclose(estimates.power_w[:2], [1.0, 3.0], rtol=0.02)
    assert 1.0 < estimates.power_w[2] < 3.0


def widths(estimates):
    low, high = estimates.interval()
    return high / np.maximum(low, 1e-9)


def test_a_spec_seen_in_another_workload_or_cluster_is_less_certain(model, known, queries):
    """The load of another workload is another, and so is the hardware of another cluster."""
    entries = known.entries
    vectors, hashes, workloads = entries.vectors[:8], entries.spec_hashes[:8], entries.workloads[:8]
    own = model.predict(queries(vectors, hashes, workloads, clusters=["c"] * 8))
    untold = model.predict(queries(vectors, hashes, workloads))
    renamed = model.predict(queries(vectors, hashes, [("default", "Deployment", "other")] * 8))
    abroad = model.predict(queries(vectors, hashes, workloads, clusters=["d"] * 8))
    np.testing.assert_array_equal(widths(untold), widths(own))
    for elsewhere in (renamed, abroad):
        assert set(elsewhere.basis) == {"seen"}
        np.testing.assert_allclose(elsewhere.power_w, own.power_w, rtol=0.25)
        assert (widths(elsewhere) > 1.5 * widths(own)).all()


def test_how_less_certain_is_learned_from_specs_that_several_workloads_share(make_rows, queries, known_vectors):
    """Thirty specs, each of two workloads that draw nearly alike, tell that the third will, too."""
    rows = make_rows(workloads=60)
    number = pl.col("workload_name").str.slice(1).cast(int)
    watts = 10.0 ** ((number // 2) % 4 - 2.0) * (1.0 + 0.02 * (number % 2))
    twins = rows.with_columns(
        energy_step_j=60.0 * watts,
        avg_power_w=watts,
        _spec_hash=pl.format("{}{}", pl.lit("e" * 60), (number // 2 + 1000)),
    )
    model = train(twins)
    asked = queries(known_vectors(model)[:10], model.index.spec_hashes[:10], [("x", "Deployment", "new")] * 10)
    assert widths(model.predict(asked)).max() < 1.3


def test_a_near_spec_is_similar_and_a_far_one_gets_the_prior(model, predict_new, known_vectors):
    near = predict_new(model, [known_vectors(model)[3] + 0.001])
    far = predict_new(model, [np.full(24, 50.0)])
    assert near.basis.tolist() == ["similar"]
    assert far.basis.tolist() == ["prior"]
    assert far.power_w[0] == pytest.approx(float(from_log(model.prior.at(np.array([np.nan]), ["Deployment"]))[0]))
    assert far.prior_weight[0] == pytest.approx(1.0)
    assert far.neighbour_weight.sum() == 0.0
    family = model.index.power_w[3::4]
    assert family.min() / 2 < near.power_w[0] < family.max() * 2


def test_intervals_hold_the_prediction_and_are_never_negative(model, predict_new):
    estimates = predict_new(model, np.random.default_rng(1).normal(size=(200, 24)))
    assert (estimates.low_w >= 0).all()
    assert (np.diff(estimates.low_w, axis=0) <= 0).all()  # a higher level holds a lower one
    assert (np.diff(estimates.high_w, axis=0) >= 0).all()
    assert (estimates.low_w <= estimates.power_w).all()
    assert (estimates.power_w <= estimates.high_w).all()


def test_the_explanation_names_the_neighbours_it_rests_on(model, predict_new, known_vectors):
    estimates = predict_new(model, known_vectors(model)[:5] + 0.001)
    assert (np.diff(estimates.neighbour_weight, axis=1) <= 0).all()
    assert (estimates.neighbour_index[:, 0] == np.arange(5)).all()
    assert (estimates.neighbour_weight.sum(axis=1) + estimates.prior_weight <= 1 + 1e-9).all()
    assert (estimates.neighbour_weight[:, 0] > 0).all()


def test_the_explanation_of_a_seen_spec_is_the_spec_itself(model, own_queries):
    estimates = model.predict(own_queries(model, slice(1)))
    assert estimates.neighbour_index[0, 0] == 0
    assert estimates.neighbour_weight[0].tolist()[:2] == [1.0, 0.0]
    assert (estimates.neighbour_index[0, 1:] == -1).all()


def test_a_prediction_does_not_depend_on_its_batch(model, predict_new, monkeypatch):
    vectors = np.random.default_rng(2).normal(size=(50, 24)).astype(np.float32)
    whole = predict_new(model, vectors)
    monkeypatch.setattr("podpower.model.search._CHUNK_CELLS", 7 * len(model.index))
    monkeypatch.setattr("podpower.model.knn._CHUNK_QUERIES", 11)
    parts = predict_new(model, vectors)
    np.testing.assert_array_equal(whole.high_w, parts.high_w)
    for row in range(50):
        one = predict_new(model, vectors[row : row + 1])
        np.testing.assert_array_equal(one.high_w[:, 0], whole.high_w[:, row])
        np.testing.assert_array_equal(one.power_w[0], whole.power_w[row])
    assert len(predict_new(model, np.zeros((0, 24))).power_w) == 0


def test_only_jobs_have_a_total(model, predict_new, known_vectors):
    assert np.isnan(predict_new(model, known_vectors(model)[:2]).total_energy_j).all()


def test_vectors_of_another_width_are_rejected(model, predict_new):
    with pytest.raises(InvalidInput, match="use the encoder"):
        predict_new(model, np.zeros((1, 3)))


def test_the_state_gives_the_same_model(model, predict_new):
    again = KnnModel.from_state(model.state())
    vectors = np.random.default_rng(3).normal(size=(20, 24))
    np.testing.assert_array_equal(predict_new(again, vectors).high_w, predict_new(model, vectors).high_w)
    assert (again.target, again.energy, again.trained_at) == (model.target, model.energy, model.trained_at)
    assert again.metrics == model.metrics


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state | {"schema_version": 1},
        lambda state: {k: v for k, v in state.items() if k != "metric"},
        lambda state: state | {"index": state["index"] | {"power_w": np.ones(3)}},
        lambda state: state | {"pseudo_counts": state["pseudo_counts"] | {"neighbours": -1}},
        lambda state: state | {"intervals": state["intervals"] | {"bounds": {"seen": [[0, 0]] * 3}}},
    ],
    ids=["version", "no metric", "lengths", "a pseudo-count", "no bounds"],
)
def test_a_state_that_does_not_fit_is_refused(model, change):
    with pytest.raises(Refused, match="train it again"):
        KnnModel.from_state(change(model.state()))


@pytest.mark.parametrize("size", [60, 500], ids=["compared", "screened"])
@pytest.mark.parametrize("count", [1, 5, 60, 1000])
def test_the_search_is_exact(size, count):
    rng = np.random.default_rng(4)
    vectors, queries = rng.normal(size=(size, 8)).astype(np.float32), rng.normal(size=(9, 8)).astype(np.float32)
    index, squared = Search(vectors, np.ones(8, dtype=np.float32)).near(queries, count)
    brute = ((queries[:, None].astype(float) - vectors[None]) ** 2).sum(axis=2)
    np.testing.assert_array_equal(index, np.argsort(brute, axis=1)[:, :count])
    np.testing.assert_allclose(squared, np.sort(brute, axis=1)[:, :count], rtol=1e-4)


def test_the_log_scale_keeps_zero_and_comes_back():
    power_w = np.array([0.0, FLOOR_W, 1.0, 500.0])
    np.testing.assert_allclose(from_log(to_log(power_w)), power_w, atol=1e-12)


def test_the_prediction_path_imports_nothing_heavy():
    code = (
        "import json, sys, podpower.model.knn, podpower.features.encoder;"
        "print(json.dumps(sorted({m.split('.')[0] for m in sys.modules}"
        " & {'polars', 'pandas', 'sklearn', 'scipy', 'pyarrow', 'dagster', 'matplotlib', 'torch', 'faiss'})))"
    )
    assert json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout) == []


def test_a_model_of_older_spec_hashes_has_a_note(pair):
    _, model = pair
    assert model.spec_hash_version == HASH_VERSION
    assert not any("spec hashes" in note for note in model.notes)
    state = model.state()
    del state["spec_hash_version"]  # as models were before
    old = KnnModel.from_state(state)
    assert old.spec_hash_version == 1
    assert "of version 1, not 3" in old.notes[-1]
    assert KnnModel.from_state(old.state()).notes == old.notes
    assert old.with_index(old.index, old.inverted_file).notes == old.notes
