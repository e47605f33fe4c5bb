import polars as pl
import pytest

from podpower.datasets.training_set import TrainingSet
from podpower.evaluation.drift import drift_of
from podpower.evaluation.evaluate import evaluate_models, floor_of
from podpower.evaluation.names import SERVED
from podpower.training.train import train


@pytest.fixture(scope="module")
def cluster(make_rows):
    return make_rows(workloads=30, hours=5)


@pytest.fixture(scope="module")
def model(cluster):
    return train(cluster.filter(pl.col("ts") <= 4 * 3600))


@pytest.fixture(scope="module")
def young(cluster):
    return cluster.filter(pl.col("ts") > 4 * 3600)


def drift(model, rows):
    pods = TrainingSet.of(rows).pods()
    split = evaluate_models([(model, pods, None)], target=model.target, name=SERVED)
    return drift_of(split, floor=floor_of(model.target, step_seconds=pods.step_seconds))


def test_an_unchanged_cluster_has_not_drifted(model, young):
    found = drift(model, young)
    assert (found.specs, found.errors) == (False, False)
    assert found.seen == 1.0
    assert found.error < 0.1


def test_workloads_that_draw_something_else_are_drift_of_errors(model, young):
    grown = young.with_columns(pl.col("avg_power_w", "energy_step_j") * 3.0)
    found = drift(model, grown)
    assert found.errors
    assert not found.specs
    assert found.coverage < 0.2


def test_software_that_nobody_measured_is_drift_of_specs(model, young):
    other = young.with_columns(
        _spec_hash="9" + pl.col("_spec_hash").str.slice(1),
        workload_name="new-" + pl.col("workload_name"),
        image_key=pl.lit("never/seen"),
        features=pl.col("features").list.eval(pl.element() + 5.0),
    )
    found = drift(model, other)
    assert found.specs
    assert not found.errors
    assert found.coverage is None


def test_few_workloads_show_no_drift(model, young):
    few = young.filter(pl.col("workload_name").is_in(["w0", "w1"]))
    grown = few.with_columns(pl.col("avg_power_w", "energy_step_j") * 9.0)
    assert not drift(model, grown).errors
