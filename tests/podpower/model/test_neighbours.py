import json
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from podpower.errors import InvalidInput, Refused
from podpower.model.examples import examples_from_rows
from podpower.model.neighbours import FLOOR_W, KnnModel, from_log, nearest, squared_distances, to_log
from podpower.model.training import train

UNKNOWN = ("elsewhere", "Deployment", "new")


@pytest.fixture(scope="module")
def model(rows):
    return train(rows)


@pytest.fixture(scope="module")
def known(rows):
    return examples_from_rows(rows)


def predict_new(model, vectors):
    vectors = np.asarray(vectors, dtype=np.float32)
    return model.predict(vectors, ["0" * 63 + "x"] * len(vectors), [UNKNOWN] * len(vectors))


def test_a_spec_with_labels_answers_with_its_own_mean(model, known):
    for position in range(0, len(known), 7):
        spec, workload = known.spec_hashes[position], known.workloads[position]
        own = known.power_w[[h == spec for h in known.spec_hashes]]
        estimates = model.predict(known.vectors[[position]], [spec], [workload])
        assert estimates.basis.tolist() == ["seen"]
        assert estimates.power_w[0] == pytest.approx(np.mean(own))
        assert estimates.low_w[0] <= estimates.power_w[0] <= estimates.high_w[0]


def test_a_seen_spec_in_another_workload_answers_with_the_pooled_mean(make_rows):
    rows = make_rows(workloads=2, watts=[1.0, 3.0]).with_columns(_spec_hash=pl.lit("a" * 64))
    model = train(rows)
    vector = model.index.vectors[:1]
    spec = model.index.spec_hashes[0]
    estimates = model.predict(
        np.repeat(vector, 3, axis=0),
        [spec] * 3,
        [("default", "Deployment", "w0"), ("default", "Deployment", "w1"), UNKNOWN],
    )
    assert estimates.basis.tolist() == ["seen"] * 3
    np.testing.assert_allclose(estimates.power_w, [1.0, 3.0, 2.0], rtol=0.02)


def test_a_near_spec_is_similar_and_a_far_one_gets_the_prior(model):
    near = predict_new(model, [model.index.vectors[3] + 0.001])
    far = predict_new(model, [np.full(24, 50.0)])
    assert near.basis.tolist() == ["similar"]
    assert far.basis.tolist() == ["prior"]
    assert far.power_w[0] == pytest.approx(float(from_log(np.array(model.prior_power))))
    assert far.neighbour_weight.sum() == 0.0
    family = model.index.power_w[3::4]
    assert family.min() / 2 < near.power_w[0] < family.max() * 2


def test_intervals_hold_the_prediction_and_are_never_negative(model):
    estimates = predict_new(model, np.random.default_rng(1).normal(size=(200, 24)))
    assert (estimates.low_w >= 0).all()
    assert (estimates.low_w <= estimates.power_w).all()
    assert (estimates.power_w <= estimates.high_w).all()


def test_the_explanation_names_the_neighbours_it_rests_on(model):
    estimates = predict_new(model, model.index.vectors[:5] + 0.01)
    assert (np.diff(estimates.neighbour_distance, axis=1) >= 0).all()
    assert (estimates.neighbour_index[:, 0] == np.arange(5)).all()
    assert (estimates.neighbour_weight.sum(axis=1) <= 1 + 1e-9).all()
    assert (estimates.neighbour_weight[:, 0] > 0).all()


def test_the_explanation_of_a_seen_spec_is_the_spec_itself(model):
    estimates = model.predict(model.index.vectors[:1], model.index.spec_hashes[:1], model.index.workloads[:1])
    assert estimates.neighbour_index[0, 0] == 0
    assert estimates.neighbour_weight[0].tolist()[:2] == [1.0, 0.0]
    assert (estimates.neighbour_index[0, 1:] == -1).all()


def test_a_prediction_does_not_depend_on_its_batch(model, monkeypatch):
    vectors = np.random.default_rng(2).normal(size=(50, 24)).astype(np.float32)
    whole = predict_new(model, vectors)
    monkeypatch.setattr("podpower.model.neighbours._CHUNK_CELLS", 7 * len(model.index))
    parts = predict_new(model, vectors)
    np.testing.assert_allclose(whole.power_w, parts.power_w, rtol=1e-5)
    one = predict_new(model, vectors[4:5])
    assert one.power_w[0] == pytest.approx(whole.power_w[4], rel=1e-5)
    assert len(predict_new(model, np.zeros((0, 24))).power_w) == 0


def test_only_jobs_have_a_total(model):
    assert np.isnan(predict_new(model, model.index.vectors[:2]).total_energy_j).all()


def test_vectors_of_another_width_are_rejected(model):
    with pytest.raises(InvalidInput, match="use the encoder"):
        predict_new(model, np.zeros((1, 3)))


def test_the_state_gives_the_same_model(model):
    again = KnnModel.from_state(model.state())
    vectors = np.random.default_rng(3).normal(size=(20, 24))
    np.testing.assert_array_equal(predict_new(again, vectors).high_w, predict_new(model, vectors).high_w)
    assert (again.target, again.energy, again.trained_at) == (model.target, model.energy, model.trained_at)
    assert again.metrics == model.metrics


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state | {"schema_version": 2},
        lambda state: {k: v for k, v in state.items() if k != "kernel"},
        lambda state: state | {"index": state["index"] | {"power_w": np.ones(3)}},
        lambda state: state | {"index": {k: v[:0] for k, v in state["index"].items()}},
        lambda state: state | {"intervals": {"level": 0.8, "bounds": {"seen": [0, 0]}}},
    ],
    ids=["version", "no kernel", "lengths", "empty", "no bounds"],
)
def test_a_state_that_does_not_fit_is_refused(model, change):
    with pytest.raises(Refused, match="train it again"):
        KnnModel.from_state(change(model.state()))


@pytest.mark.parametrize("count", [1, 5, 60, 100])
def test_the_search_is_exact(count):
    rng = np.random.default_rng(4)
    vectors, queries = rng.normal(size=(60, 8)).astype(np.float32), rng.normal(size=(9, 8)).astype(np.float32)
    index, squared = nearest(squared_distances(queries, vectors, (vectors.astype(float) ** 2).sum(axis=1)), count)
    brute = ((queries[:, None].astype(float) - vectors[None]) ** 2).sum(axis=2)
    np.testing.assert_array_equal(index, np.argsort(brute, axis=1)[:, :count])
    np.testing.assert_allclose(squared, np.sort(brute, axis=1)[:, :count], rtol=1e-4)


def test_the_log_scale_keeps_zero_and_comes_back():
    power_w = np.array([0.0, FLOOR_W, 1.0, 500.0])
    np.testing.assert_allclose(from_log(to_log(power_w)), power_w, atol=1e-12)


def test_the_prediction_path_imports_nothing_heavy():
    code = (
        "import json, sys, podpower.model.neighbours, podpower.features.encoder;"
        "print(json.dumps(sorted({m.split('.')[0] for m in sys.modules}"
        " & {'polars', 'pandas', 'sklearn', 'scipy', 'pyarrow', 'dagster', 'matplotlib', 'torch'})))"
    )
    assert json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout) == []
