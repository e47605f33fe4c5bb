import numpy as np
import pytest

from podpower.model.baselines import BASELINES, constant, image_mean, reference_recipe
from podpower.model.neighbours import Index


@pytest.fixture
def index():
    return Index(
        vectors=np.array([[1, 0], [2, 0.1], [0, 1], [0.1, 3]], dtype=np.float32),
        spec_hashes=list("abcd"),
        workloads=[("n", "Deployment", name) for name in "abcd"],
        image_keys=["web", "web", "db", None],
        power_w=np.array([1.0, 4.0, 100.0, 400.0]),
        total_energy_j=np.full(4, np.nan),
        seconds=np.full(4, 60.0),
        share=np.ones(4),
        spread=np.ones(4),
    )


@pytest.fixture
def logs(index):
    return np.log(index.power_w)


def test_the_constant_is_the_geometric_mean(index, logs):
    predicted = np.exp(constant(index, logs, index.vectors[:2], ["web", "new"]))
    assert predicted == pytest.approx([20.0, 20.0])


def test_the_image_mean_falls_back_on_the_constant(index, logs):
    predicted = np.exp(image_mean(index, logs, index.vectors[:3], ["web", "db", "new"]))
    assert predicted == pytest.approx([2.0, 100.0, 20.0])


def test_the_reference_recipe_ignores_magnitude_and_sees_one_workload(index, logs):
    """Five equal steps fill its five places, so it answers with the one entry of the nearest direction."""
    vectors = np.array([[50.0, 0.0], [0.0, 50.0]], dtype=np.float32)
    predicted = np.exp(reference_recipe(index, logs, vectors, [None, None]))
    assert all(any(value == pytest.approx(power) for power in index.power_w) for value in predicted)


@pytest.mark.parametrize("name", BASELINES)
def test_each_baseline_answers_with_one_known_entry(index, logs, name):
    predicted = BASELINES[name](index.take(np.array([2])), logs[2:3], index.vectors, ["x"] * 4)
    assert np.exp(predicted) == pytest.approx([100.0] * 4)
